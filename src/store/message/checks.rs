//! How far the last check of each queue's dead-lettering came (see worker/checks.rs).

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError, statement};

use crate::store::codes::millis;
use crate::store::transact::Store;

/// A check that is nowhere is asked for again after this: the queue was emptied by hand.
const LOST: Duration = Duration::from_secs(600);

/// Where checks stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckState {
    /// Suffixes of queues whose check was rejected a while ago and did not come out of the dead queue.
    pub late: Vec<String>,
    /// Suffixes of queues that are known to be stuck.
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
    /// Notes that a check with this id is sent, if it is time for one: `every` after the last that came back, and four
    /// times as long after one that did not. One worker of all gets `true`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn ask_check(&self, queue: &'static str, id: String, every: Duration) -> Result<bool, DbError> {
        let every = millis(every);
        self.db()
            .write(move |conn| {
                let asked = statement(
                    "INSERT INTO broker_checks (queue, id, asked_at) VALUES ($1, $2, now_ms()) \
                     ON CONFLICT (queue) DO UPDATE SET id = excluded.id, asked_at = excluded.asked_at, \
                     taken_at = NULL, seen_at = NULL \
                     WHERE broker_checks.asked_at <= excluded.asked_at - CASE \
                     WHEN broker_checks.seen_at IS NOT NULL THEN CAST($3 AS bigint) \
                     WHEN broker_checks.taken_at IS NOT NULL THEN CAST($4 AS bigint) \
                     ELSE CAST($5 AS bigint) END",
                );
                let asked = asked.bind::<Text, _>(queue).bind::<Text, _>(id).bind::<BigInt, _>(every);
                let asked = asked.bind::<BigInt, _>(every * 4).bind::<BigInt, _>(millis(LOST).max(every * 4));
                Ok(asked.execute(conn)? > 0)
            })
            .await
    }

    /// A check could not be sent: it is time for the next one at once.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn forget_check(&self, id: String) -> Result<(), DbError> {
        self.note(id, "UPDATE broker_checks SET asked_at = 0 WHERE id = $1").await
    }

    /// A check was taken from its queue and rejected.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn check_taken(&self, id: String) -> Result<(), DbError> {
        self.note(id, "UPDATE broker_checks SET taken_at = now_ms() WHERE id = $1 AND taken_at IS NULL").await
    }

    /// A check came out of the dead queue. One that nobody asked for is nobody's.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn check_seen(&self, id: String) -> Result<(), DbError> {
        self.note(id, "UPDATE broker_checks SET seen_at = now_ms(), stuck_since = NULL WHERE id = $1").await
    }

    /// A queue's dead letters do not come.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn check_stuck(&self, queue: String) -> Result<(), DbError> {
        let sql = "UPDATE broker_checks SET stuck_since = COALESCE(stuck_since, now_ms()) \
                   WHERE queue = $1 AND seen_at IS NULL";
        self.note(queue, sql).await
    }

    async fn note(&self, of: String, sql: &'static str) -> Result<(), DbError> {
        let noted = move |conn: &mut Conn| Ok(statement(sql).bind::<Text, _>(of).execute(conn).map(drop)?);
        self.db().write(noted).await
    }

    /// Where checks stand; one is late that long after it was rejected.
    ///
    /// # Errors
    /// Where the database fails.
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
