//! RabbitMQ, through lapin.
//!
//! There are two connections, one to publish and one to consume, because a memory or disk alarm stops every write on
//! a connection that publishes, and so its acknowledgements, too. Each is made when it is first needed. lapin's own
//! recovery is off: it gives up after a while and publishes nothing again. A connection that failed is dropped here:
//! the operation answers [`BrokerError::Unavailable`], and the next operation connects anew.

mod connect;
mod consume;
mod declare;
mod frames;
mod link;
pub mod management;
mod mend;
mod place;
mod publish;
mod refusal;
mod server;
mod stream;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _};
use lapin::types::FieldTable;

use crate::broker::error::BrokerError;
use crate::broker::interface::{Adapter, Consumer, Listener};
use crate::broker::message::{Delivery, Outgoing};
use crate::broker::topology::{Queue, Topology};
use consume::RabbitConsumer;
use link::{Cell, Link};
use place::Places;
use refusal::failed;
use server::Server;

pub use server::RabbitOptions;

/// The size of a frame on the connection that publishes, in bytes. lapin keeps room for 32 frames in each direction
/// and uses it: with the server's 128 KiB that would be 4 MiB at rest. The connection that consumes keeps the
/// server's size, because the headers of a message come in one frame, however large their publisher made them.
const FRAME_BYTES: u32 = 32 * 1024;

/// A message that no queue takes even after that must not make us declare everything again and again.
const HEAL_EVERY: Duration = Duration::from_secs(5);

/// A listener holds so many unacknowledged events at most.
const LISTENER_PREFETCH: u16 = 100;

/// A RabbitMQ server or cluster. It is cheap to clone, and clones share the two connections.
#[derive(Clone)]
pub struct Rabbit {
    inner: Arc<Inner>,
}

struct Inner {
    server: Arc<Server>,
    /// The ids of the checks that consumers have rejected.
    checks: Arc<Mutex<Vec<String>>>,
    /// When the topology was last declared because a message had nowhere to go.
    healed: Mutex<Option<Instant>>,
    publishing: Cell,
    consuming: Cell,
}

impl Inner {
    /// Whether enough time has passed to declare the topology again, because something of it is missing. If so, the
    /// time is noted.
    fn may_heal(&self) -> bool {
        let mut healed = self.healed.lock().unwrap_or_else(PoisonError::into_inner);
        let may = healed.is_none_or(|healed| healed.elapsed() >= HEAL_EVERY);
        if may {
            *healed = Some(Instant::now());
        }
        may
    }
}

impl Rabbit {
    /// Connects nothing yet: the first operation connects.
    #[must_use]
    pub fn new(options: RabbitOptions) -> Self {
        let server = Arc::new(Server::new(options));
        let publishing = Cell::new(Arc::clone(&server), "publish", Some(FRAME_BYTES));
        let consuming = Cell::new(Arc::clone(&server), "consume", None);
        let (checks, healed) = Default::default();
        Self { inner: Arc::new(Inner { server, checks, healed, publishing, consuming }) }
    }

    /// Checks whether a URL can be read, before anything is done with it.
    ///
    /// # Errors
    /// What the URL must look like. The text never has the URL itself, which holds a password.
    pub fn check_url(url: &str) -> Result<(), &'static str> {
        Places::parse(url).map(drop)
    }

    /// The virtual host that the URL names, as lapin reads it; `None` where the URL cannot be read.
    #[must_use]
    pub fn vhost(url: &str) -> Option<String> {
        Places::parse(url).ok().map(|places| places.vhost().to_owned())
    }

    /// Declares the whole topology. It is safe to repeat.
    async fn declare_all(&self) -> Result<(), BrokerError> {
        let topology = &self.inner.server.options.topology;
        // This is not done on the connection that publishes, because an alarm blocks that one.
        self.on_link(&self.inner.consuming, "declaring", async |link| declare::all(link, topology).await)
            .await
    }

    /// Publishes a batch. If messages have nowhere to go, somebody has deleted an exchange, a queue or a binding: the
    /// topology is declared again, and they are sent once more.
    async fn publish_batch(&self, batch: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
        let mut answers = publish::batch(&self.inner.publishing, batch).await;
        let is_unroutable =
            |answer: &Result<(), BrokerError>| matches!(answer, Err(BrokerError::Unroutable { .. }));
        if !answers.iter().any(is_unroutable) || !self.inner.may_heal() {
            return answers;
        }
        tracing::warn!("a message has nowhere to go: exchanges, queues and bindings are declared again");
        if let Err(error) = self.declare_all().await {
            tracing::warn!(%error, "they could not be declared");
            return answers;
        }
        // A missing exchange closes the channel, and with it everything that was sent beside is lost.
        let lost: Vec<usize> = (0..batch.len()).filter(|at| answers[*at].is_err()).collect();
        let again: Vec<Outgoing> = lost.iter().map(|at| batch[*at].clone()).collect();
        for (at, answer) in lost.into_iter().zip(publish::batch(&self.inner.publishing, &again).await) {
            answers[at] = answer;
        }
        answers
    }

    async fn start_consumer(&self, queue: Queue, prefetch: u16) -> Result<RabbitConsumer, BrokerError> {
        let options = &self.inner.server.options;
        let name = options.topology.queue(queue);
        self.on_link(&self.inner.consuming, "consuming", async |link| {
            let checks = queue.dead_letters().then(|| Arc::clone(&self.inner.checks));
            let consumer = RabbitConsumer::start(link, &name, prefetch, options.operation_timeout).await?;
            Ok(consumer.rejecting_checks(checks))
        })
        .await
    }

    async fn start_listener(&self) -> Result<RabbitConsumer, BrokerError> {
        let options = &self.inner.server.options;
        let name = options.topology.listener(&uuid::Uuid::new_v4().simple().to_string());
        self.on_link(&self.inner.consuming, "listening", async |link| {
            declare::listener(link, &options.topology, &name).await?;
            RabbitConsumer::start(link, &name, LISTENER_PREFETCH, options.operation_timeout).await
        })
        .await
    }

    /// How many messages are ready. Those that consumers hold are not counted.
    async fn ready(&self, queue: Queue) -> Result<u64, BrokerError> {
        let name = self.inner.server.options.topology.queue(queue);
        self.on_link(&self.inner.consuming, "asking for a queue's depth", async |link| {
            // The question gets a channel of its own, because a queue that is not there closes the channel that
            // asked.
            let channel = link.channel().await?;
            let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
            let declared = channel.queue_declare(declare::short(&name)?, passive, FieldTable::default());
            let found = declared.await.map_err(|error| failed(&format!("queue {name}"), &error))?;
            Ok(u64::from(found.message_count()))
        })
        .await
    }

    /// Runs an operation with a deadline. If no answer comes, the connection is taken for dead, so that the next
    /// operation makes a new one.
    async fn on_link<T>(
        &self,
        cell: &Cell,
        what: &str,
        operation: impl AsyncFnOnce(&Link) -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let link = cell.get().await?;
        let limit = self.inner.server.options.operation_timeout;
        match tokio::time::timeout(limit, operation(&link)).await {
            Ok(result) => result,
            Err(_) => {
                cell.forget(&link).await;
                Err(BrokerError::Unavailable(format!("no answer to {what} within {limit:?}")))
            }
        }
    }
}

impl Adapter for Rabbit {
    fn topology(&self) -> &Topology {
        &self.inner.server.options.topology
    }

    fn declare(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.declare_all().boxed()
    }

    fn is_from(&self, delivery: &Delivery, users: &[String]) -> bool {
        let Some(user) = delivery.user_id.as_deref() else { return false };
        self.inner.server.user() == Some(user) || users.iter().any(|allowed| allowed == user)
    }

    fn publish<'a>(&'a self, batch: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<(), BrokerError>>> {
        self.publish_batch(batch).boxed()
    }

    fn consume(&self, queue: Queue, prefetch: u16) -> BoxFuture<'_, Result<Consumer, BrokerError>> {
        async move { self.start_consumer(queue, prefetch).await.map(Consumer::new) }.boxed()
    }

    fn listen(&self) -> BoxFuture<'_, Result<Listener, BrokerError>> {
        async move { self.start_listener().await.map(Listener::new) }.boxed()
    }

    fn checks_taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.checks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn depth(&self, queue: Queue) -> BoxFuture<'_, Result<u64, BrokerError>> {
        self.ready(queue).boxed()
    }

    /// There is a connection to publish on (one is made if there is none), and it is not blocked.
    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        async move {
            let link = self.inner.publishing.get().await?;
            link.blocked_now().map_or(Ok(()), Err)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let limit = self.inner.server.options.operation_timeout;
            tokio::join!(self.inner.publishing.close(limit), self.inner.consuming.close(limit));
        }
        .boxed()
    }
}
