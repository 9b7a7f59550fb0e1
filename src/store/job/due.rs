//! Due work: sends the messages of attempts whose time has come, and replaces messages that were lost.
//!
//! Every worker looks once a second, by one query on an index for each kind of work. Many workers can look at the same
//! time, because each takes its rows with SKIP LOCKED. No message is sent while the outbox has one that does the same.

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

/// The most rows that one look takes. The next look, a second later, takes the rest.
const BATCH: i64 = 100;

/// A notice is usually made when the terminal event of its job arrives. If the job ended longer ago than this, the
/// notice is made without the event.
const NOTICE_PATIENCE_MS: i64 = 10_000;

/// The part of the configuration that due work depends on.
#[derive(Debug, Clone, Copy)]
pub struct DueOptions {
    /// The lease of a lane is doubled each time it runs out without progress, up to this.
    pub longest_lease: Duration,
    /// The request of a job that has not begun is sent again after this time, even if the queue of requests is not
    /// empty.
    pub unbegun_patience: Duration,
}

/// How much due work was found: lanes that got a step, requests that were sent again, jobs that got their notice, and
/// jobs whose ledger was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DueWork {
    pub lanes: usize,
    pub requests: usize,
    pub notices: usize,
    /// Jobs of an older program whose claims were written.
    pub ledgers: usize,
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
    /// How long the job has waited since it was last queued, in milliseconds.
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
    /// Whether it is time to look at a job that has not begun. The caller asks the broker whether the queue of
    /// requests is empty only in this case, so that an idle worker does not ask it every second.
    pub async fn any_unbegun_due(&self) -> Result<bool, DbError> {
        self.db
            .read(|conn| {
                let sql = "SELECT id FROM jobs WHERE due_at <= now_ms() LIMIT 1";
                let found: Option<Key> = statement(sql).get_result(conn).optional()?;
                Ok(found.is_some_and(|job| job.id > 0))
            })
            .await
    }

    /// Sends the messages and makes the notices that are due, and completes the ledger of jobs that an older program
    /// worked on. `queue_empty` says that the broker has no request waiting.
    ///
    /// # Errors
    /// An error of the database. The kinds of work have transactions of their own, so the other kinds may have been
    /// done. What was not done stays due, and the next look finds it.
    pub async fn wake_due(&self, queue_empty: bool, options: DueOptions) -> Result<DueWork, DbError> {
        // Each kind has its own transaction, so that an error in one of them does not hold up the others.
        let lanes = self.transact(move |tx| wake_lanes(tx, &options).map(Flow::Commit)).await;
        let requests = self.transact(move |tx| ask_again(tx, queue_empty, &options).map(Flow::Commit)).await;
        let notices = self.transact(|tx| make_notices(tx).map(Flow::Commit)).await;
        let ledgers = self.complete_ledgers().await;
        Ok(DueWork { lanes: lanes?, requests: requests?, notices: notices?, ledgers: ledgers? })
    }
}

/// Logs a row that cannot be read and leaves it out, so that the other rows are not held up. Other errors are
/// returned.
fn readable<T>(what: &str, key: JobKey, row: Result<T, DbError>) -> Result<Option<T>, DbError> {
    match row {
        Err(error @ (DbError::Corrupt(_) | DbError::Query(diesel::result::Error::NotFound))) => {
            tracing::error!(job = key.get(), %error, "{what} is due and cannot be read");
            Ok(None)
        }
        row => row.map(Some),
    }
}

/// Takes the lanes that are due. `due_at` is when the lease of a lane runs out, or when its next attempt is due.
///
/// If the lease ran out, it is doubled, since a lane that is only slow would otherwise be woken again and again. If an
/// attempt failed, the lease stays as it is. The inner query leaves out lanes whose step is in the outbox, and, by
/// `skip_locked`, rows that another worker has taken.
fn take_lanes_statement(skip_locked: &str) -> String {
    format!(
        "UPDATE lanes SET due_at = now_ms() + lease_ms, \
         lease_ms = CASE WHEN attempts > 0 OR lease_ms * 2 > $1 THEN lease_ms ELSE lease_ms * 2 END \
         WHERE (job, lane) IN (SELECT job, lane FROM lanes l WHERE open AND due_at <= now_ms() \
           AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.letter = {} AND o.job = l.job AND o.lane = l.lane) \
           ORDER BY due_at LIMIT $2 {skip_locked}) \
         RETURNING job, lane, turn",
        MessageKind::Step.code(),
    )
}

/// Sends a step for each open lane that made no progress within its lease, or whose next attempt is due. The step has
/// the lane's present turn.
fn wake_lanes(tx: &mut Tx<'_>, options: &DueOptions) -> Result<usize, DbError> {
    let sql = take_lanes_statement(tx.conn.skip_locked());
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

/// Sends the requests of jobs that have not begun once more. If an attempt has failed, the request is sent as soon as
/// the next attempt is due. Otherwise it is sent only if the queue is empty or the job has waited for long, since the
/// request is usually not lost but waits in the queue behind others.
fn ask_again(tx: &mut Tx<'_>, queue_empty: bool, options: &DueOptions) -> Result<usize, DbError> {
    // A job that was replayed has waited since its replay, which is `queued_at`. All times are of the database's
    // clock.
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

/// Sets the time of the next look at a job that has not begun. We look again after twice the time that the job has
/// waited so far, so that the requests of a backlog of hours are not sent again every minute.
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

/// Makes the notices of jobs that ended a while ago and whose terminal event did not lead to a notice. A job whose
/// terminal event is still in the outbox is left out, since that event will do it.
fn make_notices(tx: &mut Tx<'_>) -> Result<usize, DbError> {
    let sql = format!(
        "SELECT job_id, run FROM jobs j WHERE notice_due AND finished_at <= now_ms() - $1 \
         AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job = j.id AND o.letter % 10 >= {FIRST_TERMINAL}) \
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

/// Whether the outbox has a request of this job that is not sent yet.
fn on_its_way(conn: &mut Conn, key: JobKey) -> Result<bool, DbError> {
    use crate::store::schema::outbox::dsl;
    let waiting =
        dsl::outbox.filter(dsl::job.eq(key.get())).filter(dsl::letter.eq(MessageKind::Request.code()));
    Ok(waiting.count().get_result::<i64>(conn)? > 0)
}
