//! Dead letters: messages that could not be handled, kept with their reason.

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
    /// The same for the same death: a second delivery of it is ignored.
    pub dead_id: String,
    pub reason: DeadReason,
    /// What is wrong, in words; never a value of the message.
    pub detail: String,
    pub job_id: Option<JobId>,
    /// The job's run that it ended, or that it was a step of.
    pub run: Option<i32>,
    pub message_id: Option<String>,
    /// Who published it, as the broker said.
    pub user_id: Option<String>,
    /// The broker says that this installation published it.
    pub is_from_us: bool,
    pub origin: Origin,
    /// What its sender set, and the broker: an object of texts.
    pub headers: Map<String, Value>,
    /// Cheap to clone.
    pub body: Bytes,
    /// A larger body is not read: decoding costs memory.
    pub readable_bytes: usize,
    /// Milliseconds since 1970.
    pub received_at: i64,
}

/// Inserts or ignores. False where the letter is there already.
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

/// Properties come from outside: PostgreSQL keeps no NUL in a text.
pub(in crate::store) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Store {
    /// Keeps a dead letter and nothing else, for one whose effect cannot be had.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn keep_letter(&self, letter: DeadLetter) -> Result<(), DbError> {
        self.transact(move |tx| insert(tx, &letter).map(|_| Flow::Commit(()))).await
    }
}
