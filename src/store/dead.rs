//! Dead letters: messages that could not be handled, and what each does to a job.

use diesel::prelude::*;

use crate::db::{Conn, DbError, Flow};
use crate::domain::job::Move;
use crate::domain::permission::names;
use crate::domain::{Counts, DeadReason, FailReason, JobId, JobState, PrincipalId};
use crate::wire::{self, JobRequested, Step};

use super::jobs::{self, Fresh, JobRow};
use super::schema::dead_letters;
use super::tx::Tx;
use super::{Store, ending, lanes};

/// What a dead message was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Request,
    Step,
    Event,
    Unknown,
}

names!(Origin { Request = "request", Step = "step", Event = "event", Unknown = "unknown" });

/// A message that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The same for the same death: a second delivery of it is ignored.
    pub dead_id: String,
    pub reason: DeadReason,
    /// What is wrong, in words; never a value of the message.
    pub detail: String,
    pub job_id: Option<JobId>,
    pub run: Option<i32>,
    pub message_id: Option<String>,
    pub origin: Origin,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Milliseconds since 1970.
    pub received_at: i64,
}

/// Inserts or ignores. False where the letter is there already.
pub(super) fn insert(conn: &mut Conn, letter: &DeadLetter) -> Result<bool, DbError> {
    let headers: serde_json::Map<String, serde_json::Value> =
        letter.headers.iter().map(|(name, value)| (clean(name), clean(value).into())).collect();
    let values = (
        dead_letters::dead_id.eq(clean(&letter.dead_id)),
        dead_letters::reason.eq(letter.reason.as_str()),
        dead_letters::detail.eq(clean(&letter.detail)),
        dead_letters::job_id.eq(letter.job_id.map(|id| id.to_string())),
        dead_letters::run.eq(letter.run),
        dead_letters::message_id.eq(letter.message_id.as_deref().map(clean)),
        dead_letters::origin.eq(letter.origin.as_str()),
        dead_letters::headers.eq(serde_json::Value::from(headers).to_string()),
        dead_letters::body.eq(&letter.body),
        dead_letters::received_at.eq(letter.received_at),
        dead_letters::state.eq("kept"),
    );
    let statement = diesel::insert_into(dead_letters::table).values(values).on_conflict_do_nothing();
    let inserted = match conn {
        Conn::Pg(c) => statement.execute(c)?,
        Conn::Sqlite(c) => statement.execute(c)?,
    };
    Ok(inserted == 1)
}

/// Properties come from outside: PostgreSQL keeps no NUL in a text.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Store {
    /// Keeps a dead letter and does to its job what its reason says, in one transaction. A letter
    /// that is there already does nothing.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn bury(&self, mut letter: DeadLetter) -> Result<(), DbError> {
        self.transact(move |tx| {
            let effect = effect(&letter);
            letter.job_id = letter.job_id.or(effect.job());
            if insert(tx.conn, &letter)? {
                apply(tx, &effect, &letter)?;
            }
            Ok(Flow::Commit(()))
        })
        .await
    }
}

/// What a dead letter does to a job.
enum Effect {
    None {
        job: Option<JobId>,
    },
    /// A job that failed as `invalid_request`, where the id is free.
    Invalid(JobId, PrincipalId),
    /// A request that the broker gave up: its job fails if it has not begun.
    Request(Box<JobRequested>),
    /// A step that the broker gave up: its job fails if it still stands at that run and turn.
    Step(Step),
}

impl Effect {
    fn job(&self) -> Option<JobId> {
        match self {
            Self::None { job } => *job,
            Self::Invalid(job, _) => Some(*job),
            Self::Request(asked) => Some(asked.job_id),
            Self::Step(step) => Some(step.job_id),
        }
    }
}

fn effect(letter: &DeadLetter) -> Effect {
    // Over its limit a message is not read: it could be hundreds of megabytes.
    if letter.reason == DeadReason::TooLarge {
        return Effect::None { job: None };
    }
    let decoded = wire::decode_request(&letter.body, usize::MAX);
    let known = decoded.as_ref().map_or_else(|poison| poison.job_id, |asked| Some(asked.job_id));
    match (letter.reason, letter.origin) {
        (DeadReason::NotCloudevent | DeadReason::InvalidField, Origin::Request) => {
            match decoded.err().and_then(|poison| poison.failed_job()) {
                Some((job, requester)) => Effect::Invalid(job, requester),
                None => Effect::None { job: known },
            }
        }
        (DeadReason::DeliveryLimit, Origin::Request) => match decoded {
            Ok(asked) => Effect::Request(Box::new(asked)),
            Err(_) => Effect::None { job: known },
        },
        (DeadReason::DeliveryLimit, Origin::Step) => match wire::decode_step(&letter.body) {
            Ok(step) => Effect::Step(step),
            Err(_) => Effect::None { job: None },
        },
        _ => Effect::None { job: known },
    }
}

fn apply(tx: &mut Tx<'_>, effect: &Effect, letter: &DeadLetter) -> Result<(), DbError> {
    match effect {
        Effect::None { .. } => Ok(()),
        Effect::Invalid(job, requester) => {
            let fresh = Fresh {
                job_id: *job,
                requested_by: *requester,
                request: None,
                idempotency_key: None,
                traceparent: &wire::new_traceparent(),
                now: tx.now,
            };
            match jobs::insert(tx.conn, &fresh)? {
                Some(key) => {
                    let row = jobs::lock(tx.conn, key)?;
                    fail(tx, &row, FailReason::InvalidRequest, &letter.detail)
                }
                // A job of that id exists: it is not touched.
                None => Ok(()),
            }
        }
        Effect::Request(asked) => {
            let trace = asked.traceparent.clone().unwrap_or_else(wire::new_traceparent);
            let fresh = Fresh {
                job_id: asked.job_id,
                requested_by: asked.request.requested_by,
                request: Some(&asked.request),
                idempotency_key: None,
                traceparent: &trace,
                now: tx.now,
            };
            let made = jobs::insert(tx.conn, &fresh)?;
            let row = match made {
                Some(key) => Some(jobs::lock(tx.conn, key)?),
                None => jobs::lock_by_id(tx.conn, asked.job_id)?,
            };
            let digest = wire::StoredRequest::of(&asked.request).digest;
            match row {
                Some(row) if row.state == JobState::Queued && row.digest.as_ref() == Some(&digest) => {
                    fail(tx, &row, FailReason::AttemptsExhausted, &letter.detail)
                }
                _ => Ok(()),
            }
        }
        Effect::Step(step) => {
            let Some(row) = jobs::lock_by_id(tx.conn, step.job_id)? else { return Ok(()) };
            if row.state != JobState::Running {
                return Ok(());
            }
            // Locked first: a chunk that is under way may move the lane on to another turn.
            lanes::lock_all(tx.conn, row.key)?;
            match lanes::stand(tx.conn, step)? {
                Some(_) => fail(tx, &row, FailReason::AttemptsExhausted, &letter.detail),
                None => Ok(()),
            }
        }
    }
}

/// Fails a locked job; what was granted stays and is counted.
fn fail(tx: &mut Tx<'_>, row: &JobRow, reason: FailReason, detail: &str) -> Result<(), DbError> {
    use super::schema::jobs::dsl;
    diesel::update(dsl::jobs.filter(dsl::id.eq(row.key.get())))
        .set(dsl::last_error.eq(detail))
        .execute(tx.conn)?;
    let counts =
        if row.state == JobState::Running { ending::close_lanes(tx.conn, row)? } else { Counts::default() };
    ending::end(tx, row, Move::Fail(reason), counts).map(drop)
}
