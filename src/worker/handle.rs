//! The path of one request: decode, begin, and what each outcome means.

use std::sync::Arc;

use tracing::Instrument as _;

use crate::broker::topology::HEADER_TRACEPARENT;
use crate::broker::{Delivery, Queue};
use crate::domain::DeadReason;
use crate::store::{Begun, Recorded};
use crate::take::{Handler, Outage};
use crate::wire::{self, JobRequested};

use super::{Worker, in_place, not_recorded, outage_or_words};

/// Handles the queue of requests.
pub(super) struct Requests(pub(super) Arc<Worker>);

impl Handler for Requests {
    async fn handle(self: Arc<Self>, delivery: Delivery) -> Result<(), Outage> {
        let worker = &self.0;
        if !worker.may_publish(&delivery) {
            let detail = "the publisher's user_id is not in worker.allowed_publishers";
            return worker.bury(Queue::Jobs, &delivery, DeadReason::PublisherNotAllowed, detail).await;
        }
        let limit = worker.options.begin.limits.message_bytes;
        let mut asked = match wire::decode_request(&delivery.body, limit) {
            Ok(asked) => asked,
            Err(poison) => return worker.bury(Queue::Jobs, &delivery, poison.reason, &poison.detail).await,
        };
        // The trace of the event counts; a header is the next best.
        let given = asked.traceparent.take().or_else(|| trace_of(&delivery));
        let trace = given.unwrap_or_else(wire::new_traceparent);
        asked.traceparent = Some(trace.clone());
        let span = tracing::info_span!("request", job_id = %asked.job_id, traceparent = trace);
        worker.request(asked, delivery).instrument(span).await
    }
}

fn trace_of(delivery: &Delivery) -> Option<String> {
    let header = delivery.headers.iter().find(|(name, _)| name == HEADER_TRACEPARENT);
    header.map(|(_, value)| value.clone()).filter(|value| wire::is_traceparent(value))
}

impl Worker {
    /// Whether the broker says that somebody allowed published it.
    fn may_publish(&self, delivery: &Delivery) -> bool {
        let allowed = &self.options.allowed_publishers;
        allowed.is_empty() || self.broker.is_from(delivery, allowed)
    }

    async fn request(&self, asked: JobRequested, delivery: Delivery) -> Result<(), Outage> {
        let begun = in_place(|| self.store.begin(asked.clone(), self.options.begin.clone())).await;
        match begun {
            Ok(Begun::Ended(job)) => {
                tracing::info!(state = %job.state, pairs = job.pairs, done = job.counts.done(), "job ended");
            }
            Ok(Begun::Started(job)) => tracing::info!(pairs = job.pairs, "job started in lanes"),
            Ok(Begun::AlreadyBegun | Begun::Waiting) => tracing::debug!("delivered again, nothing to do"),
            Ok(Begun::Conflict) => return self.conflict(&delivery).await,
            Err(error) => {
                let words = outage_or_words(&error)?;
                let delays = self.options.retry_delays.clone();
                let recorded = self
                    .store
                    .request_failed(asked, delivery.body.clone(), words.clone(), delays)
                    .await
                    .map_err(not_recorded)?;
                if recorded == Recorded::Conflict {
                    return self.conflict(&delivery).await;
                }
                log_failure(recorded, &words);
            }
        }
        Ok(())
    }

    async fn conflict(&self, delivery: &Delivery) -> Result<(), Outage> {
        let detail = "a job of this id was asked for with other content";
        self.bury(Queue::Jobs, delivery, DeadReason::IdConflict, detail).await
    }
}

/// One line for a failure that was recorded.
pub(super) fn log_failure(recorded: Recorded, error: &str) {
    match recorded {
        Recorded::Retry { attempt, after } => {
            tracing::warn!(error, attempt, retry_in_ms = after.as_millis(), "failed, tried again later");
        }
        Recorded::Exhausted => tracing::error!(error, "failed for the last time: the job has failed"),
        Recorded::SomebodyElse | Recorded::Conflict => {
            tracing::debug!(error, "failed, and somebody else got on with it")
        }
    }
}
