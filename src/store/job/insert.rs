//! How a job's row is made: with its request, or filled with the request that it waited for.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use crate::contract::{JobRequested, StoredRequest};
use crate::db::{Conn, DbError};
use crate::domain::{JobId, JobKey, JobState, PrincipalId, ShareRequest};
use crate::store::codes::{id, stored};
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::schema::jobs;
use crate::store::tx::Tx;

/// When due work first looks after a job that has not begun.
pub(in crate::store) const FIRST_LOOK_MS: i64 = 30_000;

/// A job that was asked for, with its request.
#[derive(Insertable)]
#[diesel(table_name = jobs)]
struct NewJob {
    job_id: String,
    run: i32,
    state: &'static str,
    reason: Option<&'static str>,
    requested_by: i64,
    selection: Option<String>,
    recipients: Option<String>,
    digest: Option<String>,
    idempotency_key: Option<String>,
    traceparent: String,
    secrets_total: Option<i32>,
    recipients_total: Option<i32>,
    pairs: Option<i64>,
    has_snapshot: bool,
    open_lanes: i32,
    granted: i64,
    upgraded: i64,
    unchanged: i64,
    rejected: i64,
    attempts: i32,
    failures: i32,
    notice_due: bool,
    asked_here: bool,
}

/// What a new row is made of.
pub(in crate::store) struct Fresh<'a> {
    pub(in crate::store) job_id: JobId,
    pub(in crate::store) requested_by: PrincipalId,
    /// None for a job that an invalid message made.
    pub(in crate::store) request: Option<&'a ShareRequest>,
    pub(in crate::store) idempotency_key: Option<String>,
    pub(in crate::store) traceparent: &'a str,
    /// It was asked for over HTTP or from the command line: such jobs count against a person's own limit.
    pub(in crate::store) asked_here: bool,
}

impl<'a> Fresh<'a> {
    /// The row of a job that a message asked for.
    pub(in crate::store) fn by_message(asked: &'a JobRequested, traceparent: &'a str) -> Self {
        let (job_id, request) = (asked.job_id, &asked.request);
        let requested_by = request.requested_by;
        let request = Some(request);
        Self { job_id, requested_by, request, idempotency_key: None, traceparent, asked_here: false }
    }
}

/// Inserts a queued job where neither its id nor its key is taken, asked for at this transaction's time. `None`
/// where one is.
pub(in crate::store) fn insert(tx: &mut Tx<'_>, fresh: &Fresh<'_>) -> Result<Option<JobKey>, DbError> {
    let request = fresh.request.map(StoredRequest::of);
    let to_i32 = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let new = NewJob {
        job_id: fresh.job_id.to_string(),
        run: 1,
        state: JobState::Queued.as_str(),
        reason: None,
        requested_by: fresh.requested_by.get(),
        secrets_total: fresh.request.and_then(ShareRequest::secrets_named).map(to_i32),
        recipients_total: fresh.request.map(|request| to_i32(request.recipients.len())),
        pairs: fresh.request.and_then(ShareRequest::pairs).map(stored),
        digest: request.as_ref().map(|request| request.digest.clone()),
        selection: request.as_ref().map(|request| request.selection.clone()),
        recipients: request.map(|request| request.recipients),
        idempotency_key: fresh.idempotency_key.clone(),
        traceparent: fresh.traceparent.to_owned(),
        has_snapshot: false,
        open_lanes: 0,
        granted: 0,
        upgraded: 0,
        unchanged: 0,
        rejected: 0,
        attempts: 0,
        failures: 0,
        notice_due: false,
        asked_here: fresh.asked_here,
    };
    let due_at = jobs::due_at.eq(sql::<Nullable<BigInt>>(&format!("now_ms() + {FIRST_LOOK_MS}")));
    let requested_at = jobs::requested_at.eq(sql::<BigInt>("now_ms()"));
    // The DSL of a connection to either database has no ON CONFLICT; both have it.
    let new: Option<(i64, i64)> = match tx.conn {
        Conn::Pg(c) => diesel::insert_into(jobs::table)
            .values((new, due_at, requested_at))
            .on_conflict_do_nothing()
            .returning((jobs::id, jobs::requested_at))
            .get_result(c)
            .optional()?,
        Conn::Sqlite(c) => diesel::insert_into(jobs::table)
            .values((new, due_at, requested_at))
            .on_conflict_do_nothing()
            .returning((jobs::id, jobs::requested_at))
            .get_result(c)
            .optional()?,
    };
    let Some((key, now)) = new else { return Ok(None) };
    tx.now_is(now);
    id(key).map(Some)
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
