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

/// Takes and handles messages until `stop`; then finishes those in hand.
pub async fn take<H: Handler>(broker: Broker, db: Db, takes: Takes, handler: Arc<H>, stop: Stop) {
    let mut schedule = Schedule::reconnect();
    // A process that crashed over a message and was started again holds one message at a time, so
    // that a crash loop does not use up the broker's delivery limit of all the others.
    let mut proven = false;
    let mut away = false;
    while !stop.is_set() {
        let ended = session(&broker, &db, takes, &handler, &stop, &mut proven, &mut away).await;
        match ended {
            Ok(()) => schedule.reset(),
            Err(outage) => {
                if !away {
                    tracing::warn!(queue = takes.queue.suffix(), reason = %outage, "taking no messages until the servers answer");
                    away = true;
                    schedule.reset();
                }
                stop.sleep(schedule.next_wait()).await;
            }
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
    proven: &mut bool,
    away: &mut bool,
) -> Result<(), Outage> {
    db.ping().await.map_err(|error| Outage(error.to_string()))?;
    // A broker that lost its data, or a new one, has no queues: declaring is safe to repeat.
    broker.declare().await.map_err(|error| Outage(error.to_string()))?;
    let careful = !*proven;
    let (prefetch, concurrency) = if careful { (1, 1) } else { (takes.prefetch, takes.concurrency) };
    let mut consumer =
        broker.consume(takes.queue, prefetch).await.map_err(|error| Outage(error.to_string()))?;
    if std::mem::take(away) {
        tracing::info!(queue = takes.queue.suffix(), "taking messages again");
    }
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
                    *proven = true;
                    if careful {
                        break;
                    }
                }
                Err(outage) => {
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
