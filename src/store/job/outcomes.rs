//! Keeps and reads what became of each pair of a job.
//!
//! A chunk writes one row at most, and none if all its pairs were granted. A job without lanes is one chunk, and writes
//! none either if all its pairs came out alike, since its counts say it.

use std::ops::Range;

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::hex::hex;
use crate::domain::outcome::unpacked_code;
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
    let reached = reached(conn, job)?;
    if job.kind != JobKind::Share || !reached.parts.iter().all(|part| part.recorded) {
        return Ok(None);
    }
    let mut outcomes = Vec::new();
    let parts = job.has_parts().then_some(job.key);
    for stored in stored(conn, job, parts, &reached, from, to)? {
        outcomes.push(match stored {
            Stored::NotReached | Stored::NotAsked => None,
            Stored::NotRecorded => return Ok(None),
            Stored::Code(code) => Some(PairOutcome::from_code(code).ok_or_else(|| corrupt(job, from))?),
        });
    }
    Ok(Some(outcomes))
}

/// What is stored about the outcome of one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Stored {
    /// The job is not about the pair.
    NotAsked,
    /// The job has not come to the pair.
    NotReached,
    /// An older program did the pair, and recorded nothing.
    NotRecorded,
    /// The number of the outcome. What it means depends on the kind of the job.
    Code(u8),
}

/// What is stored about the pairs of a job's secrets from the position `from` up to `to`, in their order. `parts` is the
/// job in whose parts the pairs are, if they are no rectangle: this one or, of an undo, the one that it takes back.
pub(in crate::store) fn stored(
    conn: &mut Conn,
    job: &JobRow,
    parts: Option<JobKey>,
    reached: &Reached,
    from: usize,
    to: usize,
) -> Result<Vec<Stored>, DbError> {
    let (to, recipients) = (to.min(places(job.secrets_total)), places(job.recipients_total));
    let mut found = vec![Stored::NotAsked; to.saturating_sub(from) * recipients];
    let mut records = records(conn, job.key, from, to)?.into_iter().peekable();
    let parts = parts.map_or(Ok(Vec::new()), |parts| parts::read(conn, parts, recipients, from, to))?;
    let mut parts = parts.iter().peekable();
    let everybody: Vec<usize> = (0..recipients).collect();
    // There are no recipients where there are no pairs, either.
    for (position, of_secret) in (from..to).zip(found.chunks_mut(recipients.max(1))) {
        while parts.next_if(|part| part.to <= position).is_some() {}
        let asked = parts.peek().map_or(&everybody, |part| &part.places);
        while records.next_if(|record| record.1 <= position).is_some() {}
        let record = records.peek().filter(|record| record.0 <= position);
        let part = reached.part(position).filter(|part| part.done.contains(&position));
        // No record has secrets of two parts.
        for (nth, place) in asked.iter().enumerate() {
            let of_pair = match (part, record) {
                (None, _) => Stored::NotReached,
                (Some(part), None) => {
                    let without = reached.without_record.filter(|_| part.recorded);
                    without.map_or(Stored::NotRecorded, Stored::Code)
                }
                (Some(_), Some((_, _, Some(code), _))) => {
                    Stored::Code(u8::try_from(*code).map_err(|_| corrupt(job, position))?)
                }
                (Some(_), Some((first, _, None, pairs))) => {
                    let pair = (position - first) * asked.len() + nth;
                    let bytes = pairs.as_deref().unwrap_or_default();
                    Stored::Code(unpacked_code(bytes, pair).ok_or_else(|| corrupt(job, position))?)
                }
            };
            if let Some(place) = of_secret.get_mut(*place) {
                *place = of_pair;
            }
        }
    }
    Ok(found)
}

fn places(total: Option<i32>) -> usize {
    total.and_then(|total| usize::try_from(total).ok()).unwrap_or(0)
}

fn corrupt(job: &JobRow, position: usize) -> DbError {
    DbError::Corrupt(format!("job_outcomes of job {} at {position}", job.job_id))
}

/// How far a job has come.
pub(in crate::store) struct Reached {
    /// The number of the outcome of a pair without a record, in a part that is recorded. `None` if nobody knows: an
    /// older program has begun this job, which has no lanes.
    without_record: Option<u8>,
    /// They follow one another, from the first position of the job to its last.
    parts: Vec<ReachedPart>,
}

/// The positions of one lane or, if the job has no lanes, all of its positions.
pub(in crate::store) struct ReachedPart {
    pub(in crate::store) lane: i32,
    /// The positions that the job has come to.
    done: Range<usize>,
    /// Where the next part begins.
    pub(in crate::store) end: usize,
    /// Whether all outcomes are recorded. It is false if an older program has worked on it.
    recorded: bool,
}

impl Reached {
    /// The part with this position.
    pub(in crate::store) fn part(&self, position: usize) -> Option<&ReachedPart> {
        self.parts.iter().find(|part| position < part.end)
    }
}

/// Finds out which positions of a job's secrets were worked on.
pub(in crate::store) fn reached(conn: &mut Conn, job: &JobRow) -> Result<Reached, DbError> {
    type Four = (i64, i64, i64, i64);
    type Lane = (i32, i32, i32, i64, Four, Four);
    let rows: Vec<Lane> = lanes::table
        .filter(lanes::job.eq(job.key.get()))
        .order(lanes::lane)
        .select((
            lanes::lane,
            lanes::position,
            lanes::end_position,
            lanes::recorded,
            (lanes::granted, lanes::upgraded, lanes::unchanged, lanes::rejected),
            (lanes::revoked, lanes::lowered, lanes::kept, lanes::untouched),
        ))
        .load(conn)?;
    if rows.is_empty() {
        let end = places(job.secrets_total);
        let done = 0..if job.counts.done() > 0 { end } else { 0 };
        // A job without lanes is a share. It has one record if its pairs differ.
        let without_record = job.counts.only().map(PairOutcome::code);
        return Ok(Reached {
            without_record,
            parts: vec![ReachedPart { lane: 0, done, end, recorded: true }],
        });
    }
    // A lane begins where the one before it ends.
    let mut begin = 0;
    let mut parts = Vec::with_capacity(rows.len());
    for (lane, position, end, recorded, given, taken) in rows {
        let sum = |four: Four| four.0 + four.1 + four.2 + four.3;
        let (done, end) = (begin..places(Some(position)), places(Some(end)));
        begin = end;
        let recorded = match job.kind {
            JobKind::Share => recorded >= sum(given),
            JobKind::Undo => recorded >= sum(given) + sum(taken),
            // There is no program that works on it and records nothing.
            JobKind::Unshare => true,
        };
        parts.push(ReachedPart { lane, done, end, recorded });
    }
    // A chunk without a record did to all of its pairs what the job is for: granting, or taking everything.
    Ok(Reached { without_record: Some(0), parts })
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
