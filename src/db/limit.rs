//! The time limit of SQLite's reads. PostgreSQL has one of its own (`statement_timeout`).
//!
//! SQLite asks nobody while it reads, unless through a progress handler, which Diesel does not offer. But a statement may
//! call a function of ours at each row, and where the function fails, the statement ends. So every condition
//! that looks at many rows has [`super::Conn::in_time`] in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::serialize::{IsNull, Output, Result, ToSql};
use diesel::sql_types::Bool;
use diesel::sqlite::Sqlite;

diesel::define_sql_function! {
    /// True; it fails once the statement's time is over.
    fn in_time() -> Bool;
}

/// What the statement fails with: PostgreSQL's words, so that `DbError` knows them.
const LATE: &str = "canceling statement due to statement timeout";

/// How long statements of one connection may take. Cheap to clone; all clones are the same limit.
#[derive(Clone)]
pub(super) struct Limit {
    since: Instant,
    state: Arc<State>,
}

/// In microseconds: how long a statement may take, and when the present one has to end, counted from `since`.
struct State {
    each: AtomicU64,
    end: AtomicU64,
}

impl Limit {
    /// None yet.
    pub(super) fn new() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self { since: Instant::now(), state: Arc::new(State { each: never(), end: never() }) }
    }

    /// Statements that begin from now on may take so long.
    pub(super) fn set(&self, each: Duration) {
        self.state.each.store(micros(each), Ordering::Relaxed);
    }

    /// A statement begins.
    pub(super) fn begin(&self) {
        let end = micros(self.since.elapsed()).saturating_add(self.state.each.load(Ordering::Relaxed));
        self.state.end.store(end, Ordering::Relaxed);
    }

    fn look(&self) -> InTime {
        InTime(micros(self.since.elapsed()) <= self.state.end.load(Ordering::Relaxed))
    }

    /// Makes the function known to a connection.
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
