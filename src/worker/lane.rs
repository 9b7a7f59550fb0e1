//! The path of a step: its lane is worked on for a slice of time, chunk by chunk. Then the next step is sent, which
//! goes to the end of the queue, so that other jobs have their turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument as _;

use crate::broker::{Delivery, Queue};
use crate::consume::bury::Burial;
use crate::consume::{Deliveries, Handler, Outage, in_place, outage_or_own, outage_or_words};
use crate::contract;
use crate::contract::Step;
use crate::db::DbError;
use crate::domain::DeadReason;
use crate::store::{ChunkDone, LaneFound, LaneWork, Recorded};

use crate::worker::ends::{log_ended, log_failure};
use crate::worker::state::Worker;

/// Handles the queue of steps.
pub(super) struct Steps(pub(super) Arc<Worker>);

impl Handler for Steps {
    async fn handle(self: Arc<Self>, taken: Deliveries) -> Result<(), Outage> {
        for delivery in taken.iter() {
            self.0.step(delivery).await?;
        }
        Ok(())
    }
}

impl Worker {
    async fn step(&self, delivery: &Delivery) -> Result<(), Outage> {
        let step = match contract::decode_step(&delivery.body) {
            Ok(step) => step,
            Err(error) => {
                let (reason, detail) = (DeadReason::InvalidField, error.to_string());
                return self.bury(Queue::Steps, &[Burial { delivery, reason, detail, job: None }]).await;
            }
        };
        let span = tracing::info_span!(
            "step",
            job_id = %step.job_id,
            lane = step.lane,
            turn = step.turn,
            traceparent = delivery.traceparent()
        );
        self.lane(step, delivery).instrument(span).await
    }

    async fn lane(&self, step: Step, delivery: &Delivery) -> Result<(), Outage> {
        match in_place(|| self.store.lane(step.clone(), self.options.begin.lane)).await {
            Ok(LaneFound::Stale) => Ok(()),
            Ok(LaneFound::Work(work)) => self.slice(*work, delivery).await,
            Err(error) => {
                let words = outage_or_words(error)?;
                let delays = self.options.retry_delays.clone();
                let recorded =
                    self.store.step_failed(step, delivery.body.clone(), words.clone(), delays).await;
                log_recorded(recorded, &words)
            }
        }
    }

    /// Works on a lane for a slice of time. Only the last chunk of the slice sends the next step, so that a lane
    /// never has two steps. After a crash, the same step is delivered again and goes on at the lane's position.
    async fn slice(&self, mut work: LaneWork, delivery: &Delivery) -> Result<(), Outage> {
        let began = Instant::now();
        let mut longest = Duration::ZERO;
        loop {
            let chunk_began = Instant::now();
            let last = began.elapsed() + longest >= self.options.slice || self.stop.is_set();
            let done = in_place(|| self.store.chunk(work.clone(), last, self.options.begin.lane)).await;
            longest = longest.max(chunk_began.elapsed());
            match done {
                Ok(ChunkDone::Moved { stepped: true, .. } | ChunkDone::SomebodyElse) => return Ok(()),
                Ok(ChunkDone::Moved { next, .. }) => work = *next,
                Ok(ChunkDone::LaneEnded) => {
                    tracing::debug!("lane ended");
                    return Ok(());
                }
                Ok(ChunkDone::JobEnded(job)) => {
                    log_ended(&job);
                    return Ok(());
                }
                Ok(ChunkDone::RequesterNotValid) => match self.store.requester_lost(work.clone()).await {
                    Ok(false) => {}
                    Ok(true) => {
                        tracing::warn!("the requester may not share any more: the job has failed");
                        return Ok(());
                    }
                    Err(error) => return left_to_due_work(error),
                },
                Err(error) => {
                    let words = outage_or_words(error)?;
                    let delays = self.options.retry_delays.clone();
                    let recorded =
                        self.store.lane_failed(work, delivery.body.clone(), words.clone(), delays).await;
                    return log_recorded(recorded, &words);
                }
            }
        }
    }
}

/// Logs a failure that was recorded. One that could not be is left to due work.
fn log_recorded(recorded: Result<Recorded, DbError>, error: &str) -> Result<(), Outage> {
    match recorded {
        Ok(recorded) => {
            log_failure(recorded, error);
            Ok(())
        }
        Err(error) => left_to_due_work(error),
    }
}

/// Acknowledges a step whose failure cannot be recorded. The lane's row stays due. Due work leaves it alone while
/// somebody holds it, and sends a step when nobody does.
fn left_to_due_work(error: DbError) -> Result<(), Outage> {
    let error = outage_or_own(error)?;
    tracing::warn!(%error, "the failure of a lane cannot be recorded; due work wakes it again");
    Ok(())
}
