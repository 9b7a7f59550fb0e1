//! Checks that RabbitMQ moves dead letters. It can stop doing so for one queue, for good and without an error.
//!
//! Now and then, one worker of all sends a check through each queue that workers take. The consumer that gets the check
//! rejects it before any handler sees it. RabbitMQ makes it a dead letter, and the worker that finds it there notes it
//! and drops it. If a check was rejected and does not come, the log says so once a minute, and so do a gauge and the
//! worker's `/readyz`. Publishers cannot make use of checks, because one that no worker asked for is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::{BrokerError, Delivery, Outgoing, Queue, topology};
use crate::db::DbError;
use crate::shutdown::Stop;

use crate::worker::state::Worker;

/// The queues that are checked. The queue of notices is not: a check through it would be an event for all listeners.
const QUEUES: [Queue; 2] = [Queue::Jobs, Queue::Steps];
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What one worker has logged, and when.
#[derive(Default)]
struct Told {
    at: Option<Instant>,
    stuck: Vec<String>,
}

/// Checks until `stop`.
pub(super) async fn run(worker: Arc<Worker>, every: Duration, stop: Stop) {
    let tick = (every / 3).clamp(Duration::from_millis(100), Duration::from_secs(5));
    let mut told = Told::default();
    while stop.sleep(tick).await {
        match worker.check(every).await {
            Ok(stuck) => told.tell(stuck),
            // The consumers log an outage.
            Err(error) => tracing::debug!(%error, "could not check the dead letters"),
        }
    }
}

impl Told {
    fn tell(&mut self, stuck: Vec<String>) {
        let is_due = self.at.is_none_or(|at| at.elapsed() >= TELL_EVERY) || self.stuck != stuck;
        if !stuck.is_empty() && is_due {
            tracing::warn!(
                queues = stuck.join(", "),
                "RabbitMQ moves no dead letters out of a queue: see docs/operations.md, \"Dead letters that do not come\""
            );
            self.at = Some(Instant::now());
        }
        if stuck.is_empty() && !self.stuck.is_empty() {
            tracing::info!("RabbitMQ moves dead letters again");
            self.at = None;
        }
        self.stuck = stuck;
    }
}

impl Worker {
    /// Notes the checks that were taken and sends those that are due. Returns the names of queues that are stuck.
    async fn check(&self, every: Duration) -> Result<Vec<String>, DbError> {
        for id in self.broker.checks_taken() {
            self.store.check_taken(id).await?;
        }
        for queue in QUEUES {
            let id = format!("{}{}/{}", topology::CHECK_ID, queue.suffix(), uuid::Uuid::new_v4());
            if self.store.ask_check(queue.suffix(), id.clone(), every).await?
                && !matches!(self.broker.publish(&[message(queue, id.clone())]).await[..], [Ok(())])
            {
                self.store.forget_check(id).await?;
            }
        }
        let mut found = self.store.checks(every * 2).await?;
        // Behind many dead letters a check is only late. If the queue's length is not known, nothing is said.
        if !found.late.is_empty() && self.nothing_is_dead().await.unwrap_or(false) {
            for queue in &found.late {
                self.store.check_stuck(queue.clone()).await?;
            }
            found.stuck.append(&mut found.late);
        }
        let is_stuck = |queue: Queue| found.stuck.iter().any(|stuck| stuck == queue.suffix());
        let metrics = self.store.metrics();
        for queue in QUEUES {
            metrics.stuck(queue.suffix(), is_stuck(queue));
        }
        Ok(QUEUES
            .into_iter()
            .filter(|queue| is_stuck(*queue))
            .map(|queue| metrics.full_name(queue.suffix()))
            .collect())
    }

    async fn nothing_is_dead(&self) -> Result<bool, BrokerError> {
        Ok(self.broker.depth(Queue::Dead).await? == 0)
    }

    /// Whether a dead letter is only a check. If it is, it is noted here, and nothing else is to be done with it.
    pub(super) async fn is_check(&self, delivery: &Delivery) -> Result<bool, DbError> {
        let Some(id) = delivery.check_id() else { return Ok(false) };
        self.store.check_seen(id.to_owned()).await?;
        Ok(true)
    }
}

fn message(queue: Queue, id: String) -> Outgoing {
    let (exchange, key) = queue.bindings()[0];
    Outgoing {
        exchange,
        routing_key: key.to_owned(),
        message_id: id,
        kind: "batchshare.check".to_owned(),
        traceparent: None,
        mandatory: true,
        timestamp: 0,
        headers: Vec::new(),
        body: topology::CHECK_BODY.to_vec(),
    }
}
