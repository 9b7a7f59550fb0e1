//! What every handler of a worker shares.

use std::sync::Arc;

use crate::broker::Broker;
use crate::consume::Outage;
use crate::db::DbError;
use crate::shutdown::Stop;
use crate::store::Store;
use crate::worker::options::WorkerOptions;

/// A worker: the servers that it works with, and how it works. The handlers of its queues are in files of their own.
pub struct Worker {
    pub(super) store: Store,
    pub(super) broker: Broker,
    pub(super) options: WorkerOptions,
    pub(super) stop: Stop,
}

impl Worker {
    #[must_use]
    pub fn new(store: Store, broker: Broker, options: WorkerOptions, stop: Stop) -> Arc<Self> {
        Arc::new(Self { store, broker, options, stop })
    }
}

/// A failure while recording. The message is delivered again, and with it comes another chance to record.
pub(super) fn not_recorded(error: DbError) -> Outage {
    error.into()
}
