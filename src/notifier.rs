//! The notifier makes the requester's notice, once, from the event of a job's end.

use std::sync::Arc;

use crate::broker::{Broker, Delivery, Queue};
use crate::consume::bury::{Burial, bury};
use crate::consume::{Deliveries, Handler, Outage, Takes, in_place, outage_or_own, take};
use crate::contract;
use crate::domain::DeadReason;
use crate::shutdown::Stop;
use crate::store::Store;

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
    async fn handle(self: Arc<Self>, taken: Deliveries) -> Result<(), Outage> {
        handle(&self.store, &self.broker, &taken).await
    }
}

/// Handles messages of the queue of notices.
///
/// # Errors
/// A server is away. The messages stay unacknowledged and will be delivered again.
pub async fn handle(store: &Store, broker: &Broker, taken: &[Delivery]) -> Result<(), Outage> {
    let (mut ended, mut dead) = (Vec::new(), Vec::new());
    for delivery in taken {
        match contract::decode_event(&delivery.body) {
            Ok(event) if event.kind.is_terminal() => ended.push((event.job_id, event.run)),
            Ok(_) => {}
            Err(error) => {
                let (reason, detail) = (DeadReason::InvalidField, error.to_string());
                dead.push(Burial { delivery, reason, detail, job: None });
            }
        }
    }
    // An event is only a hint: the notice is made from the job's row. If making it fails, the event comes again; if
    // the event becomes a dead letter, due work makes the notice.
    if let Err(error) = in_place(|| store.make_notices(ended.clone())).await {
        let error = outage_or_own(error)?;
        tracing::debug!(%error, jobs = ended.len(), "each notice is made by itself");
        for (job, run) in ended {
            if let Err(error) = store.make_notices(vec![(job, run)]).await {
                // Somebody holds the job's row. Nobody else's notice waits for that.
                let error = outage_or_own(error)?;
                tracing::warn!(job_id = %job, %error, "a notice is left to due work");
            }
        }
    }
    // This comes last, because to make a notice twice does nothing. The broker gave us these messages, so it also
    // takes them back as dead letters.
    match bury(broker, store.metrics(), Queue::Notices, &dead).await?.first() {
        None => Ok(()),
        Some(_) => Err(Outage::DeadLetterRejected),
    }
}
