//! Due work: the timer of retries, and the net under lost messages.
//!
//! One indexed query a second for each kind of work, safe with many workers: rows are taken with
//! SKIP LOCKED, and nothing is sent that has a message in the outbox already.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};

use crate::contract::Step;
use crate::db::{Conn, DbError, Flow, statement};
use crate::domain::{JobId, JobKey};
use crate::store::job::insert;
use crate::store::job::request;
use crate::store::job::row;

use crate::store::codes::id;
use crate::store::codes::millis;
use crate::store::notice as notices;
use crate::store::outbox::{FIRST_TERMINAL, MessageKind};
use crate::store::transact::Store;
use crate::store::tx::Tx;

/// Rows taken at a time; what is left is due a second later.
const BATCH: i64 = 100;

/// How long a terminal event may be on its way before the notice is made without it.
const NOTICE_PATIENCE_MS: i64 = 10_000;

/// What due work needs to know of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct DueOptions {
    /// A lane's lease doubles up to this.
    pub longest_lease: Duration,
    /// A job not begun is asked for again after so long, even if its queue is not empty.
    pub unbegun_patience: Duration,
}

/// What was found and set going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DueWork {
    pub lanes: usize,
    pub requests: usize,
    pub notices: usize,
}

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

#[derive(QueryableByName)]
struct Unbegun {
    #[diesel(sql_type = BigInt)]
    id: i64,
    /// Milliseconds.
    #[diesel(sql_type = BigInt)]
    waited: i64,
}

#[derive(QueryableByName)]
struct DueLane {
    #[diesel(sql_type = BigInt)]
    job: i64,
    #[diesel(sql_type = Integer)]
    lane: i32,
    #[diesel(sql_type = Integer)]
    turn: i32,
}

impl Store {
    /// Whether a job that has not begun is overdue: only then the broker is asked whether its queue
    /// is empty.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn any_unbegun_due(&self) -> Result<bool, DbError> {
        self.db
            .read(|conn| {
                let sql = "SELECT id FROM jobs WHERE due_at <= now_ms() LIMIT 1";
                let found: Option<Key> = statement(sql).get_result(conn).optional()?;
                Ok(found.is_some_and(|job| job.id > 0))
            })
            .await
    }

    /// Wakes what is due. `queue_empty`: the broker says that no request waits.
    ///
    /// # Errors
    /// Where the database fails; what was not woken is found again.
    pub async fn wake_due(&self, queue_empty: bool, options: DueOptions) -> Result<DueWork, DbError> {
        // Each by itself: what is wrong with one kind is not to hold up the others.
        let lanes = self.transact(move |tx| wake_lanes(tx, &options).map(Flow::Commit)).await;
        let requests = self.transact(move |tx| ask_again(tx, queue_empty, &options).map(Flow::Commit)).await;
        let notices = self.transact(|tx| make_notices(tx).map(Flow::Commit)).await;
        Ok(DueWork { lanes: lanes?, requests: requests?, notices: notices? })
    }
}

/// A row that nobody can read is told and left out, so that the others go on.
fn readable<T>(what: &str, key: JobKey, row: Result<T, DbError>) -> Result<Option<T>, DbError> {
    match row {
        Err(error @ (DbError::Corrupt(_) | DbError::Query(diesel::result::Error::NotFound))) => {
            tracing::error!(job = key.get(), %error, "{what} is due and cannot be read");
            Ok(None)
        }
        row => row.map(Some),
    }
}

/// Open lanes that nothing was heard of, or whose retry is due, get a step of the present turn.
fn wake_lanes(tx: &mut Tx<'_>, options: &DueOptions) -> Result<usize, DbError> {
    // Only a lease that ran out doubles: a retry is on time.
    let sql = format!(
        "UPDATE lanes SET due_at = now_ms() + lease_ms, \
         lease_ms = CASE WHEN attempts > 0 OR lease_ms * 2 > $1 THEN lease_ms ELSE lease_ms * 2 END \
         WHERE (job, lane) IN (SELECT job, lane FROM lanes l WHERE open AND due_at <= now_ms() \
           AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.letter = {} AND o.job = l.job AND o.lane = l.lane) \
           ORDER BY due_at LIMIT $2 {}) \
         RETURNING job, lane, turn",
        MessageKind::Step.code(),
        tx.conn.skip_locked(),
    );
    let due: Vec<DueLane> = statement(sql)
        .bind::<BigInt, _>(millis(options.longest_lease))
        .bind::<BigInt, _>(BATCH)
        .load(tx.conn)?;
    for lane in &due {
        let key: JobKey = id(lane.job)?;
        let Some(job) = readable("the job of a lane", key, row::read(tx.conn, key))? else { continue };
        let step = Step { job_id: job.job_id, run: job.run, lane: lane.lane, turn: lane.turn };
        tracing::info!(job_id = %job.job_id, lane = lane.lane, turn = lane.turn, traceparent = job.traceparent, "waking a lane that is due");
        tx.wake(key, &step, &job.traceparent);
    }
    Ok(due.len())
}

/// Jobs that have not begun get their request once more: retries when they are due; others only
/// when the queue is empty or after a long time, since a backlog is not a loss.
fn ask_again(tx: &mut Tx<'_>, queue_empty: bool, options: &DueOptions) -> Result<usize, DbError> {
    // How long it has waited counts from when it was last queued, all by one clock.
    let sql = format!(
        "SELECT id, now_ms() - COALESCE(queued_at, requested_at) AS waited FROM jobs WHERE due_at <= now_ms() \
         ORDER BY due_at LIMIT $1 {}",
        tx.conn.skip_locked()
    );
    let due: Vec<Unbegun> = statement(sql).bind::<BigInt, _>(BATCH).load(tx.conn)?;
    let mut asked = 0;
    for Unbegun { id: key, mut waited } in due {
        let key: JobKey = id(key)?;
        let Some(job) = readable("a job not begun", key, row::read(tx.conn, key))? else {
            look_later(tx.conn, key, i64::MAX, options)?;
            continue;
        };
        let time = job.attempts > 0 || queue_empty || waited >= millis(options.unbegun_patience);
        if time && !on_its_way(tx.conn, key)? {
            match readable("the request of a job not begun", key, request::ask_again(tx, &job))? {
                Some(true) => {
                    tracing::info!(
                        job_id = %job.job_id,
                        traceparent = job.traceparent,
                        "asking again for a job that has not begun"
                    );
                    asked += 1;
                }
                Some(false) => tracing::error!(
                    job_id = %job.job_id,
                    traceparent = job.traceparent,
                    "a job has not begun and there is no request to ask for it again with; replay its dead letter"
                ),
                None => waited = i64::MAX,
            }
        }
        look_later(tx.conn, key, waited, options)?;
    }
    Ok(asked)
}

/// When a job is looked at next, if it has still not begun: when it has waited twice as long, so that a
/// backlog of hours is not sent again every minute.
fn look_later(conn: &mut Conn, key: JobKey, waited_ms: i64, options: &DueOptions) -> Result<(), DbError> {
    let wait = waited_ms.min(millis(options.longest_lease)).max(2 * insert::FIRST_LOOK_MS);
    let sql = "UPDATE jobs SET due_at = now_ms() + $1 WHERE id = $2 AND due_at IS NOT NULL";
    statement(sql).bind::<BigInt, _>(wait).bind::<BigInt, _>(key.get()).execute(conn)?;
    Ok(())
}

#[derive(QueryableByName)]
struct Run {
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = Integer)]
    run: i32,
}

/// Ended jobs whose event was lost get their notice all the same.
fn make_notices(tx: &mut Tx<'_>) -> Result<usize, DbError> {
    let sql = format!(
        "SELECT job_id, run FROM jobs j WHERE notice_due AND finished_at <= now_ms() - $1 \
         AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job = j.id AND o.letter >= {FIRST_TERMINAL}) \
         ORDER BY finished_at LIMIT $2 {}",
        tx.conn.skip_locked()
    );
    let due: Vec<Run> =
        statement(sql).bind::<BigInt, _>(NOTICE_PATIENCE_MS).bind::<BigInt, _>(BATCH).load(tx.conn)?;
    let read = |of: Run| match of.job_id.parse() {
        Ok(job) => Some((job, of.run)),
        Err(()) => {
            tracing::error!("a notice is due of a job whose jobs.job_id cannot be read");
            None
        }
    };
    let due: Vec<(JobId, i32)> = due.into_iter().filter_map(read).collect();
    notices::make(tx.conn, &due)?;
    Ok(due.len())
}

/// Whether a job's request waits in the outbox.
fn on_its_way(conn: &mut Conn, key: JobKey) -> Result<bool, DbError> {
    use crate::store::schema::outbox::dsl;
    let waiting =
        dsl::outbox.filter(dsl::job.eq(key.get())).filter(dsl::letter.eq(MessageKind::Request.code()));
    Ok(waiting.count().get_result::<i64>(conn)? > 0)
}
