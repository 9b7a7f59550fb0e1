//! What the embedded broker and its consumers have in common.

use std::sync::Arc;

use tokio::sync::{Notify, broadcast};

use crate::broker::error::BrokerError;
use crate::broker::topology::{Queue, Topology};
use crate::db::{Db, DbError};

pub(super) struct Shared {
    pub(super) db: Db,
    /// What its exchanges and queues are called in errors and dead letters.
    pub(super) names: Topology,
    /// The events, for whoever listens in this process, which has all the roles.
    pub(super) events: broadcast::Sender<Arc<[u8]>>,
    /// Wakes the consumers of each queue, in the order of [`Queue::ALL`].
    pub(super) wakes: [Notify; Queue::ALL.len()],
}

impl Shared {
    pub(super) fn wake(&self, queue: Queue) -> &Notify {
        let place = Queue::ALL.iter().position(|other| *other == queue).unwrap_or_default();
        &self.wakes[place]
    }
}

pub(super) fn unavailable(error: DbError) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}
