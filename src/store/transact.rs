//! The handle of the store, and the one way in which it writes: a transaction, with the messages that are sent for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::db::{Db, DbError, Flow};
use crate::store::outbox;
use crate::store::outbox::OutboxRow;
use crate::store::pulse::Pulse;
use crate::store::tx::Tx;
use crate::telemetry::metrics::{Metrics, Tally};

/// How long the work on a message waits for a lock. A chunk of another worker takes less time than this.
pub(in crate::store) const LOCKS_OF_WORK: Duration = Duration::from_secs(5);
/// How long recording a failure waits for a lock. This is short, since whoever holds the lock keeps the work itself
/// from going on, too.
pub(in crate::store) const LOCKS_OF_RECORDS: Duration = Duration::from_millis(500);
/// How long a batch of jobs waits for a lock that one of the jobs needs. After that, each job is begun by itself.
pub(in crate::store) const LOCKS_OF_MANY: Duration = Duration::from_millis(250);

/// The handle of everything that is kept in the database. It is cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(in crate::store) db: Db,
    /// Where messages go after their commit. `None` if this process has no relay.
    relay: Option<Handover>,
    pub(in crate::store) metrics: Metrics,
    pulse: Arc<Pulse>,
}

/// What the relay of this process is told right after a commit.
#[derive(Debug)]
pub enum Committed {
    /// This message was committed and is leased to the relay.
    Row(OutboxRow),
    /// A message was committed that is too large to be handed over. The relay has to read it from the table.
    InTable,
}

/// The way on which rows of the outbox reach the relay of this process, right after their commit.
#[derive(Clone)]
struct Handover {
    sender: mpsc::Sender<Committed>,
    /// No other relay takes a message within this time, so that it is not sent twice.
    lease: Duration,
}

impl Store {
    /// A store of a process without a relay. Any relay may take its messages at once.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, relay: None, metrics: Metrics::default(), pulse: Arc::default() }
    }

    /// A store of a process with a relay. Its messages are leased to this process for `lease` and handed to `relay`.
    #[must_use]
    pub fn with_relay(db: Db, relay: mpsc::Sender<Committed>, lease: Duration) -> Self {
        Self { relay: Some(Handover { sender: relay, lease }), ..Self::new(db) }
    }

    /// The same store, which counts what it does in `metrics`.
    #[must_use]
    pub fn counting(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// The metrics in which this store counts what it does.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The database connections of the store, for others that share them: the embedded broker and the migrations.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Checks whether anything can be written to the database. A write is tried only if this process has tried none
    /// in the last five seconds. (Other transactions of this process do not count, since most of them have nothing to
    /// write while nobody shares.) There is one check at a time, however many ask. It goes on even if its caller
    /// gives up.
    ///
    /// # Errors
    /// The reason why nothing can be written. The check may take as long as a call of the database may, so the caller
    /// needs a deadline of its own.
    pub async fn takes_writes(&self) -> Result<(), DbError> {
        Arc::clone(&self.pulse).check(&self.db).await
    }

    /// How long ago such a check last confirmed a write, for metrics. `None` if there was none yet.
    #[must_use]
    pub fn last_write(&self) -> Option<Duration> {
        self.pulse.last_write()
    }

    /// Runs `work` in one transaction, writes the messages that it sends into the outbox, and hands them to the relay
    /// after the commit. If `work` fails or rolls back, no message is sent.
    pub(in crate::store) async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<Flow<T>, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.transact_on(&self.db, work).await
    }

    /// Does what [`Store::transact`] does, but waits for a lock no longer than `locks`, for work that other messages
    /// wait behind.
    pub(in crate::store) async fn transact_soon<T: Send + 'static>(
        &self,
        locks: Duration,
        work: impl FnOnce(&mut Tx<'_>) -> Result<Flow<T>, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.transact_on(&self.db.waiting_for_locks(locks), work).await
    }

    /// Does what [`Store::transact`] does, on this database.
    pub(in crate::store) async fn transact_on<T: Send + 'static>(
        &self,
        db: &Db,
        work: impl FnOnce(&mut Tx<'_>) -> Result<Flow<T>, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let lease = self.relay.as_ref().map_or(Duration::ZERO, |relay| relay.lease);
        let clock = db.clock().clone();
        let (value, rows, tally) = db
            .write_or_not(move |conn| {
                let mut tx = Tx::new(conn, clock);
                Ok(match work(&mut tx)? {
                    Flow::Commit(value) => {
                        let (rows, tally) = tx.write_outbox(lease)?;
                        Flow::Commit((value, rows, tally))
                    }
                    Flow::Rollback(value) => Flow::Rollback((value, Vec::new(), Tally::default())),
                })
            })
            .await?;
        self.metrics.committed(&tally);
        if let Some(relay) = &self.relay {
            let mut left = Vec::new();
            for row in rows {
                let id = row.id;
                if !outbox::is_handed_over(&row.body) {
                    // This is only a hint: if the channel is full, the relay looks at the table later anyway.
                    let _ = relay.sender.try_send(Committed::InTable);
                } else if relay.sender.try_send(Committed::Row(row)).is_err() {
                    left.push(id);
                }
            }
            if !left.is_empty() {
                // The relay is too busy to take these, so others may. If this fails, their lease runs out anyway.
                let _ = self.db.write(move |conn| outbox::release(conn, left)).await;
            }
        }
        Ok(value)
    }
}
