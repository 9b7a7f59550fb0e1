//! The broker of one machine: queues are rows of the SQLite file, shared with the store's connection.
//!
//! A message is taken by moving its time of visibility into the future: that is its lease, which is renewed while the
//! consumer lives. The consumers poll the table, which alone decides what is there; a wake-up within the process only
//! makes it quick.

mod consumer;
mod rows;
mod shared;

use std::sync::Arc;

use futures_util::future;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{Notify, broadcast};

use crate::broker::error::BrokerError;
use crate::broker::interface::{Adapter, Consumer, Listener, Listening};
use crate::broker::message::{Delivery, Outgoing};
use crate::broker::topology::{Exchange, Queue, Topology};
use crate::db::{Db, DbError};
use consumer::EmbeddedConsumer;
use shared::{Shared, unavailable};

/// A listener that is more events behind than this loses the oldest.
const LISTENER_BUFFER: usize = 1_024;

/// The embedded broker. It is cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

impl Embedded {
    #[must_use]
    pub fn new(db: Db) -> Self {
        let (events, _) = broadcast::channel(LISTENER_BUFFER);
        Self {
            shared: Arc::new(Shared { db, names: Topology::default(), events, wakes: Default::default() }),
        }
    }

    /// Gives back what consumers hold that are gone. It is to be called when the process starts, before anything is
    /// consumed: only one process has the roles, so whoever holds a message at that time is gone.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn recover(&self) -> Result<(), DbError> {
        self.shared.db.write(rows::recover).await?;
        self.shared.wakes.iter().for_each(Notify::notify_waiters);
        Ok(())
    }

    async fn publish_batch(&self, batch: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut inserts = Vec::with_capacity(batch.len());
        for message in batch {
            let queues = bound(message);
            answers.push(if queues.is_empty() && message.mandatory {
                let exchange = self.shared.names.exchange(message.exchange);
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
            // Either nothing was written, or nobody knows.
            answers.iter_mut().filter(|answer| answer.is_ok()).for_each(|a| *a = Err(error.clone()));
            return answers;
        }
        for queue in Queue::ALL.into_iter().filter(|queue| queues.contains(queue)) {
            self.shared.wake(queue).notify_waiters();
        }
        self.tell(batch);
        answers
    }

    /// Hands the events of a batch to whoever listens in this process.
    fn tell(&self, batch: &[Outgoing]) {
        for message in batch.iter().filter(|message| message.exchange == Exchange::Events) {
            // An error means that nobody listens.
            let _ = self.shared.events.send(message.body.as_slice().into());
        }
    }

    /// How many messages are ready. Those that consumers hold are not counted.
    async fn ready(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.shared.db.read(move |conn| rows::ready(conn, queue)).await.map_err(unavailable)
    }
}

impl Adapter for Embedded {
    fn topology(&self) -> &Topology {
        &self.shared.names
    }

    /// The queues of the embedded broker are rows: there is nothing to declare.
    fn declare(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        future::ready(Ok(())).boxed()
    }

    fn is_from(&self, _: &Delivery, _: &[String]) -> bool {
        true
    }

    fn publish<'a>(&'a self, batch: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<(), BrokerError>>> {
        self.publish_batch(batch).boxed()
    }

    fn consume(&self, queue: Queue, prefetch: u16) -> BoxFuture<'_, Result<Consumer, BrokerError>> {
        async move {
            // Whether the queue can be read is told now and not at the first message.
            self.ready(queue).await?;
            Ok(Consumer::new(EmbeddedConsumer::start(Arc::clone(&self.shared), queue, prefetch)))
        }
        .boxed()
    }

    fn listen(&self) -> BoxFuture<'_, Result<Listener, BrokerError>> {
        let listener = Listener::new(EmbeddedListener(self.shared.events.subscribe()));
        future::ready(Ok(listener)).boxed()
    }

    fn checks_taken(&self) -> Vec<String> {
        Vec::new()
    }

    fn depth(&self, queue: Queue) -> BoxFuture<'_, Result<u64, BrokerError>> {
        self.ready(queue).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        async move { self.ready(Queue::Jobs).await.map(drop) }.boxed()
    }

    /// There is no connection of its own to close.
    fn close(&self) -> BoxFuture<'_, ()> {
        future::ready(()).boxed()
    }
}

/// Receives the events that this process publishes.
struct EmbeddedListener(broadcast::Receiver<Arc<[u8]>>);

impl Listening for EmbeddedListener {
    fn next(&mut self) -> BoxFuture<'_, Result<Arc<[u8]>, BrokerError>> {
        async move { self.0.recv().await.map_err(|error| BrokerError::Unavailable(error.to_string())) }
            .boxed()
    }
}

/// The queues that are bound to the exchange and the key of a message.
fn bound(message: &Outgoing) -> Vec<Queue> {
    let binding = (message.exchange, message.routing_key.as_str());
    Queue::ALL.into_iter().filter(|queue| queue.bindings().contains(&binding)).collect()
}
