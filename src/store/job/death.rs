//! Keeps dead letters, and fails the job that a dead letter names if its death means that the job cannot go on.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::contract;
use crate::contract::{Asked, JobRequested, Step, StoredRequest};
use crate::db::{Conn, DbError, Flow, statement};
use crate::domain::Origin;
use crate::domain::job::Move;
use crate::domain::{DeadReason, FailReason, JobId, JobSnapshot, JobState, PrincipalId};
use crate::store::job::request;
use crate::store::message::letters::DeadLetter;
use crate::store::message::letters::clean;

use crate::store::job::ending::Done;
use crate::store::job::insert;
use crate::store::job::insert::NewJob;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::job::{ending, lane_rows};
use crate::store::message::letters;
use crate::store::schema::dead_letters;
use crate::store::transact::Store;
use crate::store::tx::Tx;

impl Store {
    /// Keeps a dead letter, and does to its job what the reason of the death demands, in one transaction. Returns the
    /// job if this failed it. A letter that is kept already changes nothing.
    pub async fn bury(&self, mut letter: DeadLetter) -> Result<Option<JobSnapshot>, DbError> {
        self.transact(move |tx| {
            let effect = effect(&letter);
            if let Effect::Invalid(_, requester) = &effect {
                one_at_a_time(tx.conn, *requester)?;
            }
            letter.job_id = letter.job_id.or(effect.job());
            letter.run = letter.run.or(effect.run());
            let failed = if letters::insert(tx, &letter)? { apply(tx, &effect, &letter)? } else { None };
            if let Some(job) = &failed {
                let this = dead_letters::table.filter(dead_letters::dead_id.eq(clean(&letter.dead_id)));
                diesel::update(this).set(dead_letters::run.eq(job.run)).execute(tx.conn)?;
            }
            Ok(Flow::Commit(failed))
        })
        .await
    }
}

/// What a dead letter does to a job. A message that can never be read, whoever tries, is called poison.
enum Effect {
    /// It does nothing. The letter is kept with the id of its job, if the message names one.
    None { job: Option<JobId> },
    /// The message is a request that is poison, but names a job and a requester. If the job's id is free, a job is
    /// made that has failed as `invalid_request`, so that its requester is told.
    Invalid(JobId, PrincipalId),
    /// The message is a request that was replayed and is poison again. The run of the job that waits for this body
    /// fails.
    Unfilled(JobId, i32),
    /// The broker gave up a request after too many deliveries. Its job fails if it is in this run and has not begun.
    Request(Box<JobRequested>, i32),
    /// The broker gave up a step after too many deliveries. Its job fails if the lane is still at the step's run and
    /// turn.
    Step(Step),
}

impl Effect {
    fn job(&self) -> Option<JobId> {
        match self {
            Self::None { job } => *job,
            Self::Invalid(job, _) | Self::Unfilled(job, _) => Some(*job),
            Self::Request(asked, _) => Some(asked.job_id),
            Self::Step(step) => Some(step.job_id),
        }
    }

    /// The run of the job that the message belongs to, if that is known. Poison belongs to no run before it has failed
    /// one.
    fn run(&self) -> Option<i32> {
        match self {
            Self::None { .. } | Self::Invalid(..) | Self::Unfilled(..) => None,
            Self::Request(_, run) => Some(*run),
            Self::Step(step) => Some(step.run),
        }
    }
}

/// Decides what a dead letter does to a job, from the letter alone.
fn effect(letter: &DeadLetter) -> Effect {
    use DeadReason as Why;
    let is_poison = match letter.reason {
        Why::NotJson | Why::NotCloudevent | Why::UnknownVersion | Why::UnknownType => true,
        Why::InvalidField | Why::TooLarge => true,
        Why::PublisherNotAllowed | Why::IdConflict | Why::AttemptsExhausted | Why::DeliveryLimit => false,
        Why::UnknownJob => false,
        Why::Expired | Why::QueueFull | Why::Rejected | Why::Unexplained => false,
    };
    // The id of a message may name a run, but anybody can choose such an id. So `apply` also checks that the job waits
    // for exactly this body.
    let replayed = letter.message_id.as_deref().and_then(contract::replayed_run);
    if let Some((job, run)) = replayed.filter(|_| is_poison && letter.origin == Origin::Request) {
        return Effect::Unfilled(job, run);
    }
    // A message over the size limit is not decoded, since it could have hundreds of megabytes.
    if letter.reason == Why::TooLarge || letter.body.len() > letter.readable_bytes {
        return Effect::None { job: None };
    }
    if letter.reason == Why::DeliveryLimit && letter.origin == Origin::Step {
        // Only we send steps. But anybody can guess the body of one, so the broker has to say that it is ours.
        return match contract::decode_step(&letter.body) {
            Ok(step) if letter.is_from_us => Effect::Step(step),
            _ => Effect::None { job: None },
        };
    }
    match contract::decode_asked(&letter.body, letter.readable_bytes) {
        Ok(Asked::Share(asked) | Asked::Unshare(asked))
            if letter.reason == Why::DeliveryLimit && letter.origin == Origin::Request =>
        {
            // Only our replays make later runs, and those name the run. Any other request belongs to the first run.
            let run = replayed.filter(|(job, _)| *job == asked.job_id).map_or(1, |(_, run)| run);
            Effect::Request(Box::new(asked), run)
        }
        Ok(Asked::Share(asked) | Asked::Unshare(asked)) => Effect::None { job: Some(asked.job_id) },
        // Its replay sends it once more, and a second delivery does nothing. The letter names no job, since the replay
        // of one that does goes on with that job.
        Ok(Asked::Order(_)) => Effect::None { job: None },
        Err(poison) => match poison.failed_job().filter(|_| letter.reason == poison.reason) {
            Some((job, requester)) if letter.origin == Origin::Request => Effect::Invalid(job, requester),
            _ => Effect::None { job: poison.job_id },
        },
    }
}

/// The most failed jobs that poison may make for one person in [`COUNTED_MS`]. Each of them is a notice to that
/// person, and whoever publishes a message can name any person in it.
const FAILED_BY_POISON: i64 = 10;

/// The period in which these failed jobs are counted, in milliseconds: one hour.
const COUNTED_MS: i64 = 3_600_000;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Waits until no other transaction makes failed jobs for the same person, so that several of them together stay below
/// the limit. It is the first lock of its transaction, so that it cannot be part of a circle. SQLite needs none, since
/// it has only one writer at a time.
fn one_at_a_time(conn: &mut Conn, person: PrincipalId) -> Result<(), DbError> {
    conn.lock_name("batchshare poison", person.get())
}

/// Whether poison has made as many failed jobs for this person as it may. Only poison makes jobs without a digest that
/// fail as `invalid_request`.
fn has_enough(conn: &mut Conn, person: PrincipalId, now: i64) -> Result<bool, DbError> {
    let sql = "SELECT COUNT(*) AS n FROM jobs WHERE requested_by = $1 AND finished_at > $2 \
               AND digest IS NULL AND reason = 'invalid_request'";
    let made: Number = statement(sql)
        .bind::<BigInt, _>(person.get())
        .bind::<BigInt, _>(now - COUNTED_MS)
        .get_result(conn)?;
    Ok(made.n >= FAILED_BY_POISON)
}

/// Does to the job what the effect says. Returns the job if this failed it.
fn apply(tx: &mut Tx<'_>, effect: &Effect, letter: &DeadLetter) -> Result<Option<JobSnapshot>, DbError> {
    match effect {
        Effect::None { .. } => Ok(None),
        Effect::Invalid(job, requester) => {
            // The time is read only here, since it may cost a round trip and most letters do not need it.
            let now = tx.now()?;
            if has_enough(tx.conn, *requester, now)? {
                return Ok(None);
            }
            let job = NewJob {
                job_id: *job,
                requested_by: *requester,
                request: None,
                idempotency_key: None,
                traceparent: &contract::new_traceparent(),
                asked_here: false,
                expected_end: None,
            };
            match insert::insert_one(tx, job)? {
                Some(key) => {
                    let row = row::lock(tx.conn, key)?;
                    fail(tx, row, FailReason::InvalidRequest, &letter.detail)
                }
                // A job with this id exists, and poison must not change it.
                None => Ok(None),
            }
        }
        Effect::Unfilled(job, run) => match row::lock_by_id(tx.conn, *job)? {
            Some(row) if row.waits_for_body() && row.run == *run => {
                // The job waits for one body. Whoever sent that body again, it is poison again. A letter with another
                // body says nothing about this run.
                if request::awaited_body(tx.conn, &row)?.as_deref() != Some(letter.body.as_ref()) {
                    return Ok(None);
                }
                fail(tx, row, FailReason::InvalidRequest, &letter.detail)
            }
            _ => Ok(None),
        },
        Effect::Request(asked, run) => {
            let kept = StoredRequest::of(&asked.request);
            let job = NewJob {
                job_id: asked.job_id,
                requested_by: asked.request.requested_by,
                request: Some((&asked.request, &kept)),
                idempotency_key: None,
                traceparent: &asked.traceparent.clone().unwrap_or_else(contract::new_traceparent),
                asked_here: false,
                expected_end: None,
            };
            let row = match insert::insert_one(tx, job)? {
                Some(key) => row::lock(tx.conn, key)?,
                // The job exists, so its request comes from us, or due work will send it. The death of a copy that
                // somebody else sent says nothing about it.
                None if !letter.is_from_us => return Ok(None),
                None => match row::lock_by_id(tx.conn, asked.job_id)? {
                    Some(row) if row.run == *run => insert::fill(tx.conn, row, &asked.request)?,
                    Some(row) => row,
                    None => return Ok(None),
                },
            };
            if row.state == JobState::Queued && row.digest == Some(kept.digest) && row.run == *run {
                return fail(tx, row, FailReason::AttemptsExhausted, &letter.detail);
            }
            Ok(None)
        }
        Effect::Step(step) => {
            let Some(row) = row::lock_by_id(tx.conn, step.job_id)? else { return Ok(None) };
            if row.state != JobState::Running {
                return Ok(None);
            }
            // The lanes are locked before they are read, since a chunk that is under way may move the lane on to
            // another turn.
            lane_rows::lock_all(tx.conn, row.key)?;
            match lane_rows::stand(tx.conn, step)? {
                Some(_) => fail(tx, row, FailReason::AttemptsExhausted, &letter.detail),
                None => Ok(None),
            }
        }
    }
}

/// Fails a job that the caller has locked. What it granted so far stays granted and is counted.
fn fail(
    tx: &mut Tx<'_>,
    mut row: JobRow,
    reason: FailReason,
    detail: &str,
) -> Result<Option<JobSnapshot>, DbError> {
    row.last_error = Some(clean(detail));
    let done =
        if row.state == JobState::Running { ending::close_lanes(tx.conn, &row)? } else { Done::default() };
    ending::end_one(tx, row, Move::Fail(reason), done).map(Some)
}
