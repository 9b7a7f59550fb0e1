//! Reads the report of a job pair by pair, a part at a time, so that a job of any size takes little memory.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, SmallInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::report::{Holding, PairResult, ReportPair, ReportPart, ReportRecipient, ReportSecret};
use crate::domain::undo_outcome::UndoOutcome;
use crate::domain::unshare::TakeOutcome;
use crate::domain::{
    JobId, JobKey, JobKind, PairOutcome, PrincipalId, PrincipalKind, RejectReason, SecretId, Selection,
};
use crate::store::codes::id;
use crate::store::job::outcomes::{Stored, reached, stored};
use crate::store::job::row::JobRow;
use crate::store::job::selection::{read_snapshot, stored_request};
use crate::store::job::{about, rejections, row};
use crate::store::people::membership::{acting_as, visible_to};
use crate::store::transact::Store;
use crate::store::vault::access::level_on_secret;
use crate::store::vault::take_away::{Rectangle, held};

/// How many pairs one part has at the most, if a secret has no more recipients than this.
const PART: usize = 5_000;

/// How many undos in a row are followed to the job that says what they are about.
const UNDOS: usize = 10;

/// The report of a job, as far as it was read.
pub struct Export {
    job: JobKey,
    /// Who reads it. `None` is the operator, who sees every name.
    reader: Option<PrincipalId>,
    list: List,
    /// The job in whose parts the pairs are, if they are no rectangle.
    parts: Option<JobKey>,
    recipients: Arc<[ReportRecipient]>,
    /// Whether somebody has the id and the kind of each recipient.
    exist: Vec<bool>,
    /// The ids of the recipients in ascending order, each once.
    ids: Vec<PrincipalId>,
    /// The position of the first secret of the next part.
    next: usize,
    total: usize,
    /// Why each recipient was rejected in the lane that was looked at last.
    reasons: Option<(i32, Vec<Option<RejectReason>>)>,
}

/// Where the secrets of a job are.
enum List {
    /// In the list of this job.
    Of(JobKey),
    /// The request names them.
    Named(Vec<SecretId>),
}

impl Export {
    /// The recipients of the job, in its order. Each secret of a part has a pair with each of them.
    #[must_use]
    pub fn recipients(&self) -> &Arc<[ReportRecipient]> {
        &self.recipients
    }
}

impl Store {
    /// Begins to read the report of a job. `None` if there is no such job, or if it is not the reader's own; `reader` is
    /// `None` for the operator, who sees every job and every name.
    ///
    /// The report has no pairs as long as it is not known which secrets "all" are, and if the request could not be read.
    pub async fn export(&self, job: JobId, reader: Option<PrincipalId>) -> Result<Option<Export>, DbError> {
        self.db.read(move |conn| begin(conn, job, reader)).await
    }

    /// The next part of the report, which has no secrets if there are no more. No connection to the database is held
    /// between two parts, and each part tells what was recorded when it was read: of a job that has ended, that is
    /// always the same.
    pub async fn export_part(&self, export: Export) -> Result<(Export, ReportPart), DbError> {
        self.db
            .read(move |conn| {
                let mut export = export;
                let part = next(conn, &mut export)?;
                Ok((export, part))
            })
            .await
    }
}

fn begin(conn: &mut Conn, job: JobId, reader: Option<PrincipalId>) -> Result<Option<Export>, DbError> {
    let found = row::find(conn, job)?;
    let Some(job) = found.filter(|job| reader.is_none_or(|reader| job.requested_by == reader)) else {
        return Ok(None);
    };
    let asked = asked(conn, &job)?;
    let (list, total) = if asked.has_snapshot {
        (List::Of(asked.key), places(asked.secrets_total))
    } else {
        let named = match stored_request(conn, &asked)?.map(|request| request.selection) {
            Some(Selection::Ids(ids)) => ids,
            Some(Selection::All(_)) | None => Vec::new(),
        };
        let total = named.len();
        (List::Named(named), total)
    };
    let parts = asked.has_parts().then_some(asked.key);
    let asked = about::recipients(conn, &asked)?;
    let mut ids: Vec<PrincipalId> = asked.iter().map(|of| of.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let known = principals(conn, reader, &ids)?;
    let mut exist = Vec::with_capacity(asked.len());
    let mut recipients = Vec::with_capacity(asked.len());
    for recipient in asked {
        // The id came from the request. It is nobody's if the principal has another kind.
        let known = known.get(&recipient.id).filter(|known| known.kind == recipient.kind);
        exist.push(known.is_some());
        recipients.push(ReportRecipient { recipient, name: known.and_then(|known| known.name.clone()) });
    }
    let recipients = Arc::from(recipients);
    Ok(Some(Export {
        job: job.key,
        reader,
        list,
        parts,
        recipients,
        exist,
        ids,
        next: 0,
        total,
        reasons: None,
    }))
}

/// The row of the job that says what this one is about: its own or, of an undo, that of the job that it takes back.
fn asked(conn: &mut Conn, job: &JobRow) -> Result<JobRow, DbError> {
    let mut asked = job.clone();
    // What an undo was told to take back may be an undo, too. It has failed then.
    for _ in 0..UNDOS {
        let parent = asked.parent.filter(|_| asked.kind == JobKind::Undo);
        match parent.map(|parent| row::find(conn, parent)).transpose()?.flatten() {
            Some(parent) => asked = parent,
            None => break,
        }
    }
    Ok(asked)
}

fn places(total: Option<i32>) -> usize {
    total.and_then(|total| usize::try_from(total).ok()).unwrap_or(0)
}

/// Reads the next part and moves on. A part is of one lane.
fn next(conn: &mut Conn, export: &mut Export) -> Result<ReportPart, DbError> {
    let recipients = Arc::clone(&export.recipients);
    if export.next >= export.total || recipients.is_empty() {
        return Ok(ReportPart::default());
    }
    // The job may have gone on since the part before.
    let job = row::read(conn, export.job)?;
    let reached = reached(conn, &job)?;
    let from = export.next;
    let (lane, end) = reached.part(from).map_or((0, export.total), |part| (part.lane, part.end));
    let to = (from + (PART / recipients.len()).max(1)).min(end).min(export.total);
    let secrets = match &export.list {
        List::Of(list) => read_snapshot(conn, *list, from, to)?,
        List::Named(ids) => ids.get(from..to).unwrap_or_default().to_vec(),
    };
    let stored = stored(conn, &job, export.parts, &reached, from, to)?;
    if stored.len() != secrets.len() * recipients.len() {
        return Err(DbError::Corrupt(format!("the number of pairs of job {}", job.job_id)));
    }
    let seen = seen(conn, export.reader, &secrets)?;
    let held = holdings(conn, export, &seen)?;
    let refused = match job.kind {
        JobKind::Undo => rejections::of_secrets(conn, job.key, &secrets)?,
        JobKind::Share | JobKind::Unshare if !stored.contains(&REJECTED) => HashMap::new(),
        JobKind::Share | JobKind::Unshare => {
            export.look_at_lane(conn, lane)?;
            rejections::of_secrets(conn, job.key, &secrets)?
        }
    };
    let of_recipients = export.reasons.as_ref().map_or(&[][..], |(_, reasons)| reasons);
    let mut pairs = Vec::with_capacity(stored.len());
    for (secret, stored) in secrets.iter().zip(stored.chunks(recipients.len())) {
        let (seen, refused) = (seen.get(secret), refused.get(secret).copied());
        for (place, (of, stored)) in recipients.iter().zip(stored).enumerate() {
            let result = match (stored, refused) {
                (Stored::Code(_) | Stored::NotRecorded, Some(_)) if job.kind == JobKind::Undo => {
                    PairResult::Rejected
                }
                (Stored::Code(code), _) => result(&job, *code)?,
                (Stored::NotAsked, _) => {
                    pairs.push(None);
                    continue;
                }
                (Stored::NotReached, _) => PairResult::NotReached,
                (Stored::NotRecorded, _) => PairResult::NotRecorded,
            };
            let reason = (result == PairResult::Rejected)
                .then(|| refused.or_else(|| of_recipients.get(place).copied().flatten()))
                .flatten();
            let now = seen.map(|seen| {
                if !export.exist.get(place).copied().unwrap_or(false) {
                    Holding::Nothing
                } else if of.recipient.kind == PrincipalKind::User && seen.owner == of.recipient.id.get() {
                    Holding::Owner
                } else {
                    held.get(&(*secret, of.recipient.id)).copied().unwrap_or(Holding::Nothing)
                }
            });
            pairs.push(Some(ReportPair { result, reason, now }));
        }
    }
    export.next = to;
    let named = |id: SecretId| ReportSecret { id, name: seen.get(&id).map(|seen| seen.name.clone()) };
    Ok(ReportPart { secrets: secrets.into_iter().map(named).collect(), pairs })
}

/// The number that a rejected pair has, in a share and in an unshare.
const REJECTED: Stored = Stored::Code(3);

/// What a stored number means.
fn result(job: &JobRow, code: u8) -> Result<PairResult, DbError> {
    let result = match job.kind {
        JobKind::Share => PairOutcome::from_code(code).map(PairResult::from),
        JobKind::Unshare => TakeOutcome::from_code(code).map(PairResult::from),
        JobKind::Undo => UndoOutcome::from_code(code).map(PairResult::from),
    };
    result.ok_or_else(|| DbError::Corrupt(format!("job_outcomes of job {}", job.job_id)))
}

impl Export {
    /// Reads why recipients were rejected in this lane, unless it was read for the part before.
    fn look_at_lane(&mut self, conn: &mut Conn, lane: i32) -> Result<(), DbError> {
        if self.reasons.as_ref().is_some_and(|(of, _)| *of == lane) {
            return Ok(());
        }
        let found = rejections::of_recipients(conn, self.job, lane)?;
        let reason = |of: &ReportRecipient| found.get(&(of.recipient.kind, of.recipient.id)).copied();
        self.reasons = Some((lane, self.recipients.iter().map(reason).collect()));
        Ok(())
    }
}

#[derive(QueryableByName)]
struct PrincipalRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    seen: bool,
}

/// A principal that is there.
struct Principal {
    kind: PrincipalKind,
    /// `None` if the reader may not know of it.
    name: Option<String>,
}

/// Those of these principals that are there.
fn principals(
    conn: &mut Conn,
    reader: Option<PrincipalId>,
    ids: &[PrincipalId],
) -> Result<HashMap<PrincipalId, Principal>, DbError> {
    let sql = format!(
        "SELECT p.id, p.kind, p.name, COALESCE($1 = 0 OR {}, false) AS seen FROM principals p WHERE p.id {}",
        visible_to("$1"),
        conn.is_in("$2"),
    );
    let rows: Vec<PrincipalRow> = statement(sql)
        .bind::<BigInt, _>(reader.map_or(0, PrincipalId::get))
        .bind::<Text, _>(conn.id_list(ids.iter().copied()))
        .load(conn)?;
    let principal = |row: PrincipalRow| {
        let kind = PrincipalKind::from_code(row.kind)
            .ok_or_else(|| DbError::Corrupt(format!("principals.kind is {}", row.kind)))?;
        Ok((id(row.id)?, Principal { kind, name: Some(row.name).filter(|_| row.seen) }))
    };
    rows.into_iter().map(principal).collect()
}

#[derive(QueryableByName)]
struct SeenRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    owner_id: i64,
}

/// A secret that the reader can reach.
struct Seen {
    name: String,
    owner: i64,
}

/// Those of these secrets that the reader can reach now.
fn seen(
    conn: &mut Conn,
    reader: Option<PrincipalId>,
    secrets: &[SecretId],
) -> Result<HashMap<SecretId, Seen>, DbError> {
    let list = conn.id_list(secrets.iter().copied());
    let rows: Vec<SeenRow> = match reader {
        None => {
            let sql =
                format!("SELECT s.id, s.name, s.owner_id FROM secrets s WHERE s.id {}", conn.is_in("$1"));
            statement(sql).bind::<Text, _>(list).load(conn)?
        }
        Some(reader) => {
            let sql = format!(
                "WITH me AS MATERIALIZED ({acting}) \
                 SELECT s.id, s.name, s.owner_id FROM secrets s WHERE s.id {listed} AND {level} > 0",
                acting = acting_as("$1"),
                level = level_on_secret("$1", "me"),
                listed = conn.is_in("$2"),
            );
            statement(sql).bind::<BigInt, _>(reader.get()).bind::<Text, _>(list).load(conn)?
        }
    };
    rows.into_iter().map(|row| Ok((id(row.id)?, Seen { name: row.name, owner: row.owner_id }))).collect()
}

/// What the recipients have of these secrets of their own.
fn holdings(
    conn: &mut Conn,
    export: &Export,
    seen: &HashMap<SecretId, Seen>,
) -> Result<HashMap<(SecretId, PrincipalId), Holding>, DbError> {
    let mut secrets: Vec<SecretId> = seen.keys().copied().collect();
    secrets.sort_unstable();
    let pairs = Rectangle { secrets: &secrets, recipients: &export.ids, owners: false };
    let held = held(conn, &pairs)?;
    Ok(held.into_iter().map(|of| ((of.secret, of.principal), of.permission.into())).collect())
}
