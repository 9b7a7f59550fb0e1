//! Keeps and reads what became of each pair of a job.
//!
//! A chunk writes one row at most, and none if all its pairs were granted. A job without lanes is one chunk, and writes
//! none either if all its pairs came out alike, since its counts say it.

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::hex::hex;
use crate::domain::outcome::unpacked;
use crate::domain::{JobId, JobKey, JobKind, PairOutcome};
use crate::store::job::parts;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::schema::{job_outcomes, lanes};
use crate::store::transact::Store;

/// The outcomes of the pairs of a job's secrets from the position `from` up to `to`, which is not included.
pub(in crate::store) struct Record {
    pub(in crate::store) job: JobKey,
    pub(in crate::store) from: usize,
    pub(in crate::store) to: usize,
    pub(in crate::store) outcomes: Outcomes,
}

pub(in crate::store) enum Outcomes {
    /// All pairs have the outcome of this number.
    Alike(u8),
    /// Each pair has its own, as [`crate::domain::outcome::packed`] writes them.
    Packed(Vec<u8>),
}

/// Writes these records.
pub(in crate::store) fn write(conn: &mut Conn, records: &[Record]) -> Result<(), DbError> {
    if records.is_empty() {
        return Ok(());
    }
    let row = |record: &Record| {
        let (code, pairs) = match &record.outcomes {
            Outcomes::Alike(code) => (Some(*code), None),
            Outcomes::Packed(pairs) => (None, Some(hex(pairs))),
        };
        json!([record.job.get(), record.from, record.to, code, pairs])
    };
    let columns = [
        ("job", "bigint"),
        ("position", "integer"),
        ("end_position", "integer"),
        ("code", "smallint"),
        ("pairs", "text"),
    ];
    let sql = format!(
        "INSERT INTO job_outcomes (job, position, end_position, code, pairs) \
         SELECT o.job, o.position, o.end_position, o.code, {} FROM ({}) AS o",
        conn.bytes_of("o.pairs"),
        conn.each_row("$1", &columns),
    );
    let rows: Value = records.iter().map(row).collect();
    statement(sql).bind::<Text, _>(rows.to_string()).execute(conn)?;
    Ok(())
}

impl Store {
    /// What became of the pairs of a job's secrets from the position `from` up to `to`, which is not included: secret by
    /// secret, and for each the recipients in their stored order. `None` for a pair that the job has not come to, or that
    /// it is not about. The caller reads a large job in parts.
    ///
    /// The answer is `None` if there is no such job, if it is not a share, or if a program that did not record outcomes
    /// yet has worked on it.
    pub async fn outcomes(
        &self,
        job: JobId,
        from: usize,
        to: usize,
    ) -> Result<Option<Vec<Option<PairOutcome>>>, DbError> {
        self.db
            .read(move |conn| match row::find(conn, job)? {
                Some(row) => read(conn, &row, from, to),
                None => Ok(None),
            })
            .await
    }
}

/// Does what [`Store::outcomes`] does for the job of this row.
pub(in crate::store) fn read(
    conn: &mut Conn,
    job: &JobRow,
    from: usize,
    to: usize,
) -> Result<Option<Vec<Option<PairOutcome>>>, DbError> {
    let count = |total: Option<i32>| total.and_then(|total| usize::try_from(total).ok()).unwrap_or(0);
    let (secrets, recipients) = (count(job.secrets_total), count(job.recipients_total));
    let to = to.min(secrets);
    let Some(reached) = reached(conn, job, secrets)?.filter(|_| job.kind == JobKind::Share) else {
        return Ok(None);
    };
    let records = records(conn, job.key, from, to)?;
    let without_record = if reached.lanes {
        Some(PairOutcome::Granted)
    } else {
        // A job without lanes has one record if its pairs differ. If it has none, an older program has begun it.
        let alike = job.counts.only();
        if alike.is_none() && records.is_empty() && job.counts.done() > 0 {
            return Ok(None);
        }
        alike
    };
    let corrupt =
        |record: &Row| DbError::Corrupt(format!("job_outcomes of job {} at {}", job.job_id, record.0));
    let parts = if job.has_parts() { parts::read(conn, job.key, recipients, from, to)? } else { Vec::new() };
    let everybody: Vec<usize> = (0..recipients).collect();
    let mut outcomes = vec![None; to.saturating_sub(from) * recipients];
    let (mut records, mut parts) = (records.into_iter().peekable(), parts.iter().peekable());
    // There are no recipients where there are no outcomes, either.
    for (position, of_secret) in (from..to).zip(outcomes.chunks_mut(recipients.max(1))) {
        if !reached.has(position) {
            continue;
        }
        while records.next_if(|record| record.1 <= position).is_some() {}
        while parts.next_if(|part| part.to <= position).is_some() {}
        let places = parts.peek().map_or(&everybody, |part| &part.places);
        let record = records.peek().filter(|record| record.0 <= position);
        // No record has secrets of two parts.
        for (nth, place) in places.iter().enumerate() {
            let outcome = match record {
                None => without_record,
                Some(record @ (_, _, Some(code), _)) => {
                    let outcome = u8::try_from(*code).ok().and_then(PairOutcome::from_code);
                    Some(outcome.ok_or_else(|| corrupt(record))?)
                }
                Some(record @ (first, _, None, pairs)) => {
                    let pair = (position - first) * places.len() + nth;
                    let bytes = pairs.as_deref().unwrap_or_default();
                    Some(unpacked(bytes, pair).ok_or_else(|| corrupt(record))?)
                }
            };
            if let Some(of_pair) = of_secret.get_mut(*place) {
                *of_pair = outcome;
            }
        }
    }
    Ok(Some(outcomes))
}

/// The positions that a job has come to.
struct Reached {
    /// Whether the job has lanes.
    lanes: bool,
    parts: Vec<std::ops::Range<usize>>,
}

impl Reached {
    fn has(&self, position: usize) -> bool {
        self.parts.iter().any(|part| part.contains(&position))
    }
}

/// The positions of a job's secrets that were worked on. `None` if an older program did some of them and recorded
/// nothing.
fn reached(conn: &mut Conn, job: &JobRow, secrets: usize) -> Result<Option<Reached>, DbError> {
    type Lane = (i32, i32, i64, i64, i64, i64, i64);
    let rows: Vec<Lane> = lanes::table
        .filter(lanes::job.eq(job.key.get()))
        .order(lanes::lane)
        .select((
            lanes::position,
            lanes::end_position,
            lanes::recorded,
            lanes::granted,
            lanes::upgraded,
            lanes::unchanged,
            lanes::rejected,
        ))
        .load(conn)?;
    if rows.is_empty() {
        let all = 0..if job.counts.done() > 0 { secrets } else { 0 };
        return Ok(Some(Reached { lanes: false, parts: vec![all] }));
    }
    let place = |position: i32| usize::try_from(position).unwrap_or(0);
    // A lane begins where the one before it ends.
    let mut begin = 0;
    let mut parts = Vec::with_capacity(rows.len());
    for (position, end, recorded, granted, upgraded, unchanged, rejected) in rows {
        if recorded < granted + upgraded + unchanged + rejected {
            return Ok(None);
        }
        parts.push(begin..place(position));
        begin = place(end);
    }
    Ok(Some(Reached { lanes: true, parts }))
}

/// The number of each lane of a job and the position at which it ends, in their order.
pub(in crate::store) fn lane_ends(conn: &mut Conn, job: JobKey) -> Result<Vec<(i32, usize)>, DbError> {
    let rows: Vec<(i32, i32)> = lanes::table
        .filter(lanes::job.eq(job.get()))
        .order(lanes::lane)
        .select((lanes::lane, lanes::end_position))
        .load(conn)?;
    Ok(rows.into_iter().map(|(lane, end)| (lane, usize::try_from(end).unwrap_or(0))).collect())
}

/// A row of outcomes: its positions, its code, its pairs.
type Row = (usize, usize, Option<i16>, Option<Vec<u8>>);

fn records(conn: &mut Conn, job: JobKey, from: usize, to: usize) -> Result<Vec<Row>, DbError> {
    let place = |position: usize| i32::try_from(position).unwrap_or(i32::MAX);
    type Columns = (i32, i32, Option<i16>, Option<Vec<u8>>);
    let rows: Vec<Columns> = job_outcomes::table
        .filter(job_outcomes::job.eq(job.get()))
        .filter(job_outcomes::position.lt(place(to)))
        .filter(job_outcomes::end_position.gt(place(from)))
        .order(job_outcomes::position)
        .select((job_outcomes::position, job_outcomes::end_position, job_outcomes::code, job_outcomes::pairs))
        .load(conn)?;
    let place = |position: i32| usize::try_from(position).unwrap_or(0);
    Ok(rows.into_iter().map(|(from, to, code, pairs)| (place(from), place(to), code, pairs)).collect())
}
