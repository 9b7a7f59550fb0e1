//! The interface to a broker: four small traits that an adapter implements, and the handles that the program uses.
//!
//! The handles own trait objects, so the program does not know which adapter it talks to. A call costs one allocation,
//! for its future: one a batch that is published, one a message that is taken, one a batch that is acknowledged.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::broker::error::BrokerError;
use crate::broker::message::{Delivery, Outgoing};
use crate::broker::topology::{Queue, Topology};

/// What a broker can do. The methods are those of [`Broker`], which says what each promises.
pub trait Adapter: Send + Sync {
    /// The names that exchanges and queues have at this broker.
    fn topology(&self) -> &Topology;
    /// See [`Broker::declare`].
    fn declare(&self) -> BoxFuture<'_, Result<(), BrokerError>>;
    /// See [`Broker::is_from`].
    fn is_from(&self, delivery: &Delivery, users: &[String]) -> bool;
    /// See [`Broker::publish`].
    fn publish<'a>(&'a self, batch: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<(), BrokerError>>>;
    /// See [`Broker::consume`].
    fn consume(&self, queue: Queue, prefetch: u16) -> BoxFuture<'_, Result<Consumer, BrokerError>>;
    /// See [`Broker::listen`].
    fn listen(&self) -> BoxFuture<'_, Result<Listener, BrokerError>>;
    /// See [`Broker::checks_taken`].
    fn checks_taken(&self) -> Vec<String>;
    /// See [`Broker::depth`].
    fn depth(&self, queue: Queue) -> BoxFuture<'_, Result<u64, BrokerError>>;
    /// See [`Broker::ping`].
    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>>;
    /// See [`Broker::close`].
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Takes messages of one queue. Dropping it gives everything that is not acknowledged back to the queue.
pub trait Taking: Send {
    /// See [`Consumer::next`].
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, BrokerError>>;
    /// See [`Consumer::acker`].
    fn acker(&self) -> Acker;
}

/// Acknowledges the deliveries of one consumer.
pub trait Acking: Send + Sync {
    /// See [`Acker::ack`].
    fn ack<'a>(&'a self, tags: &'a [u64]) -> BoxFuture<'a, Result<(), BrokerError>>;
    /// See [`Acker::requeue`].
    fn requeue(&self, tag: u64) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// Receives events. Dropping it ends the listening.
pub trait Listening: Send {
    /// See [`Listener::next`].
    fn next(&mut self) -> BoxFuture<'_, Result<Arc<[u8]>, BrokerError>>;
}

/// The broker of this process. It is cheap to clone.
#[derive(Clone)]
pub struct Broker {
    adapter: Arc<dyn Adapter>,
}

impl Broker {
    /// The broker behind this adapter.
    #[must_use]
    pub fn new(adapter: impl Adapter + 'static) -> Self {
        Self { adapter: Arc::new(adapter) }
    }

    /// The names that exchanges and queues have at this broker.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        self.adapter.topology()
    }

    /// Declares every exchange, queue and binding. It is safe to repeat.
    ///
    /// # Errors
    /// [`BrokerError::Topology`] names the queue and the difference; the others say why the broker did not answer.
    pub async fn declare(&self) -> Result<(), BrokerError> {
        self.adapter.declare().await
    }

    /// Whether the broker says that a message comes from one of these users, or from batchshare itself. The embedded
    /// broker has no users, because only this program can reach it: there every message is from batchshare.
    #[must_use]
    pub fn is_from(&self, delivery: &Delivery, users: &[String]) -> bool {
        self.adapter.is_from(delivery, users)
    }

    /// The queue that has this full name at the broker, if it is one of ours.
    #[must_use]
    pub fn queue_named(&self, name: &str) -> Option<Queue> {
        Queue::ALL.into_iter().find(|queue| self.topology().queue(*queue) == name)
    }

    /// Publishes a batch and waits for all confirms together. The answers are in the batch's order.
    pub async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
        self.adapter.publish(batch).await
    }

    /// Starts taking messages of a shared queue. At most `prefetch` of them are unacknowledged at a time.
    ///
    /// # Errors
    /// Why the broker does not let us consume the queue.
    pub async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Consumer, BrokerError> {
        self.adapter.consume(queue, prefetch).await
    }

    /// Listens to every event from now on, on a queue of the listener's own. Events are wake-ups only: what is sent
    /// while nobody listens is not kept.
    ///
    /// # Errors
    /// Why the broker does not let us listen.
    pub async fn listen(&self) -> Result<Listener, BrokerError> {
        self.adapter.listen().await
    }

    /// The ids of the checks that this process's consumers have rejected since the last call. Only RabbitMQ has any:
    /// the embedded broker moves its dead letters itself, so nothing has to be checked there.
    #[must_use]
    pub fn checks_taken(&self) -> Vec<String> {
        self.adapter.checks_taken()
    }

    /// How many messages wait in a queue. RabbitMQ's count may be five seconds old.
    ///
    /// # Errors
    /// Why the broker did not tell.
    pub async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.adapter.depth(queue).await
    }

    /// Whether the broker can be published to now.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn ping(&self) -> Result<(), BrokerError> {
        self.adapter.ping().await
    }

    /// Closes the connections in order. What is not acknowledged is delivered again, to others.
    pub async fn close(&self) {
        self.adapter.close().await;
    }
}

/// Takes messages of one queue. Dropping it gives everything that is not acknowledged back to the queue.
pub struct Consumer {
    taking: Box<dyn Taking>,
}

impl Consumer {
    /// The consumer behind this adapter's own.
    #[must_use]
    pub fn new(taking: impl Taking + 'static) -> Self {
        Self { taking: Box::new(taking) }
    }

    /// The next message. It waits for ever, and it is safe to cancel: no message is lost by that.
    ///
    /// # Errors
    /// Why the consumer is of no use any more. The caller makes a new one.
    pub async fn next(&mut self) -> Result<Delivery, BrokerError> {
        self.taking.next().await
    }

    /// A handle with which other tasks acknowledge what this consumer has taken.
    #[must_use]
    pub fn acker(&self) -> Acker {
        self.taking.acker()
    }
}

/// Receives events. Dropping it ends the listening.
pub struct Listener {
    listening: Box<dyn Listening>,
}

impl Listener {
    /// The listener behind this adapter's own.
    #[must_use]
    pub fn new(listening: impl Listening + 'static) -> Self {
        Self { listening: Box::new(listening) }
    }

    /// The body of the next event. It waits for ever; if it is cancelled, it may lose one.
    ///
    /// # Errors
    /// Events may have been missed. The caller makes a new listener and reads the database.
    pub async fn next(&mut self) -> Result<Arc<[u8]>, BrokerError> {
        self.listening.next().await
    }
}

/// Acknowledges the deliveries of one consumer. It is cheap to clone.
#[derive(Clone)]
pub struct Acker {
    acking: Arc<dyn Acking>,
}

impl Acker {
    /// The acker behind this adapter's own.
    #[must_use]
    pub fn new(acking: impl Acking + 'static) -> Self {
        Self { acking: Arc::new(acking) }
    }

    /// Acknowledges these messages: they are never delivered again.
    ///
    /// # Errors
    /// They may be delivered again, because the connection that they came from is gone.
    pub async fn ack(&self, tags: &[u64]) -> Result<(), BrokerError> {
        self.acking.ack(tags).await
    }

    /// Gives the message back to its queue. The broker counts one more delivery of it.
    ///
    /// # Errors
    /// As [`Acker::ack`]; the message is delivered again in any case.
    pub async fn requeue(&self, tag: u64) -> Result<(), BrokerError> {
        self.acking.requeue(tag).await
    }
}
