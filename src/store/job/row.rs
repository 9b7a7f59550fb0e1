//! Reads and locks rows of the table of jobs.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::contract::JobRequested;
use crate::db::{Conn, DbError, statement};
use crate::domain::{Counts, EndedBy, FailReason, JobId, JobKey, JobKind, JobState, PrincipalId, Taken};
use crate::store::codes::{counts, ended_by, taken};

use crate::store::clock::Now;
use crate::store::codes::id;
use crate::store::schema::jobs;
use crate::store::tx::Tx;

/// A job's row, without the texts of its request.
#[derive(Debug, Clone)]
pub(in crate::store) struct JobRow {
    pub(in crate::store) key: JobKey,
    pub(in crate::store) job_id: JobId,
    pub(in crate::store) run: i32,
    pub(in crate::store) kind: JobKind,
    /// The job that an undo takes back, or that left undone what a share does.
    pub(in crate::store) parent: Option<JobId>,
    /// The latest undo of this job.
    pub(in crate::store) undone_by: Option<JobId>,
    /// Who cancelled it.
    pub(in crate::store) ended_by: Option<EndedBy>,
    /// Whether the operator asked for it, so that no right is checked.
    pub(in crate::store) as_operator: bool,
    pub(in crate::store) state: JobState,
    pub(in crate::store) reason: Option<FailReason>,
    pub(in crate::store) requested_by: PrincipalId,
    /// What a share tells its recipients.
    pub(in crate::store) note: Option<String>,
    pub(in crate::store) digest: Option<String>,
    pub(in crate::store) traceparent: String,
    pub(in crate::store) secrets_total: Option<i32>,
    pub(in crate::store) recipients_total: Option<i32>,
    pub(in crate::store) pairs: Option<u64>,
    pub(in crate::store) has_snapshot: bool,
    pub(in crate::store) counts: Counts,
    pub(in crate::store) taken: Taken,
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
    /// The row of a new job that came by message, as it was just inserted at the time `now`. It is built here because
    /// reading it back would cost a round trip.
    pub(in crate::store) fn queued(key: JobKey, asked: &JobRequested, digest: &str, now: i64) -> Self {
        let request = &asked.request;
        Self {
            key,
            job_id: asked.job_id,
            run: 1,
            kind: request.kind,
            parent: None,
            undone_by: None,
            ended_by: None,
            as_operator: false,
            state: JobState::Queued,
            reason: None,
            requested_by: request.requested_by,
            note: request.note.clone(),
            digest: Some(digest.to_owned()),
            traceparent: asked.traceparent.clone().unwrap_or_default(),
            secrets_total: request.secrets_named().and_then(|count| i32::try_from(count).ok()),
            recipients_total: i32::try_from(request.recipients.len()).ok(),
            pairs: request.pairs(),
            has_snapshot: false,
            counts: Counts::default(),
            taken: Taken::default(),
            rejections_total: None,
            attempts: 0,
            failures: 0,
            not_before: None,
            last_error: None,
            requested_at: now,
            started_at: None,
            finished_at: None,
        }
    }

    /// Whether the job waits for the body of its request. An operator has replayed the dead letter of a request that
    /// could not be read, so the job is queued without a request. When that message is delivered, and can be read this
    /// time, its request is added to the row.
    pub(in crate::store) fn waits_for_body(&self) -> bool {
        self.state == JobState::Queued && self.digest.is_none()
    }

    /// Whether the job shares what another left undone. Its pairs are no rectangle (see
    /// [`crate::store::job::parts`]).
    pub(in crate::store) fn has_parts(&self) -> bool {
        self.kind == JobKind::Share && self.parent.is_some()
    }
}

/// The columns that make a [`JobRow`], as the database returns them.
#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = jobs)]
pub(in crate::store) struct JobColumns {
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
    kind: String,
    parent: Option<String>,
    undone_by: Option<String>,
    ended_by: Option<i64>,
    as_operator: bool,
    revoked: Option<i64>,
    lowered: Option<i64>,
    kept: Option<i64>,
    untouched: Option<i64>,
    note: Option<String>,
}

impl JobColumns {
    /// The names of these columns, for statements that lock what they read, which Diesel cannot write for both
    /// databases.
    pub(in crate::store) const NAMES: &'static str = "id, job_id, run, state, reason, requested_by, digest, traceparent, \
        secrets_total, recipients_total, pairs, has_snapshot, granted, upgraded, unchanged, rejected, \
        rejections_total, attempts, failures, not_before, last_error, requested_at, started_at, finished_at, \
        kind, parent, undone_by, ended_by, as_operator, revoked, lowered, kept, untouched, \
        note";
}

impl TryFrom<JobColumns> for JobRow {
    type Error = DbError;

    fn try_from(row: JobColumns) -> Result<Self, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(format!("jobs.{what} of job {}", row.job_id));
        let related = |id: &Option<String>, what: &str| {
            id.as_deref().map(|id| id.parse::<JobId>().map_err(|()| corrupt(what))).transpose()
        };
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
            taken: taken(row.revoked, row.lowered, row.kept, row.untouched),
            kind: JobKind::from_name(&row.kind).ok_or_else(|| corrupt("kind"))?,
            parent: related(&row.parent, "parent")?,
            undone_by: related(&row.undone_by, "undone_by")?,
            ended_by: ended_by(row.ended_by)?,
            as_operator: row.as_operator,
            note: row.note,
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

/// Reads the job with this id, without a lock. `None` if there is no such job.
pub(in crate::store) fn find(conn: &mut Conn, job: JobId) -> Result<Option<JobRow>, DbError> {
    let row: Option<JobColumns> = jobs::table
        .filter(jobs::job_id.eq(job.to_string()))
        .select(JobColumns::as_select())
        .first(conn)
        .optional()?;
    row.map(JobRow::try_from).transpose()
}

/// Locks the job's row until the transaction ends, and reads it. Whoever ends a job takes this lock first (the order
/// is the same everywhere: the job, its lanes by number, grants by key). On SQLite there is only one writer at a
/// time, so the transaction itself is the lock.
pub(in crate::store) fn lock(conn: &mut Conn, key: JobKey) -> Result<JobRow, DbError> {
    if conn.locks_rows() {
        statement("SELECT id FROM jobs WHERE id = $1 FOR UPDATE")
            .bind::<BigInt, _>(key.get())
            .execute(conn)?;
    }
    read(conn, key)
}

/// Reads a job's row without a lock.
pub(in crate::store) fn read(conn: &mut Conn, key: JobKey) -> Result<JobRow, DbError> {
    let row: JobColumns =
        jobs::table.filter(jobs::id.eq(key.get())).select(JobColumns::as_select()).first(conn)?;
    row.try_into()
}

/// Locks the job with this id and reads it, whatever its state is. `None` if there is no such job.
pub(in crate::store) fn lock_by_id(conn: &mut Conn, job: JobId) -> Result<Option<JobRow>, DbError> {
    Ok(lock_where(conn, [job], conn.for_update())?.pop().map(|(_, row)| row))
}

/// Locks and reads the jobs with these ids, in the order of their keys. Jobs that another transaction holds are left
/// out. Because this waits for no lock, the time that it reads can serve as the transaction's time ([`Tx::now`]).
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

/// Locks and reads the jobs with these ids, in the order of their keys. `locking` is the end of the statement that
/// says whether to wait for a lock. Each row comes with the database's time in microseconds.
fn lock_where(
    conn: &mut Conn,
    jobs: impl IntoIterator<Item = JobId>,
    locking: &str,
) -> Result<Vec<(i64, JobRow)>, DbError> {
    let ids: Vec<serde_json::Value> = jobs.into_iter().map(|job| serde_json::json!([job])).collect();
    let sql = format!(
        "SELECT {}, now_us() AS now FROM jobs WHERE job_id IN (SELECT n.job_id FROM ({}) AS n) ORDER BY id {locking}",
        JobColumns::NAMES,
        conn.each_row("$1", &[("job_id", "text")]),
    );
    let rows: Vec<(JobColumns, Now)> =
        statement(sql).bind::<Text, _>(serde_json::Value::from(ids).to_string()).load(conn)?;
    rows.into_iter().map(|(row, now)| Ok((now.now, row.try_into()?))).collect()
}
