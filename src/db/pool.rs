//! A fair pool of synchronous connections, used from async code.
//!
//! It takes the place of r2d2 for three reasons: callers wait in a fair queue (tokio's semaphore); if a connection
//! fails, the caller learns at once why, and not after a time-out; and after an outage every idle connection is
//! dropped together, instead of failing one after the other.

use std::sync::Arc;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio::time::{Instant, timeout_at};

use crate::db::clock::Clock;
use crate::db::conn::Conn;
use crate::db::connections::{Connections, Inner, Place, Way};
use crate::db::error::DbError;
use crate::db::hook::CallHook;
use crate::db::options::DbOptions;
use crate::db::target::Target;

/// How a transaction ends that did not fail.
pub enum Flow<T> {
    Commit(T),
    Rollback(T),
}

/// A handle on the database. It is cheap to clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
    /// It belongs to this handle and its clones only.
    hook: Option<Arc<dyn CallHook>>,
    /// `None` for work that is long by nature.
    deadline: Option<Duration>,
    /// How long a transaction waits for a lock that somebody else holds; `None`: as long as the options say.
    locks: Option<Duration>,
}

impl Db {
    /// Connects nothing yet: the first use connects.
    #[must_use]
    pub fn new(target: Target, options: DbOptions, clock: Clock) -> Self {
        let deadline = Some(options.call_timeout);
        let inner = Inner::new(target, options, clock);
        Self { inner: Arc::new(inner), deadline, locks: None, hook: None }
    }

    /// The same database without a deadline on each call, for work that is long by nature (an import,
    /// a migration). Statements still have theirs.
    #[must_use]
    pub fn unhurried(&self) -> Self {
        Self { deadline: None, ..self.clone() }
    }

    /// The same database whose transactions wait no longer than this for a lock that somebody else holds. It
    /// costs no round trip. SQLite has no such locks: its writer is waited for as the options say.
    #[must_use]
    pub fn waiting_for_locks(&self, at_most: Duration) -> Self {
        Self { locks: Some(at_most), ..self.clone() }
    }

    /// A handle on the same connections whose calls pass through this hook. The tests use it, and nobody else does.
    #[must_use]
    pub fn with_hook(&self, hook: Arc<dyn CallHook>) -> Self {
        Self { hook: Some(hook), ..self.clone() }
    }

    #[must_use]
    pub fn target(&self) -> &Target {
        &self.inner.target
    }

    pub(super) fn options(&self) -> &DbOptions {
        &self.inner.options
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// How many statements were sent to the database so far.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.inner.statements()
    }

    /// The number of calls that were given up (see [`DbError::Deadline`]) while their threads still wait for an
    /// answer, each with a connection.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.inner.abandoned()
    }

    /// How many connections there are now.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.inner.connections()
    }

    /// Runs `work` in a write transaction and commits it (rolls back where it returns an error).
    ///
    /// # Errors
    /// What `work` returned, or why the transaction could not begin or commit.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Conn) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.write_or_not(|conn| work(conn).map(Flow::Commit)).await
    }

    /// Like [`Db::write`], for work that may decide to roll back and still have something to say.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_or_not<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Conn) -> Result<Flow<T>, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        if let Some(hook) = &self.hook {
            hook.before_call(true).await?;
        }
        let value = self
            .on_connection(Way::Transaction { locks: self.locks }, |conn| {
                match work(conn) {
                    Ok(Flow::Commit(value)) => conn.commit().map(|()| value),
                    Ok(Flow::Rollback(value)) => Self::rolled_back(conn).map(|()| value),
                    // The error that led here matters more than a rollback that fails after it.
                    Err(error) => Err(Self::rolled_back(conn).err().unwrap_or(error)),
                }
            })
            .await?;
        if let Some(hook) = &self.hook {
            hook.after_write().await?;
        }
        Ok(value)
    }

    /// Runs `work` outside a transaction, for reading. On SQLite it sees what was committed when
    /// each statement began.
    ///
    /// # Errors
    /// What `work` returned, or why there is no connection.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Conn) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        if let Some(hook) = &self.hook {
            hook.before_call(false).await?;
        }
        self.on_connection(Way::Read, work).await
    }

    /// Runs `work` in a transaction that only reads. All its statements see what was committed when the first of them
    /// began, and nothing later. None of them may run longer than `each`.
    ///
    /// # Errors
    /// What `work` returned, or why the transaction could not begin.
    pub async fn read_snapshot<T: Send + 'static>(
        &self,
        each: Duration,
        work: impl FnOnce(&mut Conn) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        if let Some(hook) = &self.hook {
            hook.before_call(false).await?;
        }
        self.on_connection(Way::Snapshot { each }, |conn| {
            let value = work(conn);
            let ended = Self::rolled_back(conn);
            match value {
                Ok(value) => ended.map(|()| value),
                Err(error) => Err(ended.err().unwrap_or(error)),
            }
        })
        .await
    }

    /// Runs `work` on a writing connection without a transaction of ours, for migrations.
    pub(super) async fn read_on_writer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Conn) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.unhurried().on_connection(Way::OnWriter, work).await
    }

    /// Whether the database answers and can be written to (a replica after a failover cannot).
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.read(|conn| {
            if conn.takes_no_writes()? {
                let why = Box::new("the database is read-only".to_owned());
                return Err(DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, why).into());
            }
            Ok(())
        })
        .await
    }

    fn rolled_back(conn: &mut Conn) -> Result<(), DbError> {
        if conn.rollback() { Ok(()) } else { Err(DbError::Query(DieselError::BrokenTransactionManager)) }
    }

    async fn on_connection<T: Send + 'static>(
        &self,
        way: Way,
        work: impl FnOnce(&mut Conn) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let inner = Arc::clone(&self.inner);
        let pool = inner.pool(way);
        let permits = Arc::clone(&pool.permits);
        let waiting = pool.in_line();
        // The semaphore is never closed.
        let Some(deadline) = self.deadline else {
            let permit = permits.acquire_owned().await.ok();
            drop(waiting);
            return Arc::clone(&inner).spawn(way, Place::new(&inner, permit), work).await;
        };
        let ends = Instant::now() + deadline;
        let late = || DbError::Deadline(deadline);
        let permit = timeout_at(ends, permits.acquire_owned()).await.map_err(|_| late())?;
        drop(waiting);
        let place = Place::new(&inner, permit.ok());
        let call = Arc::clone(&inner).spawn(way, Arc::clone(&place), work);
        timeout_at(ends, call).await.unwrap_or_else(|_| {
            place.give_up();
            Err(late())
        })
    }
}
