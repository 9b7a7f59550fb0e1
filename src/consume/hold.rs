//! One message, held and tried again until it can be handled.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Consumer;
use crate::consume::handler::{Counted, Deliveries, Handler, Panicked, acknowledge, give_back, run};
use crate::consume::health::Health;
use crate::consume::outage::Outage;
use crate::db::Db;
use crate::shutdown::Stop;

/// A message that cannot be handled is held no longer than this, because RabbitMQ closes a channel over a message that
/// is not acknowledged within 30 minutes. So it is delivered three times an hour, of the hundred times that the broker
/// allows.
const HELD: Duration = Duration::from_secs(20 * 60);

/// Takes one message and handles it. If that fails while the servers answer, it is tried again and again, for as long
/// as a message may be held.
pub(super) async fn one<H: Handler>(
    mut consumer: Consumer,
    db: &Db,
    handler: &Counted<H>,
    stop: &Stop,
    health: &mut Health,
) -> Result<(), Outage> {
    let delivery = tokio::select! {
        () = stop.wait() => return Ok(()),
        next = consumer.next() => next?,
    };
    let (taken, since): (Deliveries, _) = ([delivery].into(), Instant::now());
    loop {
        let outage = match run(handler, Arc::clone(&taken)).await {
            Ok(Ok(())) => {
                acknowledge(handler, &consumer.acker(), &taken).await?;
                health.handled(handler.queue);
                return Ok(());
            }
            Ok(Err(outage)) => outage,
            Err(Panicked) => {
                give_back(&consumer.acker(), &taken[0]).await?;
                // The message does not hold up the others: when it is taken together with them again, it alone goes
                // back.
                health.handled(handler.queue);
                return Ok(());
            }
        };
        health.handler_failed();
        if since.elapsed() >= HELD {
            return Err(outage);
        }
        health.outage(handler.queue, &handler.metrics, &outage);
        tokio::select! {
            waited = stop.sleep(health.schedule.next_wait()) => if !waited {
                return Ok(());
            },
            // One message is held, so no other can come: an answer tells that the consumer is gone, and the message
            // with it.
            Err(error) = consumer.next() => return Err(error.into()),
        }
        // If the database does not even answer, another worker may do better with the message.
        db.ping().await?;
    }
}
