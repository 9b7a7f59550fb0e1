//! A handler of messages, how it is run, and what becomes of the messages afterwards.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use crate::broker::{Acker, BrokerError, Delivery, Queue};
use crate::consume::outage::Outage;
use crate::telemetry::metrics::Metrics;

/// Messages that are handled together: at least one.
pub type Deliveries = Arc<[Delivery]>;

/// What to do with messages.
pub trait Handler: Send + Sync + 'static {
    /// Handles messages that were taken together, in their order. `Ok` means that all of them are done with, whatever
    /// became of each: they are acknowledged then, and not before.
    fn handle(self: Arc<Self>, taken: Deliveries) -> impl Future<Output = Result<(), Outage>> + Send;
}

/// A handler, the queue that it is for, and where its messages are counted.
pub(super) struct Counted<H> {
    pub(super) handler: Arc<H>,
    pub(super) queue: Queue,
    pub(super) metrics: Metrics,
}

impl<H> Clone for Counted<H> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler), queue: self.queue, metrics: self.metrics.clone() }
    }
}

/// A handler panicked.
pub(super) struct Panicked;

/// Hands messages to their handler and counts how that went.
pub(super) async fn run<H: Handler>(
    Counted { handler, queue, metrics }: &Counted<H>,
    taken: Deliveries,
) -> Result<Result<(), Outage>, Panicked> {
    let count = taken.len();
    // The names of OpenTelemetry.
    let span = tracing::info_span!(
        "process",
        messaging.destination.name = metrics.full_name(queue.suffix()),
        messaging.batch.message_count = (count > 1).then_some(count),
        messaging.message.id = taken.first().filter(|_| count == 1).and_then(|only| only.message_id.clone())
    );
    let began = std::time::Instant::now();
    // The handler runs in a task of its own, so that a panic over one message does not stop the others.
    let handled = tokio::spawn(Arc::clone(handler).handle(taken).instrument(span)).await;
    let error = match &handled {
        Ok(Ok(())) => "",
        Ok(Err(_)) => "outage",
        Err(_) => "panic",
    };
    // After a panic the messages are handled again one by one, and counted then.
    if !(error == "panic" && count > 1) {
        metrics.handled(queue.suffix(), count, began.elapsed(), error);
    }
    handled.map_err(|_| Panicked)
}

/// Acknowledges what is done with.
pub(super) async fn acknowledge<H>(
    Counted { queue, metrics, .. }: &Counted<H>,
    acker: &Acker,
    done: &[Delivery],
) -> Result<(), Outage> {
    let tags: Vec<u64> = done.iter().map(|delivery| delivery.tag).collect();
    let began = std::time::Instant::now();
    let acked = acker.ack(&tags).await;
    let error = acked.as_ref().err().map_or("", BrokerError::kind);
    metrics.waited("ack", queue.suffix(), began.elapsed(), error);
    Ok(acked?)
}

/// Gives a message back over which a handler panicked.
pub(super) async fn give_back(acker: &Acker, delivery: &Delivery) -> Result<(), Outage> {
    tracing::error!(
        message_id = delivery.message_id,
        traceparent = delivery.traceparent(),
        "a handler panicked; its message goes back to the queue"
    );
    // Not at once, because the broker counts deliveries, and a bug is rarely gone in a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(acker.requeue(delivery.tag).await?)
}
