//! Jobs: their rows, how they are made, locked and read.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::contract;
use crate::contract::{JobRequested, StoredRequest};
use crate::db::{Conn, DbError, statement};
use crate::domain::event::{REJECTIONS_IN_EVENT, Retry};
use crate::domain::share::pairs_of;
use crate::domain::{
    Counts, FailReason, JobId, JobKey, JobSnapshot, JobState, PrincipalId, SecretId, ShareRequest,
};

use crate::store::job::{lane_rows, rejections};
use crate::store::message::outbox::Now;
use crate::store::schema::{job_secrets, jobs};
use crate::store::tx::Tx;
use crate::store::vault::facts::id;

/// Ids in one segment of a job's snapshot.
pub(in crate::store) const SEGMENT: usize = 1_000;

/// When due work first looks after a job that has not begun.
pub(in crate::store) const FIRST_LOOK_MS: i64 = 30_000;

/// A job's row without the request.
#[derive(Debug, Clone)]
pub(in crate::store) struct JobRow {
    pub(in crate::store) key: JobKey,
    pub(in crate::store) job_id: JobId,
    pub(in crate::store) run: i32,
    pub(in crate::store) state: JobState,
    pub(in crate::store) reason: Option<FailReason>,
    pub(in crate::store) requested_by: PrincipalId,
    pub(in crate::store) digest: Option<String>,
    pub(in crate::store) traceparent: String,
    pub(in crate::store) secrets_total: Option<i32>,
    pub(in crate::store) recipients_total: Option<i32>,
    pub(in crate::store) pairs: Option<u64>,
    pub(in crate::store) has_snapshot: bool,
    pub(in crate::store) counts: Counts,
    pub(in crate::store) rejections_total: Option<i64>,
    pub(in crate::store) attempts: i32,
    pub(in crate::store) failures: i32,
    pub(in crate::store) not_before: Option<i64>,
    pub(in crate::store) last_error: Option<String>,
    pub(in crate::store) requested_at: i64,
    pub(in crate::store) started_at: Option<i64>,
    pub(in crate::store) finished_at: Option<i64>,
}

impl JobRow {
    /// A replay made it queued without a request: the body that is on its way fills it.
    pub(in crate::store) fn waits_for_body(&self) -> bool {
        self.state == JobState::Queued && self.digest.is_none()
    }
}

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = jobs)]
pub(in crate::store) struct Columns {
    pub(in crate::store) id: i64,
    job_id: String,
    run: i32,
    state: String,
    reason: Option<String>,
    requested_by: i64,
    digest: Option<String>,
    traceparent: String,
    secrets_total: Option<i32>,
    recipients_total: Option<i32>,
    pairs: Option<i64>,
    has_snapshot: bool,
    granted: i64,
    upgraded: i64,
    unchanged: i64,
    rejected: i64,
    rejections_total: Option<i64>,
    attempts: i32,
    failures: i32,
    not_before: Option<i64>,
    last_error: Option<String>,
    requested_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl Columns {
    /// For statements of ours that lock what they read.
    pub(in crate::store) const NAMES: &'static str = "id, job_id, run, state, reason, requested_by, digest, traceparent, \
        secrets_total, recipients_total, pairs, has_snapshot, granted, upgraded, unchanged, rejected, \
        rejections_total, attempts, failures, not_before, last_error, requested_at, started_at, finished_at";
}

/// Stored counts as [`Counts`].
#[allow(clippy::cast_sign_loss)] // written by us from counts of rows
pub(in crate::store) fn counts(granted: i64, upgraded: i64, unchanged: i64, rejected: i64) -> Counts {
    Counts {
        granted: granted as u64,
        upgraded: upgraded as u64,
        unchanged: unchanged as u64,
        rejected: rejected as u64,
    }
}

/// A number of rows as the database keeps it. Limits keep it far below the largest.
pub(in crate::store) fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl TryFrom<Columns> for JobRow {
    type Error = DbError;

    fn try_from(row: Columns) -> Result<Self, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(format!("jobs.{what} of job {}", row.job_id));
        Ok(Self {
            key: id(row.id)?,
            job_id: row.job_id.parse().map_err(|()| corrupt("job_id"))?,
            run: row.run,
            state: JobState::from_name(&row.state).ok_or_else(|| corrupt("state"))?,
            reason: row
                .reason
                .as_deref()
                .map(|name| FailReason::from_name(name).ok_or_else(|| corrupt("reason")))
                .transpose()?,
            requested_by: id(row.requested_by)?,
            pairs: row.pairs.map(|pairs| u64::try_from(pairs).unwrap_or(0)),
            counts: counts(row.granted, row.upgraded, row.unchanged, row.rejected),
            rejections_total: row.rejections_total,
            digest: row.digest,
            traceparent: row.traceparent,
            secrets_total: row.secrets_total,
            recipients_total: row.recipients_total,
            has_snapshot: row.has_snapshot,
            attempts: row.attempts,
            failures: row.failures,
            not_before: row.not_before,
            last_error: row.last_error,
            requested_at: row.requested_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// The job of that id.
pub(in crate::store) fn find(conn: &mut Conn, job: JobId) -> Result<Option<JobRow>, DbError> {
    let row: Option<Columns> = jobs::table
        .filter(jobs::job_id.eq(job.to_string()))
        .select(Columns::as_select())
        .first(conn)
        .optional()?;
    row.map(JobRow::try_from).transpose()
}

/// Locks the job's row until the transaction ends and reads it: the first lock of those who end a
/// job (order everywhere: job, lanes by number, grants by key).
pub(in crate::store) fn lock(conn: &mut Conn, key: JobKey) -> Result<JobRow, DbError> {
    if conn.is_pg() {
        statement("SELECT id FROM jobs WHERE id = $1 FOR UPDATE")
            .bind::<BigInt, _>(key.get())
            .execute(conn)?;
    }
    read(conn, key)
}

/// Reads a job's row.
pub(in crate::store) fn read(conn: &mut Conn, key: JobKey) -> Result<JobRow, DbError> {
    let row: Columns = jobs::table.filter(jobs::id.eq(key.get())).select(Columns::as_select()).first(conn)?;
    row.try_into()
}

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

/// Writes how large a job is, once that is known.
pub(in crate::store) fn set_totals(
    conn: &mut Conn,
    job: JobKey,
    secrets: usize,
    recipients: usize,
) -> Result<(), DbError> {
    diesel::update(jobs::table.filter(jobs::id.eq(job.get())))
        .set((
            jobs::secrets_total.eq(i32::try_from(secrets).unwrap_or(i32::MAX)),
            jobs::pairs.eq(stored(pairs_of(secrets, recipients))),
        ))
        .execute(conn)?;
    Ok(())
}

/// Writes the snapshot of a job's secrets.
pub(in crate::store) fn write_snapshot(
    conn: &mut Conn,
    job: JobKey,
    ids: &[SecretId],
) -> Result<(), DbError> {
    for (ids, segment) in ids.chunks(SEGMENT).zip(0_i32..) {
        diesel::insert_into(job_secrets::table)
            .values((
                job_secrets::job.eq(job.get()),
                job_secrets::segment.eq(segment),
                job_secrets::ids.eq(serde_json::json!(ids).to_string()),
            ))
            .execute(conn)?;
    }
    diesel::update(jobs::table.filter(jobs::id.eq(job.get())))
        .set(jobs::has_snapshot.eq(true))
        .execute(conn)?;
    Ok(())
}

/// The secrets of the snapshot from position `from` up to `to`.
pub(in crate::store) fn read_snapshot(
    conn: &mut Conn,
    job: JobKey,
    from: usize,
    to: usize,
) -> Result<Vec<SecretId>, DbError> {
    let segment = |position: usize| i32::try_from(position / SEGMENT).unwrap_or(i32::MAX);
    let rows: Vec<String> = job_secrets::table
        .filter(job_secrets::job.eq(job.get()))
        .filter(job_secrets::segment.between(segment(from), segment(to.saturating_sub(1))))
        .order(job_secrets::segment)
        .select(job_secrets::ids)
        .load(conn)?;
    let mut ids: Vec<SecretId> = Vec::with_capacity(rows.len() * SEGMENT);
    for row in rows {
        let part: Vec<SecretId> =
            serde_json::from_str(&row).map_err(|error| DbError::Corrupt(format!("job_secrets: {error}")))?;
        ids.extend(part);
    }
    let skipped = from - from % SEGMENT;
    let part = ids.get(from - skipped..to - skipped);
    part.map(<[_]>::to_vec).ok_or_else(|| DbError::Corrupt(format!("job_secrets of job {job} ends early")))
}

/// The request that a row keeps; `None` for a job that an invalid message made.
pub(in crate::store) fn stored_request(
    conn: &mut Conn,
    row: &JobRow,
) -> Result<Option<ShareRequest>, DbError> {
    let (selection, recipients): (Option<String>, Option<String>) = jobs::table
        .filter(jobs::id.eq(row.key.get()))
        .select((jobs::selection, jobs::recipients))
        .first(conn)?;
    let corrupt = |error: contract::Invalid| DbError::Corrupt(format!("job {}: {error}", row.job_id));
    let Some((selection, recipients)) = selection.zip(recipients) else { return Ok(None) };
    Ok(Some(ShareRequest {
        requested_by: row.requested_by,
        selection: contract::selection_from_json(&selection).map_err(corrupt)?,
        recipients: contract::recipients_from_json(&recipients).map_err(corrupt)?,
    }))
}

/// The job as it is shown, with the first rejections.
pub(in crate::store) fn snapshot(conn: &mut Conn, row: &JobRow) -> Result<JobSnapshot, DbError> {
    let lanes = lane_rows::totals(conn, &[row.key])?.remove(&row.key);
    let total = rejections_total(conn, row)?;
    let limit = i64::try_from(REJECTIONS_IN_EVENT).unwrap_or(100);
    let rejections = if total > 0 { rejections::read(conn, row.key, 0, limit)? } else { Vec::new() };
    Ok(JobSnapshot { rejections, ..shown(row, lanes, total) })
}

/// Lines of the report: kept with an ended job, counted while it runs.
pub(in crate::store) fn rejections_total(conn: &mut Conn, row: &JobRow) -> Result<i64, DbError> {
    row.rejections_total.map_or_else(|| rejections::total(conn, row.key), Ok)
}

pub(in crate::store) fn shown(
    row: &JobRow,
    lanes: Option<lane_rows::Totals>,
    rejections_total: i64,
) -> JobSnapshot {
    let lanes = lanes.unwrap_or_default();
    let ended = row.state.is_terminal();
    let (waits, error, next) = if row.attempts > 0 {
        (true, row.last_error.clone(), row.not_before)
    } else {
        (lanes.attempts > 0, lanes.last_error, lanes.not_before)
    };
    let retry = (waits && !ended)
        .then(|| Retry { last_error: error.unwrap_or_else(|| "unknown".to_owned()), next_attempt_at: next });
    JobSnapshot {
        job_id: row.job_id,
        run: row.run,
        requested_by: row.requested_by,
        state: if retry.is_some() { JobState::Retrying } else { row.state },
        reason: row.reason,
        secrets: row.secrets_total.and_then(|total| u64::try_from(total).ok()),
        recipients: row.recipients_total.and_then(|total| u64::try_from(total).ok()),
        pairs: row.pairs,
        // An ended job has its sum in its row; until then the lanes have the counts.
        counts: if ended { row.counts } else { row.counts + lanes.counts },
        rejections: Vec::new(),
        rejections_total: u64::try_from(rejections_total).unwrap_or(0),
        attempts: u32::try_from(row.failures + lanes.failures).unwrap_or(0),
        requested_at: row.requested_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        retry,
    }
}

/// Locks and reads the job of that id, whatever its state.
pub(in crate::store) fn lock_by_id(conn: &mut Conn, job: JobId) -> Result<Option<JobRow>, DbError> {
    Ok(lock_where(conn, [job], conn.for_update())?.pop().map(|(_, row)| row))
}

/// Locks and reads the jobs of these ids, in the order of their keys, but for those that somebody else holds. It
/// waits for nobody, and so it tells the transaction's time, too.
pub(in crate::store) fn lock_free(
    tx: &mut Tx<'_>,
    jobs: impl IntoIterator<Item = JobId>,
) -> Result<Vec<JobRow>, DbError> {
    let rows = lock_where(tx.conn, jobs, tx.conn.skip_locked())?;
    if let Some((now, _)) = rows.first() {
        tx.now_is(*now);
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn lock_where(
    conn: &mut Conn,
    jobs: impl IntoIterator<Item = JobId>,
    locking: &str,
) -> Result<Vec<(i64, JobRow)>, DbError> {
    let ids: Vec<serde_json::Value> = jobs.into_iter().map(|job| serde_json::json!([job])).collect();
    let sql = format!(
        "SELECT {}, now_ms() AS now FROM jobs WHERE job_id IN (SELECT n.job_id FROM ({}) AS n) ORDER BY id {locking}",
        Columns::NAMES,
        conn.each_row("$1", &[("job_id", "text")]),
    );
    let rows: Vec<(Columns, Now)> =
        statement(sql).bind::<Text, _>(serde_json::Value::from(ids).to_string()).load(conn)?;
    rows.into_iter().map(|(row, now)| Ok((now.now, row.try_into()?))).collect()
}
