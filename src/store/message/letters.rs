//! Keeps dead letters: messages that could not be handled, each with the reason.

use bytes::Bytes;
use diesel::prelude::*;
use serde_json::{Map, Value};

use crate::db::{Conn, DbError, Flow};
use crate::domain::{DeadReason, DeadState, JobId, Origin};
use crate::store::schema::dead_letters;
use crate::store::transact::Store;
use crate::store::tx::Tx;

/// A message that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id of this death. If the same death is delivered a second time, it has the same id and is ignored.
    pub dead_id: String,
    pub reason: DeadReason,
    /// What is wrong, in words. It never holds a value of the message, which may be secret.
    pub detail: String,
    pub job_id: Option<JobId>,
    /// The run of the job that this letter ended, or whose step it was.
    pub run: Option<i32>,
    pub message_id: Option<String>,
    /// The user who published the message, as the broker says. `None` if the broker does not say.
    pub user_id: Option<String>,
    /// Whether the broker says that this installation published the message.
    pub is_from_us: bool,
    pub origin: Origin,
    /// The headers that the sender and the broker set, as an object whose values are texts.
    pub headers: Map<String, Value>,
    /// The body as it came. It may be large, and is cheap to clone.
    pub body: Bytes,
    /// A body with more bytes than this is not decoded, since decoding needs several times its memory.
    pub readable_bytes: usize,
    /// Milliseconds since 1970.
    pub received_at: i64,
}

/// Inserts a dead letter. False if a letter with this id is there already, which then stays as it is.
pub(in crate::store) fn insert(tx: &mut Tx<'_>, letter: &DeadLetter) -> Result<bool, DbError> {
    let cleaned = |(name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), clean);
        (clean(name), Value::from(value))
    };
    let headers: Map<String, Value> = letter.headers.iter().map(cleaned).collect();
    let values = (
        dead_letters::dead_id.eq(clean(&letter.dead_id)),
        dead_letters::reason.eq(letter.reason.as_str()),
        dead_letters::detail.eq(clean(&letter.detail)),
        dead_letters::job_id.eq(letter.job_id.map(|id| id.to_string())),
        dead_letters::run.eq(letter.run),
        dead_letters::message_id.eq(letter.message_id.as_deref().map(clean)),
        dead_letters::user_id.eq(letter.user_id.as_deref().map(clean)),
        dead_letters::origin.eq(letter.origin.as_str()),
        dead_letters::headers.eq(Value::from(headers).to_string()),
        dead_letters::body.eq(letter.body.as_ref()),
        dead_letters::received_at.eq(letter.received_at),
        dead_letters::state.eq(DeadState::Kept.as_str()),
    );
    let statement = diesel::insert_into(dead_letters::table).values(values).on_conflict_do_nothing();
    let inserted = match tx.conn {
        Conn::Pg(c) => statement.execute(c)?,
        Conn::Sqlite(c) => statement.execute(c)?,
    };
    tx.tally.dead_letters += inserted as u64;
    Ok(inserted == 1)
}

/// Replaces each NUL character of a text that comes from outside, since PostgreSQL cannot keep one.
pub(in crate::store) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Store {
    /// Keeps a dead letter without doing anything to its job, for a letter whose effect on the job fails each time.
    pub async fn keep_letter(&self, letter: DeadLetter) -> Result<(), DbError> {
        self.transact(move |tx| insert(tx, &letter).map(|_| Flow::Commit(()))).await
    }
}
