//! Keeps the state of the checks of dead-lettering.
//!
//! A check is a message that we send to a queue and reject there, to see whether the broker brings it to the dead
//! queue (see worker/checks.rs).

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError, statement};

use crate::store::codes::millis;
use crate::store::transact::Store;

/// If a check was not even taken from its queue within this time, somebody has emptied the queue, and a new one is
/// sent.
const LOST: Duration = Duration::from_secs(600);

/// Notes a new check for a queue if it is time for one, which the condition decides: $3 after a check that came back,
/// $4 after one that was taken and did not come back, $5 after one that was not even taken. The condition is in the
/// statement itself, so that of several workers only one finds that it is time.
const ASK: &str = "INSERT INTO broker_checks (queue, id, asked_at) VALUES ($1, $2, now_ms()) \
    ON CONFLICT (queue) DO UPDATE SET id = excluded.id, asked_at = excluded.asked_at, \
    taken_at = NULL, seen_at = NULL \
    WHERE broker_checks.asked_at <= excluded.asked_at - CASE \
    WHEN broker_checks.seen_at IS NOT NULL THEN CAST($3 AS bigint) \
    WHEN broker_checks.taken_at IS NOT NULL THEN CAST($4 AS bigint) \
    ELSE CAST($5 AS bigint) END";

/// The queues whose checks did not come back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckState {
    /// Suffixes of the queues whose check was rejected a while ago and has not come out of the dead queue.
    pub late: Vec<String>,
    /// Suffixes of the queues that are known to be stuck: their dead letters do not come.
    pub stuck: Vec<String>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    queue: String,
    #[diesel(sql_type = BigInt)]
    stuck: i64,
}

impl Store {
    /// Notes that a check with this id is sent to the queue, if it is time for one. It is time `every` after the last
    /// check if that one came back, and after four times as long if it did not. True means that the caller sends the
    /// check. Only one of all workers gets that answer.
    pub async fn ask_check(&self, queue: &'static str, id: String, every: Duration) -> Result<bool, DbError> {
        let every = millis(every);
        self.db()
            .write(move |conn| {
                let asked =
                    statement(ASK).bind::<Text, _>(queue).bind::<Text, _>(id).bind::<BigInt, _>(every);
                let asked = asked.bind::<BigInt, _>(every * 4).bind::<BigInt, _>(millis(LOST).max(every * 4));
                Ok(asked.execute(conn)? > 0)
            })
            .await
    }

    /// Notes that a check could not be sent, so that it is time for the next one at once.
    pub async fn forget_check(&self, id: String) -> Result<(), DbError> {
        self.note(id, "UPDATE broker_checks SET asked_at = 0 WHERE id = $1").await
    }

    /// Notes that a check was taken from its queue and rejected.
    pub async fn check_taken(&self, id: String) -> Result<(), DbError> {
        self.note(id, "UPDATE broker_checks SET taken_at = now_ms() WHERE id = $1 AND taken_at IS NULL").await
    }

    /// Notes that a check came out of the dead queue. A check with an unknown id changes nothing.
    pub async fn check_seen(&self, id: String) -> Result<(), DbError> {
        self.note(id, "UPDATE broker_checks SET seen_at = now_ms(), stuck_since = NULL WHERE id = $1").await
    }

    /// Notes that the queue is stuck, unless its check has come back meanwhile.
    pub async fn check_stuck(&self, queue: String) -> Result<(), DbError> {
        let sql = "UPDATE broker_checks SET stuck_since = COALESCE(stuck_since, now_ms()) \
                   WHERE queue = $1 AND seen_at IS NULL";
        self.note(queue, sql).await
    }

    async fn note(&self, of: String, sql: &'static str) -> Result<(), DbError> {
        let noted = move |conn: &mut Conn| Ok(statement(sql).bind::<Text, _>(of).execute(conn).map(drop)?);
        self.db().write(noted).await
    }

    /// Reads the state of the checks. A check counts as late if it was rejected longer ago than `patience`.
    pub async fn checks(&self, patience: Duration) -> Result<CheckState, DbError> {
        let patience = millis(patience);
        let read = move |conn: &mut Conn| -> Result<Vec<Row>, DbError> {
            let sql = "SELECT queue, CAST(CASE WHEN stuck_since IS NULL THEN 0 ELSE 1 END AS bigint) AS stuck \
                       FROM broker_checks WHERE stuck_since IS NOT NULL \
                       OR (seen_at IS NULL AND taken_at <= now_ms() - CAST($1 AS bigint)) ORDER BY queue";
            Ok(statement(sql).bind::<BigInt, _>(patience).load(conn)?)
        };
        let rows = self.db().read(read).await?;
        let mut state = CheckState::default();
        for row in rows {
            if row.stuck == 1 { &mut state.stuck } else { &mut state.late }.push(row.queue);
        }
        Ok(state)
    }
}
