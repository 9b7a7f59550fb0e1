//! RabbitMQ, through lapin.
//!
//! Two connections, one to publish and one to consume, each made when it is first needed: a memory
//! or disk alarm stops every write on a connection that publishes, acknowledgements included. lapin's
//! own recovery is off: it gives up after a while and re-publishes nothing. A connection that failed
//! is dropped here, the operation answers [`BrokerError::Unavailable`] and the next one connects.

mod consume;
mod declare;
mod link;
mod publish;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lapin::types::FieldTable;
use lapin::uri::AMQPUri;

pub(super) use consume::{RabbitAcker, RabbitConsumer};

use super::{BrokerError, Outgoing, Queue, Topology};
use link::{Cell, Link};

/// Bytes of a frame on the connection that publishes. lapin keeps room for 32 frames each way, and uses it: with
/// the server's 128 KiB that is 4 MiB at rest. The connection that consumes keeps the server's: a message's
/// headers come in one frame, however large their publisher made them.
const FRAME_BYTES: u32 = 32 * 1024;

/// Events that a listener holds at most.
const LISTENER_PREFETCH: u16 = 100;

/// Where the broker is and how long to wait for it.
#[derive(Clone)]
pub struct RabbitOptions {
    /// `amqp://user:password@host:port/vhost`; what its query sets wins over the fields here.
    pub url: String,
    pub topology: Topology,
    /// Seconds. A peer that is gone is noticed after twice this.
    pub heartbeat: u16,
    /// For connecting: TCP, TLS and AMQP's handshake together.
    pub connect_timeout: Duration,
    /// For everything else that the broker answers.
    pub operation_timeout: Duration,
    /// How the broker's own tools list the connections (with what each is for behind it).
    pub name: String,
}

// The URL holds a password: Debug leaves it out.
impl fmt::Debug for RabbitOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitOptions")
            .field("topology", &self.topology)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A RabbitMQ server or cluster. Cheap to clone; clones share the two connections.
#[derive(Clone)]
pub struct Rabbit {
    inner: Arc<Inner>,
}

struct Inner {
    options: RabbitOptions,
    /// None where the URL could not be read: then every operation says so.
    uri: Option<AMQPUri>,
    publishing: Cell,
    consuming: Cell,
}

impl Inner {
    fn user(&self) -> Option<&str> {
        self.uri.as_ref().map(|uri| uri.authority.userinfo.username.as_str())
    }
}

impl Rabbit {
    /// Connects nothing yet: the first operation does.
    #[must_use]
    pub fn new(options: RabbitOptions) -> Self {
        let uri = options.url.parse::<AMQPUri>().ok().map(|mut uri| {
            uri.query.heartbeat.get_or_insert(options.heartbeat);
            let connect_ms = u64::try_from(options.connect_timeout.as_millis()).unwrap_or(u64::MAX);
            uri.query.connection_timeout.get_or_insert(connect_ms);
            uri
        });
        let (publishing, consuming) = (Cell::new("publish", Some(FRAME_BYTES)), Cell::new("consume", None));
        Self { inner: Arc::new(Inner { options, uri, publishing, consuming }) }
    }

    /// The broker's user that this process is.
    pub(super) fn topology(&self) -> &Topology {
        &self.inner.options.topology
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.inner.user()
    }

    /// Declares the whole topology. Safe to repeat.
    pub(super) async fn declare(&self) -> Result<(), BrokerError> {
        let topology = &self.inner.options.topology;
        // Not on the connection that publishes: an alarm blocks that one.
        self.on_link(&self.inner.consuming, "declaring", async |link| declare::all(link, topology).await)
            .await
    }

    pub(super) async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
        publish::batch(&self.inner, batch).await
    }

    pub(super) async fn consume(&self, queue: Queue, prefetch: u16) -> Result<RabbitConsumer, BrokerError> {
        let options = &self.inner.options;
        let name = options.topology.queue(queue);
        self.on_link(&self.inner.consuming, "consuming", async |link| {
            RabbitConsumer::start(link, &name, prefetch, options.operation_timeout).await
        })
        .await
    }

    pub(super) async fn listen(&self) -> Result<RabbitConsumer, BrokerError> {
        let options = &self.inner.options;
        let name = options.topology.listener(&uuid::Uuid::new_v4().simple().to_string());
        self.on_link(&self.inner.consuming, "listening", async |link| {
            declare::listener(link, &options.topology, &name).await?;
            RabbitConsumer::start(link, &name, LISTENER_PREFETCH, options.operation_timeout).await
        })
        .await
    }

    /// How many messages are ready: those that consumers hold are not counted.
    pub(super) async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        let name = self.inner.options.topology.queue(queue);
        self.on_link(&self.inner.consuming, "asking for a queue's depth", async |link| {
            // A channel of its own: a queue that is not there closes the channel that asked.
            let channel = link.channel().await?;
            let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
            let declared = channel.queue_declare(declare::short(&name)?, passive, FieldTable::default());
            let found = declared.await.map_err(|error| link::failed(&format!("queue {name}"), &error))?;
            Ok(u64::from(found.message_count()))
        })
        .await
    }

    /// Whether there is a connection to publish on (made if there is none) that is not blocked.
    pub(super) async fn ping(&self) -> Result<(), BrokerError> {
        let link = self.inner.publishing.get(&self.inner).await?;
        link.blocked_now().map_or(Ok(()), Err)
    }

    /// Closes both connections in order.
    pub(super) async fn close(&self) {
        let limit = self.inner.options.operation_timeout;
        tokio::join!(self.inner.publishing.close(limit), self.inner.consuming.close(limit));
    }

    /// Runs an operation with a deadline. Without an answer the connection is taken for dead, so that
    /// the next operation makes a new one.
    async fn on_link<T>(
        &self,
        cell: &Cell,
        what: &str,
        operation: impl AsyncFnOnce(&Link) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let link = cell.get(&self.inner).await?;
        let limit = self.inner.options.operation_timeout;
        match tokio::time::timeout(limit, operation(&link)).await {
            Ok(result) => result,
            Err(_) => {
                cell.forget(&link).await;
                Err(BrokerError::Unavailable(format!("no answer to {what} within {limit:?}")))
            }
        }
    }
}
