//! Replays dead letters. Only a replay opens a failed job again, and only an operator can replay.
//!
//! One transaction settles the letter, moves its job to the next run, and puts the messages that wake the job into
//! the outbox. Because a letter is settled only once, two replays at the same time are one. Messages that are left
//! over from the older run find the job in another run or turn, and do nothing.

use std::time::Duration;

use diesel::prelude::*;

use crate::contract::Step;
use crate::db::{Conn, DbError, Flow};
use crate::domain::job::Move;
use crate::domain::{Actor, DeadReason, DeadState, FailReason, JobId, JobKind, JobState};
use crate::store::audit::entry::{Entry, Replay};
use crate::store::audit::write as audit;
use crate::store::clock;
use crate::store::job::request;

use crate::domain::Origin;
use crate::store::job::insert::FIRST_LOOK_MS;
use crate::store::job::lane_rows;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::job::selection;
use crate::store::job::undo;
use crate::store::message::desk;
use crate::store::message::desk::KeptLetter;
use crate::store::outbox::MessageKind;
use crate::store::transact::Store;
use crate::store::tx::Tx;

/// What the operator says about the publisher of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publisher {
    /// The operator says nothing, so a message that was refused because of its publisher stays refused.
    AsItIs,
    /// The operator has looked at the message and trusts it, although its publisher is not allowed to publish.
    Trusted,
}

/// What became of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// The job of the letter had failed and is in this run now. It goes on where it stopped, and is queued or running.
    Reopened { job: JobId, run: i32 },
    /// No job waits for the message, and it is in the outbox again as it came. Whoever takes it decides about it anew.
    Sent,
    /// There is no such letter. Nothing was changed.
    Absent,
    /// The letter cannot be replayed, for this reason. Nothing was changed.
    Refused(NotReplayed),
}

/// Why a letter is not replayed. `Display` is written for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReplayed {
    #[error("it is {0} already")]
    Settled(DeadState),
    #[error("its job {job} is {state}{}: only one that failed as attempts_exhausted is reopened", because(.reason))]
    NotFailedSo { job: JobId, state: JobState, reason: Option<FailReason> },
    #[error("it is of run {run} of its job {job}, which has come to run {now}")]
    OlderRun { job: JobId, run: i32, now: i32 },
    #[error("it was neither a request nor a step")]
    NothingToSend,
    #[error("whoever published it is not allowed to: replaying it needs --trust-publisher")]
    PublisherNotAllowed,
    #[error("a job of its id was asked for with other content: the same message can only be refused again")]
    IdConflict,
    #[error("its job {0} is undone: share again instead")]
    Undone(JobId),
    #[error("its job {job} undoes the job {parent}: ask for the undo once more, which begins anew")]
    UndoAnew { job: JobId, parent: JobId },
}

fn because(reason: &Option<FailReason>) -> String {
    reason.map_or(String::new(), |reason| format!(" ({reason})"))
}

impl Store {
    /// Replays a kept dead letter. If its message is sent, it is sent with the body that came, byte for byte. A lane
    /// that is opened again has this `lease`, like a new one.
    ///
    /// # Errors
    /// An error of the database. Usually nothing was changed. If the answer to the commit was lost, everything was
    /// done or nothing: the state of the letter tells which.
    pub async fn replay_letter(
        &self,
        id: i64,
        lease: Duration,
        publisher: Publisher,
    ) -> Result<Replayed, DbError> {
        self.transact(move |tx| {
            let Some(letter) = desk::read(tx.conn, id)? else {
                return Ok(Flow::Rollback(Replayed::Absent));
            };
            // The job is locked before everything else, as everywhere.
            let row = match letter.item.job_id {
                Some(job) => row::lock_by_id(tx.conn, job)?,
                None => None,
            };
            let now = tx.now()?;
            if !desk::settle(tx.conn, id, DeadState::Replayed, now)? {
                let refused = |state| Replayed::Refused(NotReplayed::Settled(state));
                return Ok(Flow::Rollback(desk::state(tx.conn, id)?.map_or(Replayed::Absent, refused)));
            }
            let (reason, named) = (letter.item.reason, letter.item.job_id);
            let replayed = match (reason, row) {
                // The message would go out as one of ours, and nobody would check its publisher again. So it stays
                // refused until the operator trusts it.
                (DeadReason::PublisherNotAllowed, _) if publisher != Publisher::Trusted => {
                    Replayed::Refused(NotReplayed::PublisherNotAllowed)
                }
                (DeadReason::IdConflict, _) => Replayed::Refused(NotReplayed::IdConflict),
                (DeadReason::AttemptsExhausted | DeadReason::DeliveryLimit, Some(row)) => {
                    match undoes(&row) {
                        // A failed undo does not count, so what it had passed may have been handed to the job since. An undo
                        // that went on where this one stopped would leave that there.
                        Some(parent) => Replayed::Refused(NotReplayed::UndoAnew { job: row.job_id, parent }),
                        None if undo::is_undone(tx.conn, &row)? => {
                            Replayed::Refused(NotReplayed::Undone(row.job_id))
                        }
                        None => go_on(tx, &row, letter, lease)?,
                    }
                }
                (_, Some(row)) if made(&letter, &row) => {
                    let row = reopen(tx.conn, &row, 0)?;
                    request::body_again(tx, &row, letter.body);
                    Replayed::Reopened { job: row.job_id, run: row.run }
                }
                _ => send(tx, letter),
            };
            let replay = match replayed {
                Replayed::Reopened { job, run } => Replay::Reopened { job, run },
                Replayed::Sent => Replay::Sent { job: named },
                Replayed::Absent | Replayed::Refused(_) => return Ok(Flow::Rollback(replayed)),
            };
            let trusted = publisher == Publisher::Trusted;
            let by = Actor::Operator;
            audit::write(tx.conn, &Entry::DeadLetterReplayed { letter: id, reason, by, replay, trusted })?;
            Ok(Flow::Commit(replayed))
        })
        .await
    }
}

/// The job that this one takes back.
fn undoes(row: &JobRow) -> Option<JobId> {
    row.parent.filter(|_| row.kind == JobKind::Undo)
}

/// Whether the job failed because the request in this letter could not be read. Either the letter made the job, or the
/// job's latest run waited for this letter's body.
fn made(letter: &KeptLetter, row: &JobRow) -> bool {
    row.state == JobState::Failed
        && row.reason == Some(FailReason::InvalidRequest)
        && row.digest.is_none()
        && letter.item.run == Some(row.run)
}

/// Opens a job again whose attempts are used up, so that it goes on where it stopped: its open lanes get a step each.
/// A job that never began gets its request once more.
fn go_on(tx: &mut Tx<'_>, row: &JobRow, letter: KeptLetter, lease: Duration) -> Result<Replayed, DbError> {
    let job = row.job_id;
    if row.state != JobState::Failed || row.reason != Some(FailReason::AttemptsExhausted) {
        let (state, reason) = (row.state, row.reason);
        return Ok(Replayed::Refused(NotReplayed::NotFailedSo { job, state, reason }));
    }
    if let Some(run) = letter.item.run.filter(|run| *run != row.run) {
        return Ok(Replayed::Refused(NotReplayed::OlderRun { job, run, now: row.run }));
    }
    let lanes = lane_rows::reopen_all(tx.conn, row.key, lease)?;
    let open: Vec<_> = lanes.iter().filter(|lane| lane.open).collect();
    if open.is_empty() && !lanes.is_empty() {
        return Err(DbError::Corrupt(format!("job {job} failed with every lane at its end")));
    }
    let row = reopen(tx.conn, row, open.len())?;
    for lane in open {
        let step = Step { job_id: job, run: row.run, lane: lane.lane, turn: lane.turn };
        tx.wake(row.key, &step, &row.traceparent);
    }
    if lanes.is_empty() {
        match selection::stored_request(tx.conn, &row)? {
            Some(request) => request::request_again(tx, &row, &request)?,
            // Recording a failure writes the request into the row. A row without one was made by something else, and
            // the letter has the only copy of its request.
            None => request::body_again(tx, &row, letter.body),
        }
    }
    Ok(Replayed::Reopened { job, run: row.run })
}

/// Moves a failed job, which the caller has locked, to its next run. The lanes keep the counts of what was done. The
/// counts in the job's row are cleared, since they are the sum of its lanes, which is written when the job ends.
fn reopen(conn: &mut Conn, row: &JobRow, open_lanes: usize) -> Result<JobRow, DbError> {
    use crate::store::schema::jobs::dsl;
    let begun = open_lanes > 0;
    let (state, reason) =
        row.state.next(Move::Reopen { begun }).map_err(|error| DbError::Corrupt(error.to_string()))?;
    let now = clock::now(conn)?;
    let due_at = if begun { None } else { Some(now + FIRST_LOOK_MS) };
    diesel::update(dsl::jobs.filter(dsl::id.eq(row.key.get())))
        .set((
            dsl::run.eq(row.run + 1),
            dsl::state.eq(state.as_str()),
            dsl::reason.eq(reason.map(FailReason::as_str)),
            dsl::open_lanes.eq(i32::try_from(open_lanes).unwrap_or(i32::MAX)),
            (dsl::granted.eq(0), dsl::upgraded.eq(0), dsl::unchanged.eq(0), dsl::rejected.eq(0)),
            (dsl::revoked.eq(None::<i64>), dsl::lowered.eq(None::<i64>)),
            (dsl::kept.eq(None::<i64>), dsl::untouched.eq(None::<i64>)),
            dsl::rejections_total.eq(None::<i64>),
            (dsl::attempts.eq(0), dsl::failures.eq(0), dsl::last_error.eq(None::<String>)),
            (dsl::not_before.eq(None::<i64>), dsl::due_at.eq(due_at), dsl::queued_at.eq(now)),
            dsl::started_at.eq(row.started_at.filter(|_| begun)),
            dsl::finished_at.eq(None::<i64>),
            // The notice of the older run need not be made any more: the notice of this run will replace it.
            dsl::notice_due.eq(false),
            // It is set again when this run ends, if all that was done is recorded then.
            dsl::ledger.eq(false),
        ))
        .execute(conn)?;
    row::lock(conn, row.key)
}

/// Puts the message of a letter that no job waits for into the outbox, as it came.
fn send(tx: &mut Tx<'_>, letter: KeptLetter) -> Replayed {
    let kind = match letter.item.origin {
        Origin::Request => MessageKind::Request,
        Origin::Step => MessageKind::Step,
        Origin::Event | Origin::Unknown => return Replayed::Refused(NotReplayed::NothingToSend),
    };
    let message_id = letter.item.message_id.unwrap_or(letter.dead_id);
    tx.body_of_nobody(kind, message_id, letter.body);
    Replayed::Sent
}
