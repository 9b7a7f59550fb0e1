//! What a worker needs of the configuration.

use std::time::Duration;

use crate::config::Settings;
use crate::store::{BeginOptions, DueOptions, LaneOptions};

/// How long an order waits for its job. A share that is still on its way comes in seconds, and behind a backlog or an
/// outage in minutes.
const ORDER_PATIENCE: Duration = Duration::from_secs(600);

/// What a worker needs of the configuration.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    pub begin: BeginOptions,
    pub due: DueOptions,
    /// How long one step works on a lane before it lets others have their turn.
    pub slice: Duration,
    pub due_interval: Duration,
    pub retry_delays: Vec<Duration>,
    /// The RabbitMQ users that may publish requests. Where it is empty, all may.
    pub allowed_publishers: Vec<String>,
    pub prefetch: u16,
    /// How often the worker checks that RabbitMQ moves dead letters. Zero means never.
    pub check_interval: Duration,
    /// How long an order that came by message waits for its job.
    pub order_patience: Duration,
    /// How many requests are begun in one transaction at most.
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
            order_patience: ORDER_PATIENCE,
            together: w.together,
            request_concurrency: w.request_concurrency,
            step_concurrency: w.step_concurrency,
        }
    }
}
