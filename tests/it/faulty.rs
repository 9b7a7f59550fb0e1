//! A broker whose calls pass through faults of a test's making.

use std::sync::Arc;

use batchshare::broker::{
    Acker, Acking, Adapter, Broker, BrokerError, Consumer, Delivery, Listener, Outgoing, Queue, Taking,
    Topology,
};
use futures_util::future::{BoxFuture, FutureExt as _};

/// A call that changes something at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call<'a> {
    Declare,
    Publish(&'a [Outgoing]),
    Consume(Queue),
    Take(Queue),
    /// Of so many messages.
    Ack(usize),
    Requeue,
}

/// Which calls fail.
pub trait Faults: Send + Sync {
    /// `Err`: the call is not made. Not asked for [`Call::Take`], which may be cancelled.
    fn before(&self, call: Call<'_>) -> Result<(), BrokerError>;
    /// After a call that worked. `Err`: it took effect, and the caller hears that it failed.
    fn after(&self, call: Call<'_>) -> Result<(), BrokerError>;
}

/// The same broker behind these faults.
pub fn faulty(inner: Broker, faults: Arc<dyn Faults>) -> Broker {
    Broker::new(Faulty { inner, faults })
}

struct Faulty {
    inner: Broker,
    faults: Arc<dyn Faults>,
}

impl Adapter for Faulty {
    fn topology(&self) -> &Topology {
        self.inner.topology()
    }

    fn declare(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        async move {
            self.faults.before(Call::Declare)?;
            self.inner.declare().await?;
            self.faults.after(Call::Declare)
        }
        .boxed()
    }

    fn is_from(&self, delivery: &Delivery, users: &[String]) -> bool {
        self.inner.is_from(delivery, users)
    }

    fn publish<'a>(&'a self, batch: &'a [Outgoing]) -> BoxFuture<'a, Vec<Result<(), BrokerError>>> {
        async move {
            let all = |error: BrokerError| batch.iter().map(|_| Err(error.clone())).collect();
            if let Err(error) = self.faults.before(Call::Publish(batch)) {
                return all(error);
            }
            let answers = self.inner.publish(batch).await;
            match self.faults.after(Call::Publish(batch)) {
                Ok(()) => answers,
                Err(error) => all(error),
            }
        }
        .boxed()
    }

    fn consume(&self, queue: Queue, prefetch: u16) -> BoxFuture<'_, Result<Consumer, BrokerError>> {
        async move {
            self.faults.before(Call::Consume(queue))?;
            let inner = self.inner.consume(queue, prefetch).await?;
            self.faults.after(Call::Consume(queue))?;
            Ok(Consumer::new(FaultyConsumer { inner, queue, faults: Arc::clone(&self.faults) }))
        }
        .boxed()
    }

    fn listen(&self) -> BoxFuture<'_, Result<Listener, BrokerError>> {
        self.inner.listen().boxed()
    }

    fn checks_taken(&self) -> Vec<String> {
        self.inner.checks_taken()
    }

    fn depth(&self, queue: Queue) -> BoxFuture<'_, Result<u64, BrokerError>> {
        self.inner.depth(queue).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.inner.ping().boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close().boxed()
    }
}

struct FaultyConsumer {
    inner: Consumer,
    queue: Queue,
    faults: Arc<dyn Faults>,
}

impl Taking for FaultyConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, BrokerError>> {
        async move {
            let delivery = self.inner.next().await?;
            // A caller that gets an error drops the consumer, and the message comes again.
            self.faults.after(Call::Take(self.queue)).map(|()| delivery)
        }
        .boxed()
    }

    fn acker(&self) -> Acker {
        Acker::new(FaultyAcker { inner: self.inner.acker(), faults: Arc::clone(&self.faults) })
    }
}

struct FaultyAcker {
    inner: Acker,
    faults: Arc<dyn Faults>,
}

impl Acking for FaultyAcker {
    fn ack<'a>(&'a self, tags: &'a [u64]) -> BoxFuture<'a, Result<(), BrokerError>> {
        async move {
            self.faults.before(Call::Ack(tags.len()))?;
            self.inner.ack(tags).await?;
            self.faults.after(Call::Ack(tags.len()))
        }
        .boxed()
    }

    fn requeue(&self, tag: u64) -> BoxFuture<'_, Result<(), BrokerError>> {
        async move {
            self.faults.before(Call::Requeue)?;
            self.inner.requeue(tag).await?;
            self.faults.after(Call::Requeue)
        }
        .boxed()
    }
}
