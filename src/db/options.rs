//! Sizes and deadlines of a pool of connections.

use std::time::Duration;

/// Sizes and deadlines of the connections.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// Connections to PostgreSQL, or readers of SQLite (which has one writer besides).
    pub pool_size: usize,
    pub connect_timeout: Duration,
    /// Of a statement in a transaction.
    pub statement_timeout: Duration,
    /// Of a statement that only reads: less, since a person waits for it and others wait for its connection.
    pub read_timeout: Duration,
    pub lock_timeout: Duration,
    pub idle_in_transaction_timeout: Duration,
    pub tcp_user_timeout: Duration,
    /// The longest wait for an answer, whatever the reason: a peer that accepts and never answers
    /// is found out by nothing else.
    pub call_timeout: Duration,
    /// A connection to PostgreSQL is closed at this age, give or take an eighth (so that not all are at once).
    pub max_lifetime: Duration,
}

impl DbOptions {
    /// SQL that sets the limits of everyday statements (PostgreSQL). A session's are those of reads; a
    /// transaction takes its own as it begins, in the same round trip.
    pub(super) fn limits(&self) -> String {
        let (statement, lock) = (self.read_timeout.as_millis(), self.lock_timeout.as_millis());
        format!("SET statement_timeout = {statement}; SET lock_timeout = {lock}")
    }
}
