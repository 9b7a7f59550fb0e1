//! One connection to either database, and its transactions.

use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{PgConnection, SqliteConnection};

use crate::db::error::DbError;

/// A connection to PostgreSQL, the store of production, or to SQLite, the embedded one.
#[derive(diesel::MultiConnection)]
pub enum Conn {
    Pg(PgConnection),
    Sqlite(SqliteConnection),
}

diesel::define_sql_function! {
    /// Milliseconds since 1970 by the database's clock. Both databases have this function from us (on PostgreSQL a
    /// migration makes it), so that one text serves both.
    fn now_ms() -> diesel::sql_types::BigInt;
}

diesel::define_sql_function! {
    /// Microseconds since 1970 by the database's clock, read when the function is called. Both databases have this
    /// function from us, too.
    fn now_us() -> diesel::sql_types::BigInt;
}

impl Conn {
    /// Asks the database whether it takes writes now.
    pub(super) fn takes_no_writes(&mut self) -> Result<bool, DbError> {
        use diesel::RunQueryDsl as _;
        #[derive(diesel::QueryableByName)]
        struct Answer {
            #[diesel(sql_type = diesel::sql_types::Bool)]
            yes: bool,
        }
        Ok(diesel::sql_query(self.is_read_only()).get_result::<Answer>(self)?.yes)
    }

    /// Begins a transaction, in one round trip. Its statements may run as long as `statements` says, and wait as long
    /// as `locks` says for a lock that others hold (`None`: as long as the session says). SQLite's write transactions
    /// are alone, and have neither limit; the only writer that SQLite has is waited for as long as `writer` says.
    pub(super) fn begin(
        &mut self,
        statements: Duration,
        locks: Option<Duration>,
        writer: Duration,
    ) -> Result<(), DbError> {
        if !self.has_server() {
            return self.become_the_writer(writer);
        }
        let mut sql = format!("BEGIN; SET LOCAL statement_timeout = {}", statements.as_millis());
        if let Some(locks) = locks {
            sql.push_str(&format!("; SET LOCAL lock_timeout = {}", locks.as_millis().max(1)));
        }
        Ok(self.batch_execute(&sql)?)
    }

    /// Begins a write transaction on SQLite and waits for other processes that write. We look for the end of their
    /// transaction ourselves, because SQLite looks ten times a second only: a process that writes one transaction
    /// after the other leaves only short gaps, so that a command beside a large job would hardly ever find one and give
    /// up.
    ///
    /// # Errors
    /// "database is locked" where others wrote for all of this time.
    fn become_the_writer(&mut self, wait: Duration) -> Result<(), DbError> {
        let session = format!("PRAGMA busy_timeout = {}", wait.as_millis());
        // It is IMMEDIATE, because on SQLite a read that turns into a write fails at once, whatever the timeout.
        let begin = format!("PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; {session}");
        let until = Instant::now() + wait;
        loop {
            let error = match self.batch_execute(&begin) {
                Ok(()) => return Ok(()),
                Err(error) => DbError::from(error),
            };
            if !error.is_writer_taken() || Instant::now() >= until {
                self.batch_execute(&session)?;
                return Err(error);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Begins a transaction that only reads and sees everything as it was at its first statement, in one round trip. Its
    /// statements may run as long as `statements` says.
    pub(super) fn begin_snapshot(&mut self, statements: Duration) -> Result<(), DbError> {
        if !self.has_server() {
            return Ok(self.batch_execute("BEGIN DEFERRED")?);
        }
        let ms = statements.as_millis().max(1);
        let sql =
            format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {ms}");
        Ok(self.batch_execute(&sql)?)
    }

    /// Asks the server whether it is still there, in the shortest round trip.
    pub(super) fn test(&mut self) -> Result<(), DbError> {
        if self.has_server() {
            self.batch_execute("SELECT 1")?;
        }
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<(), DbError> {
        self.batch_execute("COMMIT").map_err(DbError::Commit)
    }

    /// Rolls back. Whether that worked decides if the connection can be kept.
    pub(super) fn rollback(&mut self) -> bool {
        self.batch_execute("ROLLBACK").is_ok()
    }
}

/// How long to sleep before looking again whether another process still writes. Beside two lanes with transactions of
/// 40 ms each, a turn came after 190 ms on average (`whoever_writes_beside_a_large_job_gets_a_turn`).
const LOOK_AGAIN: Duration = Duration::from_micros(500);
