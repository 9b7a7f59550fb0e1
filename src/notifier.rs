//! The notifier: from the event of a job's end to the requester's notice, once.

use std::sync::Arc;

use crate::broker::{Broker, Delivery, Queue};
use crate::bury::bury;
use crate::domain::DeadReason;
use crate::shutdown::Stop;
use crate::store::Store;
use crate::take::{Handler, Outage, Takes, take};
use crate::wire;

/// Makes notices until `stop`.
pub async fn run(store: Store, broker: Broker, prefetch: u16, stop: Stop) {
    let (db, metrics) = (store.db().clone(), store.metrics().clone());
    let takes = Takes { queue: Queue::Notices, prefetch, concurrency: 4 };
    let handler = Arc::new(Notices { store, broker: broker.clone() });
    take(broker, db, metrics, takes, handler, stop).await;
}

struct Notices {
    store: Store,
    broker: Broker,
}

impl Handler for Notices {
    async fn handle(self: Arc<Self>, delivery: Delivery) -> Result<(), Outage> {
        handle(&self.store, &self.broker, delivery).await
    }
}

/// Handles one message of the queue of notices.
///
/// # Errors
/// A server is away: the message is not done with.
pub async fn handle(store: &Store, broker: &Broker, delivery: Delivery) -> Result<(), Outage> {
    match wire::decode_event(&delivery.body) {
        // An event is a hint: the notice is built from the job's row. If making it fails, the
        // event comes again; if it dies, due work makes the notice.
        Ok(event) if event.kind.is_terminal() => {
            store.make_notice(event.job_id, event.run).await.map_err(|error| Outage(error.to_string()))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            let (reason, detail) = (DeadReason::InvalidField, error.to_string());
            bury(broker, store.metrics(), Queue::Notices, &delivery, reason, &detail).await
        }
    }
}
