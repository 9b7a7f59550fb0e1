//! How a job's row is made: with its request, or filled with the request that it waited for.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Value, json};

use crate::contract::StoredRequest;
use crate::db::{Conn, DbError, statement};
use crate::domain::{Counts, FailReason, JobId, JobKey, JobState, PrincipalId, ShareRequest};
use crate::store::codes::{id, stored};
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::tx::Tx;

/// When due work first looks after a job that has not begun.
pub(in crate::store) const FIRST_LOOK_MS: i64 = 30_000;

/// What a new row is made of.
pub(in crate::store) struct NewJob<'a> {
    pub(in crate::store) job_id: JobId,
    pub(in crate::store) requested_by: PrincipalId,
    /// The request, and how its row keeps it; none for a job that an invalid message made.
    pub(in crate::store) request: Option<(&'a ShareRequest, &'a StoredRequest)>,
    pub(in crate::store) idempotency_key: Option<&'a str>,
    pub(in crate::store) traceparent: &'a str,
    /// It was asked for over HTTP or from the command line: such jobs count against a person's own limit.
    pub(in crate::store) asked_here: bool,
    /// How it will have ended by the end of this transaction, if all goes as is expected. Most small jobs end in the
    /// transaction that makes them, and a row that is written once costs half of one that is written and changed
    /// (docs/performance.md). Where it comes out otherwise, `ending` changes the row like any other.
    pub(in crate::store) expected_end: Option<ExpectedEnd>,
}

/// The part of a row that says how its job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct ExpectedEnd {
    pub(in crate::store) state: JobState,
    pub(in crate::store) reason: Option<FailReason>,
    pub(in crate::store) counts: Counts,
    pub(in crate::store) rejections_total: usize,
}

const COLUMNS: [(&str, &str); 18] = [
    ("job_id", "text"),
    ("requested_by", "bigint"),
    ("selection", "text"),
    ("recipients", "text"),
    ("digest", "text"),
    ("idempotency_key", "text"),
    ("traceparent", "text"),
    ("secrets_total", "integer"),
    ("recipients_total", "integer"),
    ("pairs", "bigint"),
    ("state", "text"),
    ("reason", "text"),
    ("granted", "bigint"),
    ("unchanged", "bigint"),
    ("rejected", "bigint"),
    ("rejections_total", "bigint"),
    ("asked_here", "integer"),
    ("ended", "integer"),
];

/// Inserts jobs where neither their id nor their key is taken, asked for at this transaction's time. Returns the
/// keys of those that are new.
pub(in crate::store) fn insert(
    tx: &mut Tx<'_>,
    jobs: &[NewJob<'_>],
) -> Result<HashMap<JobId, JobKey>, DbError> {
    let values = |job: &NewJob<'_>| {
        let (request, kept) = job.request.unzip();
        let counts = job.expected_end.map_or_else(Counts::default, |end| end.counts);
        json!([
            job.job_id,
            job.requested_by,
            kept.map(|kept| &kept.selection),
            kept.map(|kept| &kept.recipients),
            kept.map(|kept| &kept.digest),
            job.idempotency_key,
            job.traceparent,
            request.and_then(ShareRequest::secrets_named),
            request.map(|request| request.recipients.len()),
            request.and_then(ShareRequest::pairs).map(stored),
            job.expected_end.map_or(JobState::Queued, |end| end.state).as_str(),
            job.expected_end.and_then(|end| end.reason).map(FailReason::as_str),
            counts.granted,
            counts.unchanged,
            counts.rejected,
            job.expected_end.map(|end| end.rejections_total),
            i32::from(job.asked_here),
            i32::from(job.expected_end.is_some()),
        ])
    };
    let rows: Value = jobs.iter().map(values).collect();
    // In one order, so that two workers that got the same jobs do not wait for each other in a circle.
    let sql = format!(
        "INSERT INTO jobs (job_id, requested_by, selection, recipients, digest, idempotency_key, traceparent, \
         secrets_total, recipients_total, pairs, state, reason, granted, unchanged, rejected, rejections_total, \
         asked_here, run, has_snapshot, open_lanes, upgraded, attempts, failures, \
         requested_at, started_at, finished_at, due_at, notice_due) \
         SELECT job_id, requested_by, selection, recipients, digest, idempotency_key, traceparent, \
         secrets_total, recipients_total, pairs, state, reason, granted, unchanged, rejected, rejections_total, \
         asked_here = 1, 1, false, 0, 0, 0, 0, \
         now_ms(), CASE ended WHEN 1 THEN now_ms() END, CASE ended WHEN 1 THEN now_ms() END, \
         CASE ended WHEN 0 THEN now_ms() + {FIRST_LOOK_MS} END, ended = 1 \
         FROM ({}) AS n WHERE true ORDER BY job_id ON CONFLICT DO NOTHING RETURNING id, job_id, requested_at",
        tx.conn.each_row("$1", &COLUMNS),
    );
    let new: Vec<Inserted> = statement(sql).bind::<Text, _>(rows.to_string()).load(tx.conn)?;
    if let Some(row) = new.first() {
        tx.now_is(row.requested_at);
    }
    let corrupt = || DbError::Corrupt("jobs.job_id of a new job".to_owned());
    new.into_iter().map(|row| Ok((row.job_id.parse().map_err(|()| corrupt())?, id(row.id)?))).collect()
}

/// Inserts one job. `None` where its id or its key is taken.
pub(in crate::store) fn insert_one(tx: &mut Tx<'_>, job: NewJob<'_>) -> Result<Option<JobKey>, DbError> {
    Ok(insert(tx, &[job])?.into_values().next())
}

#[derive(QueryableByName)]
struct Inserted {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = BigInt)]
    requested_at: i64,
}

/// Gives a job that waits for its body the request that has come. Any other job is left alone, as is one
/// that somebody else asked for.
pub(in crate::store) fn fill(
    conn: &mut Conn,
    row: JobRow,
    request: &ShareRequest,
) -> Result<JobRow, DbError> {
    use crate::store::schema::jobs::dsl;
    if !row.waits_for_body() || row.requested_by != request.requested_by {
        return Ok(row);
    }
    let kept = StoredRequest::of(request);
    let total = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    diesel::update(dsl::jobs.filter(dsl::id.eq(row.key.get())))
        .set((
            dsl::selection.eq(kept.selection),
            dsl::recipients.eq(kept.recipients),
            dsl::digest.eq(kept.digest),
            dsl::secrets_total.eq(request.secrets_named().map(total)),
            dsl::recipients_total.eq(total(request.recipients.len())),
            dsl::pairs.eq(request.pairs().map(stored)),
        ))
        .execute(conn)?;
    row::lock(conn, row.key)
}
