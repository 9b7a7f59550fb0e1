//! The broker of one machine: queues are rows of the SQLite file, shared with the store's connection.
//!
//! A message is taken by putting its next visibility ahead (a lease, renewed while the consumer
//! lives); polling is the truth, a wake-up within the process makes it quick.

mod consumer;
mod rows;

use std::sync::Arc;

use tokio::sync::{Notify, broadcast};

pub(super) use consumer::{EmbeddedAcker, EmbeddedConsumer};

use crate::broker::{BrokerError, Exchange, Outgoing, Queue, Topology};
use crate::db::{Db, DbError};

/// Events that a listener may be behind before it loses the oldest.
const LISTENER_BUFFER: usize = 1_024;

/// The embedded broker. Cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    /// Events, to whoever listens in this process: all the roles are in one.
    events: broadcast::Sender<Arc<[u8]>>,
    /// One for each of [`Queue::ALL`].
    wakes: [Notify; Queue::ALL.len()],
}

impl Shared {
    fn wake(&self, queue: Queue) -> &Notify {
        let place = Queue::ALL.iter().position(|other| *other == queue).unwrap_or_default();
        &self.wakes[place]
    }
}

impl Embedded {
    #[must_use]
    pub fn new(db: Db) -> Self {
        let (events, _) = broadcast::channel(LISTENER_BUFFER);
        Self { shared: Arc::new(Shared { db, events, wakes: Default::default() }) }
    }

    /// Gives back what consumers hold that are gone. To be called when the process starts, before it
    /// consumes: one process has the roles, so whoever holds a message then is gone.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub async fn recover(&self) -> Result<(), DbError> {
        self.shared.db.write(rows::recover).await?;
        self.shared.wakes.iter().for_each(Notify::notify_waiters);
        Ok(())
    }

    pub(super) async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut inserts = Vec::with_capacity(batch.len());
        for message in batch {
            let queues = bound(message);
            answers.push(if queues.is_empty() && message.mandatory {
                // The names' default prefix: an embedded broker has no other.
                let exchange = default_names().exchange(message.exchange);
                Err(BrokerError::Unroutable { exchange, routing_key: message.routing_key.clone() })
            } else {
                Ok(())
            });
            inserts.extend(queues.into_iter().map(|queue| (queue, message.clone())));
        }
        if inserts.is_empty() {
            self.tell(batch);
            return answers;
        }
        let queues: Vec<Queue> = inserts.iter().map(|(queue, _)| *queue).collect();
        let written = self.shared.db.write(move |conn| rows::insert(conn, &inserts)).await;
        if let Err(error) = written.map_err(unavailable) {
            // Nothing was written, or nobody knows.
            answers.iter_mut().filter(|answer| answer.is_ok()).for_each(|a| *a = Err(error.clone()));
            return answers;
        }
        for queue in Queue::ALL.into_iter().filter(|queue| queues.contains(queue)) {
            self.shared.wake(queue).notify_waiters();
        }
        self.tell(batch);
        answers
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<[u8]>> {
        self.shared.events.subscribe()
    }

    /// Tells the events of a batch to whoever listens.
    fn tell(&self, batch: &[Outgoing]) {
        for message in batch.iter().filter(|message| message.exchange == Exchange::Events) {
            // An error means that nobody listens.
            let _ = self.shared.events.send(message.body.as_slice().into());
        }
    }

    pub(super) async fn consume(&self, queue: Queue, prefetch: u16) -> Result<EmbeddedConsumer, BrokerError> {
        // Whether it can be read is told now and not at the first message.
        self.depth(queue).await?;
        Ok(EmbeddedConsumer::start(Arc::clone(&self.shared), queue, prefetch))
    }

    /// How many messages are ready: those that consumers hold are not counted.
    pub(super) async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.shared.db.read(move |conn| rows::ready(conn, queue)).await.map_err(unavailable)
    }
}

/// The queues that take a message.
fn bound(message: &Outgoing) -> Vec<Queue> {
    let binding = (message.exchange, message.routing_key.as_str());
    Queue::ALL.into_iter().filter(|queue| queue.bindings().contains(&binding)).collect()
}

/// An embedded broker serves one installation, so its names never carry another prefix.
pub(super) fn default_names() -> Topology {
    Topology { prefix: "batchshare".to_owned() }
}

fn unavailable(error: DbError) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}
