//! Records failed attempts in the row of the job or lane, and fails the job when its attempts are used up.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};

use crate::contract::{JobRequested, Step};
use crate::db::{DbError, Flow, statement};
use crate::domain::job::Move;
use crate::domain::{DeadReason, FailReason};

use crate::domain::Origin;
use crate::store::codes::millis;
use crate::store::job::begin;
use crate::store::job::begin::Begun;
use crate::store::job::ending;
use crate::store::job::lane_rows;
use crate::store::job::lane_rows::LaneStand;
use crate::store::job::lane_work::LaneWork;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::message::letters;
use crate::store::message::letters::DeadLetter;
use crate::store::transact::{LOCKS_OF_RECORDS, Store};
use crate::store::tx::Tx;
use crate::store::vault::facts;

/// What recording a failed attempt led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// This was attempt number `attempt`, and another one is left. The job shows as retrying until due work sends its
    /// message again `after` this time.
    Retry { attempt: i32, after: Duration },
    /// This was the last attempt. The job has failed as `attempts_exhausted`, and a dead letter keeps the message, so
    /// that an operator can replay it.
    Exhausted,
    /// The job or lane has moved on since we read it: another worker got on with it. Nothing was recorded.
    SomebodyElse,
    /// A job with this id exists, and it was requested with other content. Nothing was recorded for that job. The
    /// caller makes a dead letter of the request.
    Conflict,
}

/// The wait between this failed attempt and the next one. `None` if it was the last attempt.
fn wait(attempts: i32, delays: &[Duration]) -> Option<Duration> {
    usize::try_from(attempts - 1).ok().and_then(|index| delays.get(index)).copied()
}

impl Store {
    /// Records that a job could not be begun. `body` is the body of its request, which the dead letter keeps if this
    /// was the last attempt.
    pub async fn request_failed(
        &self,
        asked: JobRequested,
        body: Vec<u8>,
        error: String,
        delays: Vec<Duration>,
    ) -> Result<Recorded, DbError> {
        self.transact_soon(LOCKS_OF_RECORDS, move |tx| {
            // The first attempt may have failed before the row was committed, so the row is inserted if it is missing.
            let row = match begin::make_or_find(tx, &asked)? {
                Ok(row) => row,
                Err(Begun::Conflict) => return Ok(Flow::Rollback(Recorded::Conflict)),
                Err(_) => return Ok(Flow::Rollback(Recorded::SomebodyElse)),
            };
            let attempt = row.attempts + 1;
            let Some(after) = wait(attempt, &delays) else {
                let letter = exhausted(&row, error, Origin::Request, body);
                return exhaust(tx, row, letter).map(Flow::Commit);
            };
            let sql = "UPDATE jobs SET attempts = attempts + 1, failures = failures + 1, last_error = $1, \
                       not_before = now_ms() + $2, due_at = now_ms() + $3 WHERE id = $4";
            statement(sql)
                .bind::<Text, _>(error)
                .bind::<BigInt, _>(millis(after))
                .bind::<BigInt, _>(millis(after))
                .bind::<BigInt, _>(row.key.get())
                .execute(tx.conn)?;
            tx.tally.failed_attempts += 1;
            Ok(Flow::Commit(Recorded::Retry { attempt, after }))
        })
        .await
    }

    /// Records that a chunk of a lane failed, if the lane still stands where it was read. `body` is the body of the
    /// step, which the dead letter keeps if this was the last attempt.
    pub async fn lane_failed(
        &self,
        work: LaneWork,
        body: Vec<u8>,
        error: String,
        delays: Vec<Duration>,
    ) -> Result<Recorded, DbError> {
        self.transact_soon(LOCKS_OF_RECORDS, move |tx| record(tx, &work.stand(), body, error, &delays)).await
    }

    /// Does what [`Store::lane_failed`] does for a step whose lane could not even be read.
    pub async fn step_failed(
        &self,
        step: Step,
        body: Vec<u8>,
        error: String,
        delays: Vec<Duration>,
    ) -> Result<Recorded, DbError> {
        self.transact_soon(LOCKS_OF_RECORDS, move |tx| match lane_rows::stand(tx.conn, &step)? {
            Some(stand) => record(tx, &stand, body, error, &delays),
            None => Ok(Flow::Rollback(Recorded::SomebodyElse)),
        })
        .await
    }

    /// Fails a running job whose requester may not act any more. What was granted stays granted. Nothing is done if
    /// the job has ended, or has been replayed since and is in another run.
    ///
    /// The transaction that fails the job looks at the requester once more. The answer is false if the requester may
    /// act again: nothing was written then, and the caller has to try the chunk again.
    pub async fn requester_lost(&self, work: LaneWork) -> Result<bool, DbError> {
        self.transact_soon(LOCKS_OF_RECORDS, move |tx| {
            let row = row::lock(tx.conn, work.job.key)?;
            if row.run != work.job.run || row.state.is_terminal() {
                return Ok(Flow::Rollback(true));
            }
            if facts::requester_valid(tx.conn, row.requested_by)? {
                return Ok(Flow::Rollback(false));
            }
            let counts = ending::close_lanes(tx.conn, &row)?;
            ending::end_one(tx, row, Move::Fail(FailReason::RequesterNotValid), counts)?;
            Ok(Flow::Commit(true))
        })
        .await
    }
}

/// Fails a job whose attempts are used up and keeps its dead letter, in the same transaction. The caller has locked
/// the job.
fn exhaust(tx: &mut Tx<'_>, mut row: JobRow, mut letter: DeadLetter) -> Result<Recorded, DbError> {
    let counts = ending::close_lanes(tx.conn, &row)?;
    row.failures += 1;
    row.last_error = Some(letter.detail.clone());
    ending::end_one(tx, row, Move::Fail(FailReason::AttemptsExhausted), counts)?;
    letter.received_at = tx.now()?;
    letters::insert(tx, &letter)?;
    tx.tally.failed_attempts += 1;
    Ok(Recorded::Exhausted)
}

/// Counts a failed attempt of a lane and sets the time of the next one, only if the lane still stands where it was
/// read. The condition is in the update itself, so that a failure is never counted against another worker's progress.
const RECORD_LANE: &str = "UPDATE lanes SET attempts = attempts + 1, failures = failures + 1, last_error = $1, \
    not_before = now_ms() + $2, due_at = now_ms() + $3 \
    WHERE job = $4 AND lane = $5 AND turn = $6 AND position = $7 AND attempts = $8 AND open";

/// Records a failed attempt of a lane, if the lane still stands where it was read.
fn record(
    tx: &mut Tx<'_>,
    stand: &LaneStand,
    body: Vec<u8>,
    error: String,
    delays: &[Duration],
) -> Result<Flow<Recorded>, DbError> {
    let attempt = stand.attempts + 1;
    let Some(after) = wait(attempt, delays) else {
        return lane_exhausted(tx, stand, error, body);
    };
    let recorded = statement(RECORD_LANE)
        .bind::<Text, _>(error)
        .bind::<BigInt, _>(millis(after))
        .bind::<BigInt, _>(millis(after))
        .bind::<BigInt, _>(stand.job.get())
        .bind::<Integer, _>(stand.lane)
        .bind::<Integer, _>(stand.turn)
        .bind::<Integer, _>(stand.position)
        .bind::<Integer, _>(stand.attempts)
        .execute(tx.conn)?;
    tx.tally.failed_attempts += recorded as u64;
    let done = if recorded == 1 { Recorded::Retry { attempt, after } } else { Recorded::SomebodyElse };
    Ok(Flow::Commit(done))
}

/// Fails the job of a lane whose attempts are used up, if the lane still stands where it was read.
fn lane_exhausted(
    tx: &mut Tx<'_>,
    stand: &LaneStand,
    error: String,
    body: Vec<u8>,
) -> Result<Flow<Recorded>, DbError> {
    // The job is locked before its lanes, as everywhere.
    let row = row::lock(tx.conn, stand.job)?;
    if row.run != stand.run || row.state.is_terminal() || !lane_rows::still_stands(tx.conn, stand)? {
        return Ok(Flow::Rollback(Recorded::SomebodyElse));
    }
    let letter = exhausted(&row, error, Origin::Step, body);
    exhaust(tx, row, letter).map(Flow::Commit)
}

/// The dead letter of a job whose attempts are used up.
fn exhausted(row: &JobRow, error: String, origin: Origin, body: Vec<u8>) -> DeadLetter {
    DeadLetter {
        // A run has only one such letter: if the same end is recorded twice, the second letter is ignored.
        dead_id: format!("exhausted/{}/{}", row.job_id, row.run),
        reason: DeadReason::AttemptsExhausted,
        detail: error,
        job_id: Some(row.job_id),
        run: Some(row.run),
        message_id: Some(row.job_id.to_string()),
        user_id: None,
        is_from_us: true,
        origin,
        headers: Default::default(),
        readable_bytes: body.len(),
        body: body.into(),
        // `exhaust` sets this to the time of its transaction.
        received_at: 0,
    }
}
