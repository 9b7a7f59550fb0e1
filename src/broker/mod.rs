//! Messages: one small interface, two adapters (RabbitMQ and rows in the SQLite file).
//!
//! Both keep the same promises, held by one conformance suite: a publish that returned `Ok` is
//! durable; an unroutable mandatory message is an error; what was taken and not acknowledged comes
//! again after a lost connection or a crash. Every wait has a deadline. Reconnecting is the
//! caller's: an operation fails with [`BrokerError::Unavailable`], the next one tries again.

pub mod topology;

mod embedded;
mod faulty;
mod rabbitmq;

use std::sync::Arc;
use std::time::Duration;

pub use embedded::Embedded;
pub use faulty::{Call, Faults, Faulty};
pub use rabbitmq::{Rabbit, RabbitOptions, management};
pub use topology::{Exchange, Queue, Topology};

/// A message on its way to an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub exchange: Exchange,
    pub routing_key: String,
    pub message_id: String,
    /// The CloudEvents type, set as the `type` property.
    pub kind: String,
    pub traceparent: Option<String>,
    /// An unroutable message is an error (not so for events that nobody may be listening to).
    pub mandatory: bool,
    /// Milliseconds since 1970; the broker keeps seconds.
    pub timestamp: i64,
    /// Further headers, all texts.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A message that was taken and waits for [`Acker::ack`] or [`Acker::requeue`].
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names the delivery to its consumer.
    pub tag: u64,
    /// It was delivered before: somebody lost it, perhaps by crashing over it.
    pub redelivered: bool,
    pub routing_key: String,
    pub content_type: Option<String>,
    pub message_id: Option<String>,
    /// RabbitMQ's validated `user_id`.
    pub user_id: Option<String>,
    /// The sender's headers and the broker's, as texts; what is nested as JSON. Whoever publishes can set any.
    pub headers: Vec<(String, String)>,
    /// Why the broker gave it up, for one of its dead letters.
    pub death: Option<Death>,
    pub body: Vec<u8>,
}

/// What the broker says of the latest death of a message: the first entry of `x-death`.
///
/// RabbitMQ 3.10 writes queue and reason itself and puts their entry first, whatever the sender had set; count, time
/// and exchange may be the sender's. From 4.0 on nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The queue's full name.
    pub queue: String,
    /// `expired`, `maxlen`, `rejected` or `delivery_limit`.
    pub reason: String,
    /// Seconds since 1970. On 3.10 it may be the sender's: good to tell letters apart, and for nothing else.
    pub time: String,
}

impl Delivery {
    /// A text header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The id of a check, if that is all it is.
    #[must_use]
    pub fn check_id(&self) -> Option<&str> {
        let id = self.message_id.as_deref().filter(|id| id.starts_with(topology::CHECK_ID));
        id.filter(|_| self.body == topology::CHECK_BODY)
    }

    /// The W3C trace that its sender names: 55 characters, else unchecked.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.header(topology::HEADER_TRACEPARENT).filter(|trace| trace.len() == 55)
    }
}

/// What can go wrong at the broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// No connection, no answer in time, or a blocked connection: try again later.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// Wrong password, unknown vhost, no permission: a person has to act.
    #[error("the broker refuses: {0}")]
    Refused(String),
    /// A queue or exchange is there with other arguments.
    #[error("the broker's topology contradicts: {0}")]
    Topology(String),
    /// A mandatory message had nowhere to go.
    #[error("no queue takes a message for {exchange} with key {routing_key}")]
    Unroutable { exchange: String, routing_key: String },
    /// The broker closed the channel over the message: it is larger than it may be there.
    #[error("the broker rejects the message: {0}")]
    Rejected(String),
    /// The broker did not take the message (a negative confirm).
    #[error("the broker did not take the message")]
    NotTaken,
}

impl BrokerError {
    /// What kind of error it is, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::Topology(_) => "topology",
            Self::Unroutable { .. } => "unroutable",
            Self::Rejected(_) => "rejected",
            Self::NotTaken => "not_taken",
        }
    }
}

/// The broker of this process. Cheap to clone.
#[derive(Clone)]
pub enum Broker {
    Rabbit(Rabbit),
    Embedded(Embedded),
    /// Either, behind the faults of a test.
    Faulty(Faulty),
}

impl Broker {
    /// Declares every exchange, queue and binding. Safe to repeat.
    ///
    /// # Errors
    /// [`BrokerError::Topology`] names the queue and the difference.
    pub async fn declare(&self) -> Result<(), BrokerError> {
        match self {
            Self::Rabbit(rabbit) => rabbit.declare().await,
            // Queues of the embedded broker are rows: there is nothing to declare.
            Self::Embedded(_) => Ok(()),
            Self::Faulty(faulty) => faulty.declare().await,
        }
    }

    /// Whether the broker says that a message comes from one of these users, or from batchshare
    /// itself. The embedded broker has no users: only this program can reach it.
    #[must_use]
    pub fn is_from(&self, delivery: &Delivery, users: &[String]) -> bool {
        let rabbit = match self {
            Self::Rabbit(rabbit) => rabbit,
            Self::Embedded(_) => return true,
            Self::Faulty(faulty) => return faulty.inner().is_from(delivery, users),
        };
        let Some(user) = delivery.user_id.as_deref() else { return false };
        rabbit.user() == Some(user) || users.iter().any(|allowed| allowed == user)
    }

    /// The queue of that full name, where it is one of ours.
    #[must_use]
    pub fn queue_named(&self, name: &str) -> Option<Queue> {
        let embedded;
        let topology = match self {
            Self::Rabbit(rabbit) => rabbit.topology(),
            Self::Embedded(_) => {
                embedded = embedded::default_names();
                &embedded
            }
            Self::Faulty(faulty) => return faulty.inner().queue_named(name),
        };
        Queue::ALL.into_iter().find(|queue| topology.queue(*queue) == name)
    }

    /// Publishes a batch and waits for all confirms together. The answers are in the batch's order.
    pub async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
        match self {
            Self::Rabbit(rabbit) => rabbit.publish(batch).await,
            Self::Embedded(embedded) => embedded.publish(batch).await,
            Self::Faulty(faulty) => faulty.publish(batch).await,
        }
    }

    /// Starts taking messages of a shared queue, at most `prefetch` unacknowledged.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Consumer, BrokerError> {
        match self {
            Self::Rabbit(rabbit) => rabbit.consume(queue, prefetch).await.map(Consumer::Rabbit),
            Self::Embedded(embedded) => embedded.consume(queue, prefetch).await.map(Consumer::Embedded),
            Self::Faulty(faulty) => faulty.consume(queue, prefetch).await.map(Consumer::Faulty),
        }
    }

    /// Listens to every event from now on, on a queue of the listener's own. A wake-up only: what is
    /// sent while nobody listens is not kept.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn listen(&self) -> Result<Listener, BrokerError> {
        match self {
            Self::Rabbit(rabbit) => rabbit.listen().await.map(Listener::Rabbit),
            Self::Embedded(embedded) => Ok(Listener::Embedded(embedded.listen())),
            Self::Faulty(faulty) => Box::pin(faulty.inner().listen()).await,
        }
    }

    /// The ids of checks that this process's consumers have rejected since the last call. Only RabbitMQ has any: the
    /// embedded broker moves a dead letter itself.
    #[must_use]
    pub fn checks_taken(&self) -> Vec<String> {
        match self {
            Self::Rabbit(rabbit) => rabbit.checks_taken(),
            Self::Embedded(_) => Vec::new(),
            Self::Faulty(faulty) => faulty.inner().checks_taken(),
        }
    }

    /// How many messages wait in a queue, as far as the broker knows (RabbitMQ's count may be five
    /// seconds old).
    ///
    /// # Errors
    /// Why it cannot be told.
    pub async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        match self {
            Self::Rabbit(rabbit) => rabbit.depth(queue).await,
            Self::Embedded(embedded) => embedded.depth(queue).await,
            Self::Faulty(faulty) => Box::pin(faulty.inner().depth(queue)).await,
        }
    }

    /// Whether the broker can be published to now.
    ///
    /// # Errors
    /// Why not.
    pub async fn ping(&self) -> Result<(), BrokerError> {
        match self {
            Self::Rabbit(rabbit) => rabbit.ping().await,
            Self::Embedded(embedded) => embedded.depth(Queue::Jobs).await.map(drop),
            Self::Faulty(faulty) => Box::pin(faulty.inner().ping()).await,
        }
    }

    /// Closes connections in order; what is not acknowledged comes again to others.
    pub async fn close(&self) {
        match self {
            Self::Rabbit(rabbit) => rabbit.close().await,
            Self::Embedded(_) => {}
            Self::Faulty(faulty) => Box::pin(faulty.inner().close()).await,
        }
    }
}

/// Takes messages of one queue. Dropping it gives everything not acknowledged back to the queue.
pub enum Consumer {
    Rabbit(rabbitmq::RabbitConsumer),
    Embedded(embedded::EmbeddedConsumer),
    Faulty(faulty::FaultyConsumer),
}

impl Consumer {
    /// The next message. Waits for ever; safe to cancel (no message is lost by it).
    ///
    /// # Errors
    /// The consumer is of no use any more: make a new one.
    pub async fn next(&mut self) -> Result<Delivery, BrokerError> {
        match self {
            Self::Rabbit(consumer) => consumer.next().await,
            Self::Embedded(consumer) => consumer.next().await,
            Self::Faulty(consumer) => consumer.next().await,
        }
    }

    /// A handle to acknowledge from other tasks.
    #[must_use]
    pub fn acker(&self) -> Acker {
        match self {
            Self::Rabbit(consumer) => Acker::Rabbit(consumer.acker()),
            Self::Embedded(consumer) => Acker::Embedded(consumer.acker()),
            Self::Faulty(consumer) => Acker::Faulty(consumer.acker()),
        }
    }
}

/// Hears events. Dropping it ends the listening.
pub enum Listener {
    Rabbit(rabbitmq::RabbitConsumer),
    Embedded(tokio::sync::broadcast::Receiver<Arc<[u8]>>),
}

impl Listener {
    /// The body of the next event. Waits for ever; cancelled, it may lose one.
    ///
    /// # Errors
    /// Something may have been missed: make a new listener, and look at the truth.
    pub async fn next(&mut self) -> Result<Arc<[u8]>, BrokerError> {
        match self {
            Self::Rabbit(consumer) => {
                let delivery = consumer.next().await?;
                consumer.acker().ack(&[delivery.tag]).await?;
                Ok(delivery.body.into())
            }
            Self::Embedded(receiver) => {
                receiver.recv().await.map_err(|error| BrokerError::Unavailable(error.to_string()))
            }
        }
    }
}

/// Acknowledges deliveries of one consumer.
#[derive(Clone)]
pub enum Acker {
    Rabbit(rabbitmq::RabbitAcker),
    Embedded(embedded::EmbeddedAcker),
    Faulty(faulty::FaultyAcker),
}

impl Acker {
    /// These messages are done with and never come again.
    ///
    /// # Errors
    /// They may come again: the connection they came from is gone.
    pub async fn ack(&self, tags: &[u64]) -> Result<(), BrokerError> {
        match self {
            Self::Rabbit(acker) => acker.ack(tags).await,
            Self::Embedded(acker) => acker.ack(tags).await,
            Self::Faulty(acker) => acker.ack(tags).await,
        }
    }

    /// The message goes back to its queue, and counts as delivered once more.
    ///
    /// # Errors
    /// As [`Acker::ack`]; the message comes again anyway.
    pub async fn requeue(&self, tag: u64) -> Result<(), BrokerError> {
        match self {
            Self::Rabbit(acker) => acker.requeue(tag).await,
            Self::Embedded(acker) => acker.requeue(tag).await,
            Self::Faulty(acker) => acker.requeue(tag).await,
        }
    }
}

/// Waits for a broker's answer, but not for ever.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    answer: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_| Err(BrokerError::Unavailable(format!("no answer to {what} within {limit:?}"))))
}
