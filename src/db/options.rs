//! Sizes and deadlines of a pool of connections.

use std::time::Duration;

/// Sizes and deadlines of the connections.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// The number of connections to PostgreSQL, or of readers of SQLite, which has one writer besides.
    pub pool_size: usize,
    pub connect_timeout: Duration,
    /// How long a statement in a transaction may run.
    pub statement_timeout: Duration,
    /// How long a statement that only reads may run. This is less, because a person waits for it and others wait for
    /// its connection.
    pub read_timeout: Duration,
    pub lock_timeout: Duration,
    pub idle_in_transaction_timeout: Duration,
    pub tcp_user_timeout: Duration,
    /// The longest wait for an answer, whatever the reason. Nothing else finds out a peer that accepts connections
    /// and never answers.
    pub call_timeout: Duration,
    /// A connection to PostgreSQL is closed at this age. Each gets up to an eighth more or less, so that not all are
    /// closed at once.
    pub max_lifetime: Duration,
}

impl DbOptions {
    /// SQL that sets the limits of everyday statements (PostgreSQL). The limits of a session are those of reads; a
    /// transaction sets its own when it begins, in the same round trip.
    pub(super) fn limits(&self) -> String {
        let (statement, lock) = (self.read_timeout.as_millis(), self.lock_timeout.as_millis());
        format!("SET statement_timeout = {statement}; SET lock_timeout = {lock}")
    }
}
