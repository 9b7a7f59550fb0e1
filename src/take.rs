//! Taking messages of a queue, for ever: the loop that worker and notifier share.
//!
//! A message is acknowledged after its handler has returned, and so after its commit. When a server
//! is away the consumer is dropped (what it held goes back once), and taking starts again when both
//! servers answer. No attempt is counted for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::broker::{Broker, Consumer, Delivery, Queue};
use crate::db::Db;
use crate::retry::Schedule;
use crate::shutdown::Stop;

/// A server is away: the message is not done with and comes again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Outage(pub String);

/// What is taken, and how much at once.
#[derive(Debug, Clone, Copy)]
pub struct Takes {
    pub queue: Queue,
    /// Messages held at most.
    pub prefetch: u16,
    /// Messages handled at the same time.
    pub concurrency: usize,
}

/// What to do with each message.
pub trait Handler: Send + Sync + 'static {
    /// Handles a message. `Ok` means that it is done with, whatever became of it.
    fn handle(self: Arc<Self>, delivery: Delivery) -> impl Future<Output = Result<(), Outage>> + Send;
}

/// How taking goes, from one consumer to the next.
struct Health {
    /// A message was handled since the process started, and since a handler last failed. Before that,
    /// one message at a time is held: over what fails or crashes again and again, the broker's
    /// delivery limit of all the others is not to be used up.
    proven: bool,
    /// A handler failed last: that the servers answer is not enough to say that they work (a disk may be
    /// full), so waits grow until a message is handled.
    failing: bool,
    /// It was told that nothing is taken.
    away: bool,
    schedule: Schedule,
}

impl Health {
    fn handled(&mut self, queue: Queue) {
        (self.proven, self.failing) = (true, false);
        self.back(queue);
    }

    fn consuming(&mut self, queue: Queue) {
        if !self.failing {
            self.back(queue);
        }
    }

    fn back(&mut self, queue: Queue) {
        self.schedule.reset();
        if std::mem::take(&mut self.away) {
            tracing::info!(queue = queue.suffix(), "taking messages again");
        }
    }

    fn handler_failed(&mut self) {
        (self.proven, self.failing) = (false, true);
    }
}

/// Takes and handles messages until `stop`; then finishes those in hand.
pub async fn take<H: Handler>(broker: Broker, db: Db, takes: Takes, handler: Arc<H>, stop: Stop) {
    let mut health = Health { proven: false, failing: false, away: false, schedule: Schedule::reconnect() };
    while !stop.is_set() {
        if let Err(outage) = session(&broker, &db, takes, &handler, &stop, &mut health).await {
            if !health.away {
                tracing::warn!(queue = takes.queue.suffix(), reason = %outage, "taking no messages until the servers answer");
                health.away = true;
            }
            stop.sleep(health.schedule.next_wait()).await;
        }
    }
}

/// One consumer's life. `Ok`: told to stop, or it is time for a wider prefetch.
async fn session<H: Handler>(
    broker: &Broker,
    db: &Db,
    takes: Takes,
    handler: &Arc<H>,
    stop: &Stop,
    health: &mut Health,
) -> Result<(), Outage> {
    db.ping().await.map_err(|error| Outage(error.to_string()))?;
    // A broker that lost its data, or a new one, has no queues: declaring is safe to repeat.
    broker.declare().await.map_err(|error| Outage(error.to_string()))?;
    let careful = !health.proven;
    let (prefetch, concurrency) = if careful { (1, 1) } else { (takes.prefetch, takes.concurrency) };
    let mut consumer =
        broker.consume(takes.queue, prefetch).await.map_err(|error| Outage(error.to_string()))?;
    health.consuming(takes.queue);
    let mut tasks = JoinSet::new();
    let mut result = Ok(());
    loop {
        tokio::select! {
            () = stop.wait() => break,
            taken = consumer.next(), if tasks.len() < concurrency => match taken {
                Ok(delivery) => start(&mut tasks, &consumer, handler, delivery),
                Err(error) => {
                    result = Err(Outage(error.to_string()));
                    break;
                }
            },
            Some(done) = tasks.join_next() => match finished(done) {
                Ok(()) => {
                    health.handled(takes.queue);
                    if careful {
                        break;
                    }
                }
                Err(outage) => {
                    health.handler_failed();
                    result = Err(outage);
                    break;
                }
            },
        }
    }
    // Work in hand is finished; its messages are acknowledged while the consumer is still there.
    while let Some(done) = tasks.join_next().await {
        result = result.and(finished(done));
    }
    result
}

fn start<H: Handler>(
    tasks: &mut JoinSet<Result<(), Outage>>,
    consumer: &Consumer,
    handler: &Arc<H>,
    delivery: Delivery,
) {
    let acker = consumer.acker();
    let handler = Arc::clone(handler);
    tasks.spawn(async move {
        let tag = delivery.tag;
        // In a task of its own, so that a panic in one message does not stop the others.
        match tokio::spawn(handler.handle(delivery)).await {
            Ok(Ok(())) => acker.ack(tag).await.map_err(|error| Outage(error.to_string())),
            Ok(Err(outage)) => Err(outage),
            Err(_) => {
                tracing::error!("a handler panicked; its message goes back to the queue");
                // Not at once: the broker counts deliveries, and a bug is rarely gone in a moment.
                tokio::time::sleep(Duration::from_secs(1)).await;
                acker.requeue(tag).await.map_err(|error| Outage(error.to_string()))
            }
        }
    });
}

fn finished(done: Result<Result<(), Outage>, tokio::task::JoinError>) -> Result<(), Outage> {
    done.unwrap_or_else(|error| Err(Outage(format!("a task ended early: {error}"))))
}
