//! The worker: takes requests and steps, applies grants, records what became of them.
//!
//! The path of one request is handle.rs, that of a large job's lane is lane.rs; read them top to
//! bottom. Dead letters are in dead.rs, the timer of retries in due.rs.

mod aside;
mod checks;
mod dead;
mod due;
mod handle;
mod lane;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::broker::{Broker, Queue};
use crate::config::Settings;
use crate::consume::{Deliveries, Handler as _, Outage, Takes, take};
use crate::db::DbError;
use crate::shutdown::Stop;
use crate::store::{BeginOptions, DueOptions, LaneOptions, Store};

/// What a worker needs of the configuration.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    pub begin: BeginOptions,
    pub due: DueOptions,
    pub slice: Duration,
    pub due_interval: Duration,
    pub retry_delays: Vec<Duration>,
    /// RabbitMQ users that may publish requests; empty: all.
    pub allowed_publishers: Vec<String>,
    pub prefetch: u16,
    /// How often the moving of dead letters is checked; zero is never.
    pub check_interval: Duration,
    /// Requests begun together at most.
    pub together: usize,
    pub request_concurrency: usize,
    pub step_concurrency: usize,
}

impl WorkerOptions {
    #[must_use]
    pub fn from_settings(settings: &Settings) -> Self {
        let w = &settings.worker;
        let lane = LaneOptions { chunk_pairs: w.chunk_pairs, lease: Duration::from_millis(w.lane_lease_ms) };
        Self {
            begin: BeginOptions {
                limits: settings.limits(),
                chunk_pairs: w.chunk_pairs,
                lanes: settings.lanes(),
                lane,
            },
            due: DueOptions {
                longest_lease: Duration::from_millis(w.lane_lease_max_ms),
                unbegun_patience: Duration::from_millis(w.unbegun_patience_ms),
            },
            slice: Duration::from_millis(w.slice_ms),
            due_interval: Duration::from_millis(w.due_interval_ms),
            retry_delays: w.retry_delays_ms.iter().copied().map(Duration::from_millis).collect(),
            allowed_publishers: w.allowed_publishers.clone(),
            prefetch: settings.broker.prefetch,
            check_interval: match settings.is_embedded() {
                true => Duration::ZERO,
                false => Duration::from_millis(settings.broker.check_interval_ms),
            },
            together: w.together,
            request_concurrency: w.request_concurrency,
            step_concurrency: w.step_concurrency,
        }
    }
}

/// What every handler of a worker shares.
pub struct Worker {
    store: Store,
    broker: Broker,
    options: WorkerOptions,
    stop: Stop,
}

impl Worker {
    #[must_use]
    pub fn new(store: Store, broker: Broker, options: WorkerOptions, stop: Stop) -> Arc<Self> {
        Arc::new(Self { store, broker, options, stop })
    }

    /// Handles messages of a queue that workers take. What is acknowledged after it, and when, is
    /// the caller's.
    ///
    /// # Errors
    /// A server is away: the messages are not done with.
    pub async fn handle(self: Arc<Self>, queue: Queue, taken: Deliveries) -> Result<(), Outage> {
        match queue {
            Queue::Jobs => Arc::new(handle::Requests(self)).handle(taken).await,
            Queue::Steps => Arc::new(lane::Steps(self)).handle(taken).await,
            Queue::Dead => Arc::new(dead::DeadLetters(self)).handle(taken).await,
            Queue::Notices => Ok(()),
        }
    }
}

/// Works until `stop`; then finishes the work in hand and returns. Returns before only if a part of it
/// ended by a bug: alone, the others would look well.
pub async fn run(store: Store, broker: Broker, options: WorkerOptions, stop: Stop) {
    let (db, metrics) = (store.db().clone(), store.metrics().clone());
    let takes = |queue, concurrency| Takes { queue, prefetch: options.prefetch, concurrency, together: 1 };
    let requests = Takes { together: options.together, ..takes(Queue::Jobs, options.request_concurrency) };
    // Steps are few and long: what one worker holds and cannot start yet, another could.
    let steps = Takes {
        prefetch: u16::try_from(options.step_concurrency).unwrap_or(u16::MAX),
        ..takes(Queue::Steps, options.step_concurrency)
    };
    // One in hand: a dead letter may be as large as the broker takes, and nothing else bounds what is held.
    let dead = Takes { prefetch: 1, ..takes(Queue::Dead, 1) };
    let check_interval = options.check_interval;
    let worker = Worker::new(store, broker.clone(), options, stop.clone());
    let mut tasks = JoinSet::new();
    let requester = Arc::new(handle::Requests(Arc::clone(&worker)));
    tasks.spawn(take(broker.clone(), db.clone(), metrics.clone(), requests, requester, stop.clone()));
    let stepper = Arc::new(lane::Steps(Arc::clone(&worker)));
    tasks.spawn(take(broker.clone(), db.clone(), metrics.clone(), steps, stepper, stop.clone()));
    let burier = Arc::new(dead::DeadLetters(Arc::clone(&worker)));
    tasks.spawn(take(broker, db, metrics, dead, burier, stop.clone()));
    if !check_interval.is_zero() {
        tasks.spawn(checks::run(Arc::clone(&worker), check_interval, stop.clone()));
    }
    tasks.spawn(due::run(worker, stop.clone()));
    while tasks.join_next().await.is_some() && stop.is_set() {}
}

/// A failure while recording: the message comes again, and with it another chance to record.
fn not_recorded(error: DbError) -> Outage {
    error.into()
}
