//! Failures that count: recorded where the work stands, until the attempts are used up.

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
use crate::store::job::lanes::LaneWork;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::message::letters;
use crate::store::message::letters::DeadLetter;
use crate::store::transact::{LOCKS_OF_RECORDS, Store};
use crate::store::tx::Tx;
use crate::store::vault::facts;

/// What a recorded failure led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is tried again after this wait.
    Retry { attempt: i32, after: Duration },
    /// The attempts are used up: the job has failed, and a dead letter says so.
    Exhausted,
    /// The work is not where it was read: somebody else got on with it, nothing is recorded.
    SomebodyElse,
    /// The job of that id was asked for with other content: the request is a dead letter.
    Conflict,
}

/// The wait before the next attempt; `None` where there is none.
fn wait(attempts: i32, delays: &[Duration]) -> Option<Duration> {
    usize::try_from(attempts - 1).ok().and_then(|index| delays.get(index)).copied()
}

impl Store {
    /// Records that a request could not be begun. `body` is kept with the dead letter if this was
    /// the last attempt.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn request_failed(
        &self,
        asked: JobRequested,
        body: Vec<u8>,
        error: String,
        delays: Vec<Duration>,
    ) -> Result<Recorded, DbError> {
        self.transact_soon(LOCKS_OF_RECORDS, move |tx| {
            // The row is made where it is missing.
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

    /// Records that a chunk of a lane failed, where the lane still stands as it was read. `body` is
    /// the step's.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn lane_failed(
        &self,
        work: LaneWork,
        body: Vec<u8>,
        error: String,
        delays: Vec<Duration>,
    ) -> Result<Recorded, DbError> {
        self.transact_soon(LOCKS_OF_RECORDS, move |tx| record(tx, &work.stand(), body, error, &delays)).await
    }

    /// Records that the lane of a step could not even be read, as [`Store::lane_failed`] does.
    ///
    /// # Errors
    /// Where the database fails.
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

    /// Fails a running job whose requester may not share any more. What was granted stays. Does
    /// nothing where the job has ended or runs anew.
    ///
    /// The right is looked at again in the transaction that fails the job. False where it has come
    /// back since the chunk found it missing: nothing is written, and the chunk is to be tried again.
    ///
    /// # Errors
    /// Where the database fails.
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

/// Ends a job whose attempts are used up, with its dead letter, in one transaction.
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
    let sql = "UPDATE lanes SET attempts = attempts + 1, failures = failures + 1, last_error = $1, \
               not_before = now_ms() + $2, due_at = now_ms() + $3 \
               WHERE job = $4 AND lane = $5 AND turn = $6 AND position = $7 AND attempts = $8 AND open";
    let recorded = statement(sql)
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

fn lane_exhausted(
    tx: &mut Tx<'_>,
    stand: &LaneStand,
    error: String,
    body: Vec<u8>,
) -> Result<Flow<Recorded>, DbError> {
    // Order of locks: the job, then its lanes.
    let row = row::lock(tx.conn, stand.job)?;
    if row.run != stand.run || row.state.is_terminal() || !lane_rows::still_stands(tx.conn, stand)? {
        return Ok(Flow::Rollback(Recorded::SomebodyElse));
    }
    let letter = exhausted(&row, error, Origin::Step, body);
    exhaust(tx, row, letter).map(Flow::Commit)
}

fn exhausted(row: &JobRow, error: String, origin: Origin, body: Vec<u8>) -> DeadLetter {
    DeadLetter {
        // One a run: a second record of the same end is the same letter.
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
        // When it is kept: see `exhaust`.
        received_at: 0,
    }
}
