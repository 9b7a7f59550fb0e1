//! RabbitMQ, through lapin.
//!
//! Two connections, one to publish and one to consume, each made when it is first needed: a memory
//! or disk alarm stops every write on a connection that publishes, acknowledgements included. lapin's
//! own recovery is off: it gives up after a while and re-publishes nothing. A connection that failed
//! is dropped here, the operation answers [`BrokerError::Unavailable`] and the next one connects.

mod connect;
mod consume;
mod declare;
mod frames;
mod link;
pub mod management;
mod mend;
mod place;
mod publish;
mod stream;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lapin::types::FieldTable;

pub(super) use consume::{RabbitAcker, RabbitConsumer};

use crate::broker::{BrokerError, Outgoing, Queue, Topology};
use crate::telemetry::metrics::Metrics;
use frames::Mended;
use link::{Cell, Link};
use place::Places;

/// Bytes of a frame on the connection that publishes. lapin keeps room for 32 frames each way, and uses it: with
/// the server's 128 KiB that is 4 MiB at rest. The connection that consumes keeps the server's: a message's
/// headers come in one frame, however large their publisher made them.
const FRAME_BYTES: u32 = 32 * 1024;

/// A message that has nowhere to go even then is not to declare everything again and again.
const HEAL_EVERY: Duration = Duration::from_secs(5);

/// Events that a listener holds at most.
const LISTENER_PREFETCH: u16 = 100;

/// Where the broker is and how long to wait for it.
#[derive(Clone)]
pub struct RabbitOptions {
    /// `amqp://user:password@host:port/vhost`, where several hosts may stand with commas between them; what its
    /// query sets wins over the fields here.
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
    /// PEM: authorities that TLS trusts besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where messages are counted that had to be mended.
    pub metrics: Metrics,
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
    /// What the URL must look like, where it could not be read: then every operation says so.
    places: Result<Places, &'static str>,
    mended: Arc<Mended>,
    /// Ids of checks that consumers have rejected.
    checks: Arc<Mutex<Vec<String>>>,
    /// When the topology was last declared because a message had nowhere to go.
    healed: Mutex<Option<Instant>>,
    publishing: Cell,
    consuming: Cell,
}

impl Inner {
    /// Whether it is time to declare the topology because something of it is missing.
    fn may_heal(&self) -> bool {
        let mut healed = self.healed.lock().unwrap_or_else(PoisonError::into_inner);
        let may = healed.is_none_or(|healed| healed.elapsed() >= HEAL_EVERY);
        if may {
            *healed = Some(Instant::now());
        }
        may
    }

    fn user(&self) -> Option<&str> {
        self.places.as_ref().ok().map(Places::user)
    }
}

impl Rabbit {
    /// Connects nothing yet: the first operation does.
    #[must_use]
    pub fn new(options: RabbitOptions) -> Self {
        let places = Places::parse(&options.url).map(|places| places.heartbeat(options.heartbeat));
        let mended = Arc::new(Mended::new(options.metrics.clone()));
        let healed = Mutex::default();
        let (publishing, consuming) = (Cell::new("publish", Some(FRAME_BYTES)), Cell::new("consume", None));
        Self {
            inner: Arc::new(Inner {
                options,
                places,
                mended,
                checks: Arc::default(),
                healed,
                publishing,
                consuming,
            }),
        }
    }

    /// Whether a URL can be read, before anything is done with it.
    ///
    /// # Errors
    /// What it must look like; never the URL, which holds a password.
    pub fn check_url(url: &str) -> Result<(), &'static str> {
        Places::parse(url).map(drop)
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

    /// Publishes a batch. What has nowhere to go is sent once more after the topology was declared again: somebody
    /// has deleted an exchange, a queue or a binding.
    pub(super) async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
        let mut answers = publish::batch(&self.inner, batch).await;
        let is_unroutable =
            |answer: &Result<(), BrokerError>| matches!(answer, Err(BrokerError::Unroutable { .. }));
        if !answers.iter().any(is_unroutable) || !self.inner.may_heal() {
            return answers;
        }
        tracing::warn!("a message has nowhere to go: exchanges, queues and bindings are declared again");
        if let Err(error) = self.declare().await {
            tracing::warn!(%error, "they could not be declared");
            return answers;
        }
        // A missing exchange closes the channel, and with it all that was sent beside.
        let lost: Vec<usize> = (0..batch.len()).filter(|at| answers[*at].is_err()).collect();
        let again: Vec<Outgoing> = lost.iter().map(|at| batch[*at].clone()).collect();
        for (at, answer) in lost.into_iter().zip(publish::batch(&self.inner, &again).await) {
            answers[at] = answer;
        }
        answers
    }

    pub(super) async fn consume(&self, queue: Queue, prefetch: u16) -> Result<RabbitConsumer, BrokerError> {
        let options = &self.inner.options;
        let name = options.topology.queue(queue);
        self.on_link(&self.inner.consuming, "consuming", async |link| {
            let checks = queue.dead_letters().then(|| Arc::clone(&self.inner.checks));
            let consumer = RabbitConsumer::start(link, &name, prefetch, options.operation_timeout).await?;
            Ok(consumer.rejecting_checks(checks))
        })
        .await
    }

    pub(super) fn checks_taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.checks.lock().unwrap_or_else(PoisonError::into_inner))
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
