//! What is kept: people, secrets, grants, jobs, notices, messages to send.
//!
//! Only this module and the embedded broker write SQL. What is decided, `domain` decides; the store
//! reads facts, applies and records, each method in one transaction. It knows no broker: messages
//! to send are rows of the outbox, handed to the relay after the commit.

mod figures;
mod job;
mod message;
mod notice;
mod people;
mod pulse;
mod refold;
pub(crate) mod schema;
mod tx;
mod vault;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use figures::Figures;
pub use job::aside::Aside;
pub use job::asked::{Allowance, Asked};
pub use job::begin::{BeginOptions, Begun};
pub use job::due::{DueOptions, DueWork};
pub use job::failures::Recorded;
pub use job::lanes::{ChunkDone, LaneFound, LaneOptions, LaneWork};
pub use job::replay::{NotReplayed, Publisher, Replayed};
pub use job::submit::{Submission, Submitted};
pub use message::checks::CheckState;
pub use message::dead::{DeadLetter, Origin};
pub use message::dead_desk::{DeadFilter, DeadItem, Discarded, KeptLetter};
pub use message::outbox::{Letter, OutboxRow, TRIES as OUTBOX_TRIES};
pub use notice::Notice;
pub use people::directory::{Person, PrincipalName, RecipientItem, SignIn};
pub use refold::migrate;
pub use vault::holders::GrantItem;
pub use vault::secret::{Edited, Sealed, SecretDetail};
pub use vault::secrets::{OwnedBy, SecretCursor, SecretFilter, SecretItem, SecretSort, Selectable};

use crate::db::{Db, DbError, Flow};
use crate::telemetry::metrics::{Metrics, Tally};
use pulse::Pulse;
use tx::Tx;

pub use people::import::{ImportError, Imported, Sealer};

/// How long the work on a message waits for a lock: a chunk of somebody else's is over by then.
const LOCKS_OF_WORK: Duration = Duration::from_secs(5);
/// How long it is waited for a lock to record a failure. Whoever holds it keeps the work from going on as well.
const LOCKS_OF_RECORDS: Duration = Duration::from_millis(500);
/// How long many wait for a lock that one of them needs: after that each goes on by itself.
const LOCKS_OF_MANY: Duration = Duration::from_millis(250);

/// A duration as the database counts it.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
pub use people::names::{Known, Match, Named};

/// A handle on everything that is kept. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Db,
    relay: Option<Handover>,
    metrics: Metrics,
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

    /// Runs `work` in one transaction together with the messages that it writes, and hands these
    /// over after the commit.
    async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<Flow<T>, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.transact_on(&self.db, work).await
    }

    /// The same for work of which others wait their turn behind it: a lock that somebody holds is waited for no
    /// longer than this.
    async fn transact_soon<T: Send + 'static>(
        &self,
        locks: Duration,
        work: impl FnOnce(&mut Tx<'_>) -> Result<Flow<T>, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.transact_on(&self.db.waiting_for_locks(locks), work).await
    }

    async fn transact_on<T: Send + 'static>(
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
                if !message::outbox::is_handed_over(&row.body) {
                    // A wake-up: where the channel is full, the relay comes to the table by itself.
                    let _ = relay.sender.try_send(Committed::InTable);
                } else if relay.sender.try_send(Committed::Row(row)).is_err() {
                    left.push(id);
                }
            }
            if !left.is_empty() {
                // If this fails, their lease runs out by itself.
                let _ = self.release_unsent(left).await;
            }
        }
        Ok(value)
    }
}
