//! Makes the rows of jobs: inserts them, and adds the request to a row that was waiting for it.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Value, json};

use crate::contract::StoredRequest;
use crate::db::{Conn, DbError, statement};
use crate::domain::{Counts, FailReason, JobId, JobKey, JobKind, JobState, PrincipalId, ShareRequest};
use crate::store::codes::{id, stored};
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::tx::Tx;

/// Milliseconds after which due work first looks at a job that has not begun.
pub(in crate::store) const FIRST_LOOK_MS: i64 = 30_000;

/// The values of a new row in the table of jobs.
pub(in crate::store) struct NewJob<'a> {
    pub(in crate::store) job_id: JobId,
    pub(in crate::store) requested_by: PrincipalId,
    /// The request, and the form in which the row keeps it. `None` for a job whose message could not be read: such a
    /// job is made only to tell its requester that it failed.
    pub(in crate::store) request: Option<(&'a ShareRequest, &'a StoredRequest)>,
    pub(in crate::store) idempotency_key: Option<&'a str>,
    pub(in crate::store) traceparent: &'a str,
    /// Whether the job was requested over HTTP or from the command line. Only such jobs count against the limits of
    /// the person, since anybody who may publish can name any person in a message.
    pub(in crate::store) asked_here: bool,
    /// How the job ends in this transaction, if everything goes as expected. The row is then inserted in that state.
    /// Most small jobs end in the transaction that makes them, and 1,000 of them take 7 to 13 % longer if each row is
    /// written and then changed (docs/performance.md). If the job ends in another way after all, `ending` updates the
    /// row as it does for every other job.
    pub(in crate::store) expected_end: Option<ExpectedEnd>,
}

/// The part of a row that says how the job ended, as it is expected before the grants are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct ExpectedEnd {
    pub(in crate::store) state: JobState,
    pub(in crate::store) reason: Option<FailReason>,
    pub(in crate::store) counts: Counts,
    pub(in crate::store) rejections_total: usize,
}

/// The fields of one job in the list that is bound to the insert, with PostgreSQL's types.
const COLUMNS: [(&str, &str); 20] = [
    ("job_id", "text"),
    ("kind", "text"),
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
    ("note", "text"),
];

/// Inserts the jobs in `rows`, an expression with the columns [`COLUMNS`].
///
/// The rows are inserted in the order of their ids: two workers that got the same jobs then wait for each other's
/// rows in the same order, and never in a circle. ON CONFLICT leaves the jobs alone that exist already. `ended` is 1
/// for a row that is inserted as ended: it has its times, its notice to make and a complete
/// ledger (what its counts do not say is recorded in the same transaction), and no next look of due work. All rows
/// have one time, which is not earlier than `$2`.
fn insert_statement(rows: &str, greatest: &str) -> String {
    format!(
        "WITH t AS MATERIALIZED (SELECT {greatest}(now_us(), CAST($2 AS bigint)) AS us), \
         n AS MATERIALIZED (SELECT n.*, t.us / 1000 AS ms FROM ({rows}) AS n CROSS JOIN t) \
         INSERT INTO jobs (job_id, kind, requested_by, selection, recipients, digest, idempotency_key, traceparent, \
         secrets_total, recipients_total, pairs, state, reason, granted, unchanged, rejected, rejections_total, \
         asked_here, note, run, has_snapshot, open_lanes, upgraded, attempts, failures, \
         requested_at, started_at, finished_at, due_at, notice_due, ledger) \
         SELECT job_id, kind, requested_by, selection, recipients, digest, idempotency_key, traceparent, \
         secrets_total, recipients_total, pairs, state, reason, granted, unchanged, rejected, rejections_total, \
         asked_here = 1, note, 1, false, 0, 0, 0, 0, \
         ms, CASE ended WHEN 1 THEN ms END, CASE ended WHEN 1 THEN ms END, \
         CASE ended WHEN 0 THEN ms + {FIRST_LOOK_MS} END, ended = 1, ended = 1 \
         FROM n WHERE true ORDER BY job_id ON CONFLICT DO NOTHING \
         RETURNING id, job_id, requested_at, now_us() AS now"
    )
}

/// Inserts these jobs, except those whose id or idempotency key is taken. Each counts as requested at the time of this
/// transaction. Returns the keys of the jobs that were inserted.
pub(in crate::store) fn insert(
    tx: &mut Tx<'_>,
    jobs: &[NewJob<'_>],
) -> Result<HashMap<JobId, JobKey>, DbError> {
    let values = |job: &NewJob<'_>| {
        let (request, kept) = job.request.unzip();
        let counts = job.expected_end.map_or_else(Counts::default, |end| end.counts);
        json!([
            job.job_id,
            request.map_or(JobKind::Share, |request| request.kind),
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
            request.and_then(|request| request.note.as_deref()),
        ])
    };
    let rows: Value = jobs.iter().map(values).collect();
    let sql = insert_statement(&tx.conn.each_row("$1", &COLUMNS), tx.conn.greatest());
    let earliest = tx.latest_us();
    let new: Vec<Inserted> =
        statement(sql).bind::<Text, _>(rows.to_string()).bind::<BigInt, _>(earliest).load(tx.conn)?;
    if let Some(row) = new.first() {
        // The statement cannot return the microseconds of the time that it has stored, only a reading that it made a
        // little later. If that is in a later millisecond, the last microsecond of the stored one takes its place, so
        // that the row and everything else that this transaction writes have the same time.
        let stored = row.requested_at.saturating_mul(1_000);
        tx.stored_is(row.now.max(earliest).clamp(stored, stored.saturating_add(999)));
    }
    let corrupt = || DbError::Corrupt("jobs.job_id of a new job".to_owned());
    new.into_iter().map(|row| Ok((row.job_id.parse().map_err(|()| corrupt())?, id(row.id)?))).collect()
}

/// Inserts one job. `None` if its id or its idempotency key is taken.
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
    /// Microseconds.
    #[diesel(sql_type = BigInt)]
    now: i64,
}

/// Adds the request to the row of a job that waits for its body (see [`JobRow::waits_for_body`]). Any other job is
/// left as it is, and so is a job that another person requested.
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
            dsl::kind.eq(request.kind.as_str()),
            dsl::selection.eq(kept.selection),
            dsl::recipients.eq(kept.recipients),
            dsl::digest.eq(kept.digest),
            dsl::secrets_total.eq(request.secrets_named().map(total)),
            dsl::recipients_total.eq(total(request.recipients.len())),
            dsl::pairs.eq(request.pairs().map(stored)),
            dsl::note.eq(request.note.as_deref()),
        ))
        .execute(conn)?;
    row::lock(conn, row.key)
}
