//! The store's handle, and its one way to write: a transaction together with the messages that leave with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::db::{Db, DbError, Flow};
use crate::store::outbox;
use crate::store::outbox::OutboxRow;
use crate::store::pulse::Pulse;
use crate::store::tx::Tx;
use crate::telemetry::metrics::{Metrics, Tally};

/// How long the work on a message waits for a lock: a chunk of somebody else's is over by then.
pub(in crate::store) const LOCKS_OF_WORK: Duration = Duration::from_secs(5);
/// How long it is waited for a lock to record a failure. Whoever holds it keeps the work from going on as well.
pub(in crate::store) const LOCKS_OF_RECORDS: Duration = Duration::from_millis(500);
/// How long many wait for a lock that one of them needs: after that each goes on by itself.
pub(in crate::store) const LOCKS_OF_MANY: Duration = Duration::from_millis(250);

/// A handle on everything that is kept. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(in crate::store) db: Db,
    relay: Option<Handover>,
    pub(in crate::store) metrics: Metrics,
    pulse: Arc<Pulse>,
}

/// What this process's relay hears right after a commit.
#[derive(Debug)]
pub enum Committed {
    /// This row is there and leased to it.
    Row(OutboxRow),
    /// A message is in the table that is too large to be handed over.
    InTable,
}

/// How rows of the outbox reach this process's relay right after their commit.
#[derive(Clone)]
struct Handover {
    sender: mpsc::Sender<Committed>,
    lease: Duration,
}

impl Store {
    /// A store whose outgoing messages are free for any relay to take.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, relay: None, metrics: Metrics::default(), pulse: Arc::default() }
    }

    /// A store whose outgoing messages are leased to this process for `lease` and sent to `relay`.
    #[must_use]
    pub fn with_relay(db: Db, relay: mpsc::Sender<Committed>, lease: Duration) -> Self {
        Self { relay: Some(Handover { sender: relay, lease }), ..Self::new(db) }
    }

    /// The same store, counting what it does in `metrics`.
    #[must_use]
    pub fn counting(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Where this store counts what it does.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The connections below, for whoever shares them (the embedded broker, migrations).
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Whether anything can be written: where this process has not tried in the last five seconds, it does. (What
    /// else it commits proves little: most of it has nothing to write when nobody shares.) However many ask, one tries
    /// at a time, and goes on when whoever asked has given up.
    ///
    /// # Errors
    /// Why nothing can be written. To be called with a deadline: it takes as long as a call of the database may.
    pub async fn takes_writes(&self) -> Result<(), DbError> {
        Arc::clone(&self.pulse).check(&self.db).await
    }

    /// How long ago the last such write was confirmed, for a gauge. None: there was none yet.
    #[must_use]
    pub fn last_write(&self) -> Option<Duration> {
        self.pulse.last_write()
    }

    /// Runs `work` in one transaction together with the messages that it writes, and hands these
    /// over after the commit.
    pub(in crate::store) async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<Flow<T>, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.transact_on(&self.db, work).await
    }

    /// The same for work of which others wait their turn behind it: a lock that somebody holds is waited for no
    /// longer than this.
    pub(in crate::store) async fn transact_soon<T: Send + 'static>(
        &self,
        locks: Duration,
        work: impl FnOnce(&mut Tx<'_>) -> Result<Flow<T>, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.transact_on(&self.db.waiting_for_locks(locks), work).await
    }

    pub(in crate::store) async fn transact_on<T: Send + 'static>(
        &self,
        db: &Db,
        work: impl FnOnce(&mut Tx<'_>) -> Result<Flow<T>, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let lease = self.relay.as_ref().map_or(Duration::ZERO, |relay| relay.lease);
        let (value, rows, tally) = db
            .write_or_not(move |conn| {
                let mut tx = Tx::new(conn);
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
                    // A wake-up: where the channel is full, the relay comes to the table by itself.
                    let _ = relay.sender.try_send(Committed::InTable);
                } else if relay.sender.try_send(Committed::Row(row)).is_err() {
                    left.push(id);
                }
            }
            if !left.is_empty() {
                // If this fails, their lease runs out by itself.
                let _ = self.db.write(move |conn| outbox::release(conn, left)).await;
            }
        }
        Ok(value)
    }
}
