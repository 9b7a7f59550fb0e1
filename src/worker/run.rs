//! The parts of a worker, from its start to its stop: which queues it takes, and what handles each.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::broker::{Broker, Queue};
use crate::consume::{Deliveries, Handler as _, Outage, Takes, take};
use crate::shutdown::Stop;
use crate::store::Store;
use crate::worker::dead_letters::DeadLetters;
use crate::worker::handle::Requests;
use crate::worker::lane::Steps;
use crate::worker::options::WorkerOptions;
use crate::worker::state::Worker;
use crate::worker::{checks, due, orders};

impl Worker {
    /// Handles messages of one of the queues that workers take. Acknowledging them afterwards is up to the caller.
    ///
    /// # Errors
    /// Where a server cannot be reached, so that the messages have to be delivered again; and for a queue that no
    /// worker takes, whose messages are not a worker's to acknowledge.
    pub async fn handle(self: Arc<Self>, queue: Queue, taken: Deliveries) -> Result<(), Outage> {
        match queue {
            Queue::Jobs => Arc::new(Requests(self)).handle(taken).await,
            Queue::Steps => Arc::new(Steps(self)).handle(taken).await,
            Queue::Dead => Arc::new(DeadLetters(self)).handle(taken).await,
            Queue::Notices => Err(Outage::NobodysQueue(queue)),
        }
    }
}

/// Works until `stop`, then finishes the work in hand and returns. It returns before that only if one of its parts
/// ended, which is a bug: the others would go on alone, and the worker would look well.
pub async fn run(store: Store, broker: Broker, options: WorkerOptions, stop: Stop) {
    let (db, metrics) = (store.db().clone(), store.metrics().clone());
    let takes = |queue, concurrency| Takes { queue, prefetch: options.prefetch, concurrency, together: 1 };
    let requests = Takes { together: options.together, ..takes(Queue::Jobs, options.request_concurrency) };
    // Steps are few and long. A step that this worker holds and cannot start yet, another worker could have started.
    let steps = Takes {
        prefetch: u16::try_from(options.step_concurrency).unwrap_or(u16::MAX),
        ..takes(Queue::Steps, options.step_concurrency)
    };
    // One at a time: a dead letter may be as large as the broker takes, and nothing else bounds what is held.
    let dead = Takes { prefetch: 1, ..takes(Queue::Dead, 1) };
    let check_interval = options.check_interval;
    let worker = Worker::new(store, broker.clone(), options, stop.clone());
    let mut tasks = JoinSet::new();
    let requester = Arc::new(Requests(Arc::clone(&worker)));
    tasks.spawn(take(broker.clone(), db.clone(), metrics.clone(), requests, requester, stop.clone()));
    let stepper = Arc::new(Steps(Arc::clone(&worker)));
    tasks.spawn(take(broker.clone(), db.clone(), metrics.clone(), steps, stepper, stop.clone()));
    let burier = Arc::new(DeadLetters(Arc::clone(&worker)));
    tasks.spawn(take(broker, db, metrics, dead, burier, stop.clone()));
    if !check_interval.is_zero() {
        tasks.spawn(checks::run(Arc::clone(&worker), check_interval, stop.clone()));
    }
    tasks.spawn(orders::run(Arc::clone(&worker), stop.clone()));
    tasks.spawn(due::run(worker, stop.clone()));
    while tasks.join_next().await.is_some() && stop.is_set() {}
}
