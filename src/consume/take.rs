//! Taking messages of a queue, for ever: the loop that worker and notifier share.
//!
//! A message is acknowledged after its handler has returned, and so after its commit. When a server
//! is away the consumer is dropped (what it held goes back once), and taking starts again when both
//! servers answer, with one message. While they answer and do not work (a full disk), that one is held and
//! tried again; the broker counts it as delivered three times an hour, and no other. No attempt is counted
//! for any of this.
//!
//! Messages of some queues are handled together. The first of an idle queue is handled at once; what
//! comes while others are in work is gathered, for a few milliseconds or until it is many.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::broker::{Acker, Broker, BrokerError, Consumer, Delivery, Queue};
use crate::consume::schedule::Schedule;
use crate::db::{Db, DbError, FailureClass};
use crate::shutdown::Stop;
use crate::telemetry::metrics::{Class, Metrics};

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
    /// Handlers at the same time.
    pub concurrency: usize,
    /// Messages handled together at most; 1: each by itself.
    pub together: usize,
}

/// Messages taken together are handled once the first has waited so long, even if others are in work.
/// With 5 ms transactions are smaller, and small jobs were a fifth slower when it was chosen.
const WINDOW: Duration = Duration::from_millis(10);
/// A message that cannot be handled is held no longer than this: RabbitMQ closes a channel over what is
/// not acknowledged within 30 minutes. It counts as delivered three times an hour, of the hundred times
/// that the broker allows.
const HELD: Duration = Duration::from_secs(20 * 60);
/// Bytes of messages handled together, but for one that is larger by itself.
const TOGETHER_BYTES: usize = 1024 * 1024;

/// What to do with messages.
pub trait Handler: Send + Sync + 'static {
    /// Handles messages that were taken together, in their order. `Ok` means that all are done with,
    /// whatever became of each.
    fn handle(self: Arc<Self>, taken: Taken) -> impl Future<Output = Result<(), Outage>> + Send;
}

/// Messages that are handled together: one at least.
pub type Taken = Arc<[Delivery]>;

/// A handler and where its messages are counted.
struct Counting<H> {
    handler: Arc<H>,
    queue: Queue,
    metrics: Metrics,
}

impl<H> Clone for Counting<H> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler), queue: self.queue, metrics: self.metrics.clone() }
    }
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

    fn outage(&mut self, queue: Queue, metrics: &Metrics, outage: &Outage) {
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(queue = queue.suffix(), reason = %outage, "taking no messages until the servers work");
            metrics.failures(Class::Outage, 1);
        }
    }
}

/// Takes and handles messages until `stop`; then finishes those in hand.
pub async fn take<H: Handler>(
    broker: Broker,
    db: Db,
    metrics: Metrics,
    takes: Takes,
    handler: Arc<H>,
    stop: Stop,
) {
    let handler = &Counting { handler, queue: takes.queue, metrics };
    let mut health = Health { proven: false, failing: false, away: false, schedule: Schedule::reconnect() };
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

/// One consumer's life. `Ok`: told to stop, or it is time for a wider prefetch.
async fn session<H: Handler>(
    broker: &Broker,
    db: &Db,
    takes: Takes,
    handler: &Counting<H>,
    stop: &Stop,
    health: &mut Health,
) -> Result<(), Outage> {
    db.ping().await.map_err(|error| Outage(error.to_string()))?;
    // A broker that lost its data, or a new one, has no queues: declaring is safe to repeat.
    broker.declare().await.map_err(|error| Outage(error.to_string()))?;
    let prefetch = if health.proven { takes.prefetch } else { 1 };
    let consumer = broker.consume(takes.queue, prefetch).await.map_err(|error| Outage(error.to_string()))?;
    health.consuming(takes.queue);
    handler.metrics.taking(takes.queue.suffix(), true);
    if health.proven {
        many(consumer, takes, handler, stop, health).await
    } else {
        one(consumer, db, handler, stop, health).await
    }
}

/// Takes one message and tries it again and again while the servers answer and do not work, for as long as
/// it may be held.
async fn one<H: Handler>(
    mut consumer: Consumer,
    db: &Db,
    handler: &Counting<H>,
    stop: &Stop,
    health: &mut Health,
) -> Result<(), Outage> {
    let delivery = tokio::select! {
        () = stop.wait() => return Ok(()),
        next = consumer.next() => next.map_err(|error| Outage(error.to_string()))?,
    };
    let (taken, since): (Taken, _) = ([delivery].into(), Instant::now());
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
                // It does not hold up the others: taken with them, it alone goes back again.
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
            // No other message comes: this tells that the consumer is gone, and the message with it.
            Err(error) = consumer.next() => return Err(Outage(error.to_string())),
        }
        // Where the database does not even answer, another worker may do better with the message.
        db.ping().await.map_err(|error| Outage(error.to_string()))?;
    }
}

/// Takes and handles messages as wide as it may.
async fn many<H: Handler>(
    mut consumer: Consumer,
    takes: Takes,
    handler: &Counting<H>,
    stop: &Stop,
    health: &mut Health,
) -> Result<(), Outage> {
    let mut gathered = Gathered::default();
    let mut tasks = JoinSet::new();
    let mut result = Ok(());
    loop {
        if tasks.len() < takes.concurrency && gathered.is_time(tasks.is_empty(), takes.together) {
            start(&mut tasks, consumer.acker(), handler, gathered.take());
        }
        let waiting = !gathered.messages.is_empty() && tasks.len() < takes.concurrency;
        tokio::select! {
            () = stop.wait() => break,
            taken = consumer.next(), if !gathered.is_full(takes.together) => {
                let mut taken = Some(taken);
                // All that is there already, without waiting for more.
                while let Some(Ok(delivery)) = taken {
                    gathered.add(delivery);
                    let more = !gathered.is_full(takes.together);
                    taken = if more { consumer.next().now_or_never() } else { None };
                }
                if let Some(Err(error)) = taken {
                    result = Err(Outage(error.to_string()));
                    break;
                }
            }
            () = tokio::time::sleep_until(gathered.until), if waiting => {}
            Some(done) = tasks.join_next() => match finished(done) {
                Ok(()) => health.handled(takes.queue),
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

/// Messages that were taken and wait for a handler.
struct Gathered {
    messages: Vec<Delivery>,
    bytes: usize,
    /// They wait no longer than this.
    until: Instant,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { messages: Vec::new(), bytes: 0, until: Instant::now() }
    }
}

impl Gathered {
    fn add(&mut self, delivery: Delivery) {
        if self.messages.is_empty() {
            self.until = Instant::now() + WINDOW;
        }
        self.bytes += delivery.body.len();
        self.messages.push(delivery);
    }

    fn is_full(&self, together: usize) -> bool {
        self.messages.len() >= together || self.bytes >= TOGETHER_BYTES
    }

    /// Whether they should be handled now, if there is a handler for them.
    fn is_time(&self, idle: bool, together: usize) -> bool {
        !self.messages.is_empty() && (idle || self.is_full(together) || self.until <= Instant::now())
    }

    fn take(&mut self) -> Taken {
        std::mem::take(self).messages.into()
    }
}

fn start<H: Handler>(
    tasks: &mut JoinSet<Result<(), Outage>>,
    acker: Acker,
    handler: &Counting<H>,
    taken: Taken,
) {
    let handler = handler.clone();
    tasks.spawn(async move {
        match run(&handler, Arc::clone(&taken)).await {
            Ok(handled) => handled?,
            // It was one of them, and nobody knows which: only that one is to go back to the queue.
            Err(Panicked) if taken.len() > 1 => {
                for delivery in taken.iter() {
                    let alone: Taken = [delivery.clone()].into();
                    match run(&handler, Arc::clone(&alone)).await {
                        Ok(handled) => {
                            handled?;
                            acknowledge(&handler, &acker, &alone).await?;
                        }
                        Err(Panicked) => give_back(&acker, delivery).await?,
                    }
                }
                return Ok(());
            }
            Err(Panicked) => return give_back(&acker, &taken[0]).await,
        }
        acknowledge(&handler, &acker, &taken).await
    });
}

/// A handler panicked.
struct Panicked;

/// Handles messages.
async fn run<H: Handler>(
    Counting { handler, queue, metrics }: &Counting<H>,
    taken: Taken,
) -> Result<Result<(), Outage>, Panicked> {
    let count = taken.len();
    // OpenTelemetry's names.
    let span = tracing::info_span!(
        "process",
        messaging.destination.name = metrics.full_name(queue.suffix()),
        messaging.batch.message_count = (count > 1).then_some(count),
        messaging.message.id = taken.first().filter(|_| count == 1).and_then(|only| only.message_id.clone())
    );
    let began = std::time::Instant::now();
    // In a task of its own, so that a panic in one message does not stop the others.
    let handled = tokio::spawn(Arc::clone(handler).handle(taken).instrument(span)).await;
    let error = match &handled {
        Ok(Ok(())) => "",
        Ok(Err(_)) => "outage",
        Err(_) => "panic",
    };
    // Those that are handled again one by one are counted then.
    if !(error == "panic" && count > 1) {
        metrics.handled(queue.suffix(), count, began.elapsed(), error);
    }
    handled.map_err(|_| Panicked)
}

async fn acknowledge<H>(
    Counting { queue, metrics, .. }: &Counting<H>,
    acker: &Acker,
    done: &[Delivery],
) -> Result<(), Outage> {
    let tags: Vec<u64> = done.iter().map(|delivery| delivery.tag).collect();
    let began = std::time::Instant::now();
    let acked = acker.ack(&tags).await;
    let error = acked.as_ref().err().map_or("", BrokerError::kind);
    metrics.waited("ack", queue.suffix(), began.elapsed(), error);
    acked.map_err(|error| Outage(error.to_string()))
}

/// Gives a message back over which a handler panicked.
async fn give_back(acker: &Acker, delivery: &Delivery) -> Result<(), Outage> {
    tracing::error!(
        message_id = delivery.message_id,
        traceparent = delivery.traceparent(),
        "a handler panicked; its message goes back to the queue"
    );
    // Not at once: the broker counts deliveries, and a bug is rarely gone in a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    acker.requeue(delivery.tag).await.map_err(|error| Outage(error.to_string()))
}

/// How often a failure that may be gone in a moment is retried before it is recorded.
const TRIES_IN_PLACE: usize = 3;

/// For handlers: runs `work`, again a few times where its failure is transient, but for one that was a wait
/// already: what waits behind it has waited, too.
pub async fn in_place<T, F: Future<Output = Result<T, DbError>>>(
    mut work: impl FnMut() -> F,
) -> Result<T, DbError> {
    let mut schedule = Schedule::in_place();
    let mut tries = 0;
    loop {
        tries += 1;
        match work().await {
            Err(error)
                if error.class() == FailureClass::Transient
                    && !error.is_timeout()
                    && tries < TRIES_IN_PLACE =>
            {
                tracing::debug!(%error, tries, "trying again in place");
                tokio::time::sleep(schedule.next_wait()).await;
            }
            result => return result,
        }
    }
}

/// For handlers: either the failure is an outage, or it is to be recorded with these words.
pub fn outage_or_words(error: &DbError) -> Result<String, Outage> {
    let words = error.to_string();
    if is_outage(error) { Err(Outage(words)) } else { Ok(words) }
}

/// A writer that somebody else has keeps everything from being written, as a server does that is away.
fn is_outage(error: &DbError) -> bool {
    error.class() == FailureClass::Outage || error.is_writer_taken()
}

/// For handlers: either the failure is an outage, or it is of this message alone.
pub fn outage_or_own(error: DbError) -> Result<DbError, Outage> {
    if is_outage(&error) { Err(Outage(error.to_string())) } else { Ok(error) }
}

fn finished(done: Result<Result<(), Outage>, tokio::task::JoinError>) -> Result<(), Outage> {
    done.unwrap_or_else(|error| Err(Outage(format!("a task ended early: {error}"))))
}
