//! The notifier: from the event of a job's end to the requester's notice, once.

use std::sync::Arc;

use crate::broker::{Broker, Delivery, Queue};
use crate::bury::{Burial, bury};
use crate::domain::DeadReason;
use crate::shutdown::Stop;
use crate::store::Store;
use crate::take::{Handler, Outage, Taken, Takes, in_place, take};
use crate::wire;

/// Makes notices until `stop`.
pub async fn run(store: Store, broker: Broker, prefetch: u16, stop: Stop) {
    let (db, metrics) = (store.db().clone(), store.metrics().clone());
    let takes = Takes { queue: Queue::Notices, prefetch, concurrency: 2, together: usize::from(prefetch) };
    let handler = Arc::new(Notices { store, broker: broker.clone() });
    take(broker, db, metrics, takes, handler, stop).await;
}

struct Notices {
    store: Store,
    broker: Broker,
}

impl Handler for Notices {
    async fn handle(self: Arc<Self>, taken: Taken) -> Result<(), Outage> {
        handle(&self.store, &self.broker, &taken).await
    }
}

/// Handles messages of the queue of notices.
///
/// # Errors
/// A server is away: the messages are not done with.
pub async fn handle(store: &Store, broker: &Broker, taken: &[Delivery]) -> Result<(), Outage> {
    let (mut ended, mut dead) = (Vec::new(), Vec::new());
    for delivery in taken {
        match wire::decode_event(&delivery.body) {
            Ok(event) if event.kind.is_terminal() => ended.push((event.job_id, event.run)),
            Ok(_) => {}
            Err(error) => {
                let (reason, detail) = (DeadReason::InvalidField, error.to_string());
                dead.push(Burial { delivery, reason, detail, job: None });
            }
        }
    }
    // An event is a hint: the notice is built from the job's row. If making it fails, the event comes
    // again; if it dies, due work makes the notice.
    let made = in_place(|| store.make_notices(ended.clone())).await;
    made.map_err(|error| Outage(error.to_string()))?;
    // Last: to make a notice twice does nothing. What the broker gave us it takes back as a dead letter.
    match bury(broker, store.metrics(), Queue::Notices, &dead).await?.first() {
        None => Ok(()),
        Some(_) => Err(Outage("the broker rejects a dead letter of its own size".to_owned())),
    }
}
