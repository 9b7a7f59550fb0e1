//! The loop that takes messages of a queue, which worker and notifier share.
//!
//! A message is acknowledged after its handler has returned, and so after its commit. If a server is away, the consumer
//! is dropped, so that what it held goes back once, and taking starts again with one message when both servers answer.
//! If they answer and do not work (a full disk), that message is held and tried again: the broker counts it as
//! delivered three times an hour, and no other message. No attempt is counted for any of this.
//!
//! Messages of some queues are handled together. The first message of an idle queue is handled at once; what comes
//! while others are in work is gathered, for a few milliseconds or until it is many.

use std::sync::Arc;

use crate::broker::Broker;
use crate::consume::handler::{Counted, Handler};
use crate::consume::health::Health;
use crate::consume::hold::one;
use crate::consume::many::many;
use crate::consume::outage::Outage;
use crate::consume::takes::Takes;
use crate::db::Db;
use crate::shutdown::Stop;
use crate::telemetry::metrics::Metrics;

/// Takes and handles messages until `stop`, and then finishes those in hand.
pub async fn take<H: Handler>(
    broker: Broker,
    db: Db,
    metrics: Metrics,
    takes: Takes,
    handler: Arc<H>,
    stop: Stop,
) {
    let handler = &Counted { handler, queue: takes.queue, metrics };
    let mut health = Health::new();
    handler.metrics.taking(takes.queue.suffix(), false);
    while !stop.is_set() {
        let ended = session(&broker, &db, takes, handler, &stop, &mut health).await;
        handler.metrics.taking(takes.queue.suffix(), false);
        if let Err(outage) = ended {
            health.outage(takes.queue, &handler.metrics, &outage);
            stop.sleep(health.schedule.next_wait()).await;
        }
    }
}

/// Takes with one consumer, from when it is made until it fails. `Ok`: the stop signal was given, or it is time for a
/// consumer with a larger prefetch.
async fn session<H: Handler>(
    broker: &Broker,
    db: &Db,
    takes: Takes,
    handler: &Counted<H>,
    stop: &Stop,
    health: &mut Health,
) -> Result<(), Outage> {
    db.ping().await?;
    // A broker that lost its data, or a new one, has no queues. Declaring is safe to repeat.
    broker.declare().await?;
    let prefetch = if health.proven { takes.prefetch } else { 1 };
    let consumer = broker.consume(takes.queue, prefetch).await?;
    health.consuming(takes.queue);
    handler.metrics.taking(takes.queue.suffix(), true);
    if health.proven {
        many(consumer, takes, handler, stop, health).await
    } else {
        one(consumer, db, handler, stop, health).await
    }
}
