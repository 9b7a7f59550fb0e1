//! A broker whose calls pass through faults of a test's making. Nobody else makes one.

use std::sync::Arc;

use crate::broker::{Acker, Broker, BrokerError, Consumer, Delivery, Outgoing, Queue};

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

/// Lets a test fail calls.
pub trait Faults: Send + Sync {
    /// `Err`: the call is not made. Not asked for [`Call::Take`], which may be cancelled.
    ///
    /// # Errors
    /// What the caller gets.
    fn before(&self, call: Call<'_>) -> Result<(), BrokerError>;
    /// After a call that worked. `Err`: it took effect, and the caller hears that it failed.
    ///
    /// # Errors
    /// What the caller gets.
    fn after(&self, call: Call<'_>) -> Result<(), BrokerError>;
}

/// A broker behind faults. Cheap to clone.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<Broker>,
    faults: Arc<dyn Faults>,
}

impl Faulty {
    #[must_use]
    pub fn new(inner: Broker, faults: Arc<dyn Faults>) -> Self {
        Self { inner: Arc::new(inner), faults }
    }

    /// Calls that the faults are not asked about go here.
    pub(super) fn inner(&self) -> &Broker {
        &self.inner
    }

    pub(super) async fn declare(&self) -> Result<(), BrokerError> {
        self.faults.before(Call::Declare)?;
        Box::pin(self.inner.declare()).await?;
        self.faults.after(Call::Declare)
    }

    pub(super) async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
        let all = |error: BrokerError| batch.iter().map(|_| Err(error.clone())).collect();
        if let Err(error) = self.faults.before(Call::Publish(batch)) {
            return all(error);
        }
        let answers = Box::pin(self.inner.publish(batch)).await;
        match self.faults.after(Call::Publish(batch)) {
            Ok(()) => answers,
            Err(error) => all(error),
        }
    }

    pub(super) async fn consume(&self, queue: Queue, prefetch: u16) -> Result<FaultyConsumer, BrokerError> {
        self.faults.before(Call::Consume(queue))?;
        let inner = Box::new(Box::pin(self.inner.consume(queue, prefetch)).await?);
        self.faults.after(Call::Consume(queue))?;
        Ok(FaultyConsumer { inner, queue, faults: Arc::clone(&self.faults) })
    }
}

pub struct FaultyConsumer {
    inner: Box<Consumer>,
    queue: Queue,
    faults: Arc<dyn Faults>,
}

impl FaultyConsumer {
    pub(super) async fn next(&mut self) -> Result<Delivery, BrokerError> {
        let delivery = Box::pin(self.inner.next()).await?;
        // A caller that gets an error drops the consumer, and the message comes again.
        self.faults.after(Call::Take(self.queue)).map(|()| delivery)
    }

    pub(super) fn acker(&self) -> FaultyAcker {
        FaultyAcker { inner: Box::new(self.inner.acker()), faults: Arc::clone(&self.faults) }
    }
}

#[derive(Clone)]
pub struct FaultyAcker {
    inner: Box<Acker>,
    faults: Arc<dyn Faults>,
}

impl FaultyAcker {
    pub(super) async fn ack(&self, tags: &[u64]) -> Result<(), BrokerError> {
        self.faults.before(Call::Ack(tags.len()))?;
        Box::pin(self.inner.ack(tags)).await?;
        self.faults.after(Call::Ack(tags.len()))
    }

    pub(super) async fn requeue(&self, tag: u64) -> Result<(), BrokerError> {
        self.faults.before(Call::Requeue)?;
        Box::pin(self.inner.requeue(tag)).await?;
        self.faults.after(Call::Requeue)
    }
}
