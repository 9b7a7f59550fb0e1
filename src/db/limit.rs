//! The time limit of statements on SQLite. PostgreSQL has one of its own (`statement_timeout`).
//!
//! While SQLite reads, it can be stopped only by a progress handler, which Diesel does not offer. But a statement may
//! call a function of ours at each row, and if the function fails, the statement ends. So every condition that looks
//! at many rows has [`super::Conn::in_time`] in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::serialize::{IsNull, Output, Result, ToSql};
use diesel::sql_types::Bool;
use diesel::sqlite::Sqlite;

diesel::define_sql_function! {
    /// Returns true as long as the statement has time, and fails after that.
    fn in_time() -> Bool;
}

/// The words with which the statement fails. They are PostgreSQL's, so that `DbError` knows them.
const LATE: &str = "canceling statement due to statement timeout";

/// How long the statements of one connection may take. It is cheap to clone, and all clones are one limit.
#[derive(Clone)]
pub(super) struct Limit {
    since: Instant,
    state: Arc<State>,
}

/// Both are in microseconds: how long a statement may take, and when the present one has to end, counted from
/// `since`.
struct State {
    each: AtomicU64,
    end: AtomicU64,
}

impl Limit {
    /// A limit that does not end any statement yet.
    pub(super) fn new() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self { since: Instant::now(), state: Arc::new(State { each: never(), end: never() }) }
    }

    /// Lets statements that begin from now on take so long.
    pub(super) fn set(&self, each: Duration) {
        self.state.each.store(micros(each), Ordering::Relaxed);
    }

    /// Notes that a statement begins.
    pub(super) fn begin(&self) {
        let end = micros(self.since.elapsed()).saturating_add(self.state.each.load(Ordering::Relaxed));
        self.state.end.store(end, Ordering::Relaxed);
    }

    fn look(&self) -> InTime {
        InTime(micros(self.since.elapsed()) <= self.state.end.load(Ordering::Relaxed))
    }

    /// Registers the function `in_time` with a connection.
    pub(super) fn register(&self, connection: &diesel::SqliteConnection) -> diesel::QueryResult<()> {
        let limit = self.clone();
        in_time_utils::register_nondeterministic_impl(connection, move || limit.look())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[derive(Debug)]
struct InTime(bool);

impl ToSql<Bool, Sqlite> for InTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> Result {
        if !self.0 {
            return Err(LATE.into());
        }
        out.set_value(1_i32);
        Ok(IsNull::No)
    }
}
