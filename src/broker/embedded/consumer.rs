//! A consumer: one task takes, renews and acknowledges messages, as many as there are in one transaction.
//!
//! It is a task of its own, because a caller may drop the future of `next` at any time, and because an
//! acknowledgement is a transaction with an fsync: what is asked for while one runs shares the next one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::broker::embedded::rows;
use crate::broker::embedded::shared::{Shared, unavailable};
use crate::broker::error::BrokerError;
use crate::broker::interface::{Acker, Acking, Taking};
use crate::broker::message::Delivery;
use crate::broker::topology::Queue;

/// How often a queue is looked at without a wake-up, since another process may have put something there.
const POLL: Duration = Duration::from_millis(200);
/// How often the leases of what is held are renewed, by the database's clock: three times in a lease.
const RENEW_MS: i64 = rows::LEASE_MS / 3;

/// Takes messages of one queue.
pub(super) struct EmbeddedConsumer {
    deliveries: mpsc::UnboundedReceiver<Result<Delivery, BrokerError>>,
    acker: EmbeddedAcker,
    /// Why the consumer is of no use any more.
    ended: Option<BrokerError>,
    /// When this is dropped, the task gives back what is held.
    _alive: oneshot::Sender<()>,
}

/// Acknowledges deliveries of one consumer.
#[derive(Clone)]
pub(super) struct EmbeddedAcker {
    requests: mpsc::UnboundedSender<Request>,
}

/// What is asked about a message, and where to send the answer.
struct Request {
    id: i64,
    kind: Kind,
    answer: oneshot::Sender<Result<(), BrokerError>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ack,
    Requeue,
}

impl EmbeddedConsumer {
    pub(super) fn start(shared: Arc<Shared>, queue: Queue, prefetch: u16) -> Self {
        // The channel has no bound of its own, but never more than `prefetch` messages are held.
        let (deliver, deliveries) = mpsc::unbounded_channel();
        let (requests, requested) = mpsc::unbounded_channel();
        let (alive, dropped) = oneshot::channel();
        let task = Task {
            shared,
            queue,
            prefetch: usize::from(prefetch.max(1)),
            holder: uuid::Uuid::new_v4().to_string(),
            held: HashSet::new(),
            deliver,
            look: true,
            poll_at: Instant::now() + POLL,
            renew_at: 0,
        };
        tokio::spawn(task.run(requested, dropped));
        Self { deliveries, acker: EmbeddedAcker { requests }, ended: None, _alive: alive }
    }

    async fn next_delivery(&mut self) -> Result<Delivery, BrokerError> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        // If the future is dropped, what was received stays in the channel.
        let next = self.deliveries.recv().await.unwrap_or_else(|| Err(gone()));
        if let Err(error) = &next {
            self.ended = Some(error.clone());
        }
        next
    }
}

impl Taking for EmbeddedConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, BrokerError>> {
        self.next_delivery().boxed()
    }

    fn acker(&self) -> Acker {
        Acker::new(self.acker.clone())
    }
}

impl Acking for EmbeddedAcker {
    fn ack<'a>(&'a self, tags: &'a [u64]) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.acknowledge(tags).boxed()
    }

    fn requeue(&self, tag: u64) -> BoxFuture<'_, Result<(), BrokerError>> {
        async move { self.ask(tag, Kind::Requeue)?.await.unwrap_or_else(|_| Err(gone())) }.boxed()
    }
}

impl EmbeddedAcker {
    async fn acknowledge(&self, tags: &[u64]) -> Result<(), BrokerError> {
        let asked: Vec<_> = tags.iter().map(|tag| self.ask(*tag, Kind::Ack)).collect();
        for answered in asked {
            answered?.await.unwrap_or_else(|_| Err(gone()))?;
        }
        Ok(())
    }

    fn ask(&self, tag: u64, kind: Kind) -> Result<oneshot::Receiver<Result<(), BrokerError>>, BrokerError> {
        let id = i64::try_from(tag).map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { id, kind, answer }).map_err(|_| gone())?;
        Ok(answered)
    }
}

fn gone() -> BrokerError {
    BrokerError::Unavailable("the consumer is gone; its messages come again".to_owned())
}

/// The task behind a consumer.
struct Task {
    shared: Arc<Shared>,
    queue: Queue,
    prefetch: usize,
    /// Names this consumer in the rows that it holds.
    holder: String,
    held: HashSet<i64>,
    deliver: mpsc::UnboundedSender<Result<Delivery, BrokerError>>,
    /// There may be something to take now.
    look: bool,
    poll_at: Instant,
    /// The time of the next renewal, by the database's clock.
    renew_at: i64,
}

impl Task {
    async fn run(mut self, mut requested: mpsc::UnboundedReceiver<Request>, dropped: oneshot::Receiver<()>) {
        let shared = Arc::clone(&self.shared);
        tokio::pin!(dropped);
        loop {
            // This comes before the query, so that nothing can be put into the queue between the two without a
            // wake-up.
            let woken = shared.wake(self.queue).notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let mut pending: Vec<Request> = Vec::new();
            if !(self.look && self.has_room()) {
                tokio::select! {
                    biased;
                    request = requested.recv() => pending.extend(request),
                    () = &mut woken => self.look = true,
                    _ = &mut dropped => return self.end(requested, None).await,
                    () = sleep_until(self.poll_at) => {
                        if let Err(error) = self.poll().await {
                            return self.end(requested, Some(error)).await;
                        }
                    }
                }
            }
            pending.extend(std::iter::from_fn(|| requested.try_recv().ok()));
            if let Err(error) = self.step(pending).await {
                return self.end(requested, Some(error)).await;
            }
            if woken.as_mut().enable() {
                self.look = true;
            }
            if dropped.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                return self.end(requested, None).await;
            }
        }
    }

    /// Looks with a reading connection, which is enough while there is nothing: the one writing connection is shared
    /// by everybody.
    async fn poll(&mut self) -> Result<(), BrokerError> {
        self.poll_at = Instant::now() + POLL;
        if self.has_room() {
            let queue = self.queue;
            let found = self.shared.db.read(move |conn| rows::any_ready(conn, queue)).await;
            self.look = found.map_err(unavailable)?;
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.held.len() < self.prefetch
    }

    /// In one transaction: acknowledges and requeues what was asked for, renews what is due, and takes what there is
    /// room for. The callers are answered after its commit.
    async fn step(&mut self, pending: Vec<Request>) -> Result<(), BrokerError> {
        let ids = |kind| pending.iter().filter(|r| r.kind == kind).map(|r| r.id).collect::<Vec<i64>>();
        let (acked, requeued) = (ids(Kind::Ack), ids(Kind::Requeue));
        for request in &pending {
            self.held.remove(&request.id);
        }
        let now = self.shared.db.clock().now_ms();
        let mut renewed = Vec::new();
        if now >= self.renew_at {
            self.renew_at = now + RENEW_MS;
            renewed.extend(self.held.iter().copied());
        }
        // Acknowledgements may come so fast that the timer is never reached.
        let look = self.look || self.poll_at <= Instant::now();
        let room = if look { self.prefetch.saturating_sub(self.held.len()) } else { 0 };
        if pending.is_empty() && renewed.is_empty() && room == 0 {
            return Ok(());
        }
        let (queue, holder) = (self.queue, self.holder.clone());
        let work = move |conn: &mut crate::db::Conn| {
            let mut done = rows::delete(conn, &holder, &acked)?;
            done.extend(rows::requeue(conn, &holder, &requeued)?);
            rows::renew(conn, &holder, &renewed)?;
            let taken = match room {
                0 => None,
                room => Some(rows::take(conn, queue, &holder, room)?),
            };
            Ok((done, taken))
        };
        let (done, taken) = match self.shared.db.write(work).await {
            Ok(result) => result,
            Err(error) => {
                let error = unavailable(error);
                // The messages of a failed transaction are still held; they go back at the end.
                self.held.extend(pending.iter().map(|request| request.id));
                answer(pending, |_| Err(error.clone()));
                return Err(error);
            }
        };
        let done: HashSet<i64> = done.into_iter().collect();
        let requeues = pending.iter().any(|request| request.kind == Kind::Requeue);
        answer(pending, |id| if done.contains(&id) { Ok(()) } else { Err(gone()) });
        if let Some(taken) = taken {
            self.look = taken.more;
            self.poll_at = Instant::now() + POLL;
            for delivery in taken.deliveries {
                self.held.insert(i64::try_from(delivery.tag).unwrap_or_default());
                // If nobody receives any more, the end of the task gives it back.
                let _ = self.deliver.send(Ok(delivery));
            }
            if taken.died {
                self.shared.wake(Queue::Dead).notify_waiters();
            }
        }
        if requeues {
            self.look = true;
            self.shared.wake(self.queue).notify_waiters();
        }
        Ok(())
    }

    /// Does what was still asked for, gives back what is held, and tells the caller why the consumer ended, if it
    /// failed.
    async fn end(mut self, mut requested: mpsc::UnboundedReceiver<Request>, failure: Option<BrokerError>) {
        requested.close();
        let pending: Vec<Request> = std::iter::from_fn(|| requested.try_recv().ok()).collect();
        // From here on nothing is taken.
        self.prefetch = 0;
        // `step` answers the callers; nothing more can be done about its failure.
        let _ = self.step(pending).await;
        if let Some(error) = failure {
            let _ = self.deliver.send(Err(error));
        }
        let holder = self.holder.clone();
        // If this fails, the leases end and the messages come again by themselves.
        if let Err(error) = self.shared.db.write(move |conn| rows::give_back(conn, &holder)).await {
            tracing::warn!(queue = self.queue.suffix(), %error, "messages come again when their lease ends");
        }
        self.shared.wake(self.queue).notify_waiters();
    }
}

fn answer(pending: Vec<Request>, result: impl Fn(i64) -> Result<(), BrokerError>) {
    for request in pending {
        // A caller that no longer waits needs no answer.
        let _ = request.answer.send(result(request.id));
    }
}
