//! The path of a request: it is decoded and begun, and each outcome has its consequence. Small requests that were taken
//! together are begun together.

use std::sync::Arc;

use futures_util::stream::TryStreamExt as _;
use tracing::{Instrument as _, Span};

use crate::broker::{Delivery, Queue};
use crate::consume::bury::Burial;
use crate::consume::{Deliveries, Handler, Outage, in_place, outage_or_words};
use crate::contract;
use crate::contract::{Asked, JobRequested};
use crate::domain::{DeadReason, groups};
use crate::store::{Begun, Recorded};

use crate::worker::ends::{log_ended, log_failure};
use crate::worker::orders::OrderMessage;
use crate::worker::state::Worker;
use crate::worker::structured::structured;

/// Handles the queue of requests.
pub(super) struct Requests(pub(super) Arc<Worker>);

/// A request, the message that it came in, and the span of its job.
struct Request<'a> {
    asked: JobRequested,
    delivery: &'a Delivery,
    span: Span,
}

impl<'a> Request<'a> {
    fn new(asked: JobRequested, delivery: &'a Delivery) -> Self {
        let trace = asked.traceparent.as_deref();
        let span = tracing::info_span!("request", job_id = %asked.job_id, traceparent = trace);
        Self { asked, delivery, span }
    }
}

impl Handler for Requests {
    async fn handle(self: Arc<Self>, taken: Deliveries) -> Result<(), Outage> {
        let worker = &self.0;
        let chunk_pairs = worker.options.begin.chunk_pairs;
        let (mut small, mut others, mut orders, mut dead) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let taken = structured(taken, worker.options.begin.limits.message_bytes);
        for delivery in taken.iter() {
            match worker.read(delivery) {
                Ok(Asked::Share(asked)) => {
                    let request = Request::new(asked, delivery);
                    let is_small = groups::is_small(&request.asked.request, chunk_pairs);
                    if is_small { small.push(request) } else { others.push(request) }
                }
                Ok(Asked::Order(order)) => orders.push(OrderMessage { order, delivery }),
                // An unshare has lanes, however small it is, so it is begun as a large share is.
                Ok(Asked::Unshare(asked)) => others.push(Request::new(asked, delivery)),
                Err(burial) => dead.push(burial),
            }
        }
        for group in groups::groups(small, |small| (small.asked.job_id, &small.asked.request)) {
            // The jobs of a group do not depend on each other, so one that waits for a lock does not hold up the
            // others.
            let left = worker.begin_together(group).await?;
            dead.extend(worker.begin_each(left).await?);
        }
        // Large jobs come after the groups, so that no small one waits for them.
        dead.extend(worker.begin_each(others).await?);
        // Orders come after all jobs, so that each finds a job that came with it.
        dead.extend(worker.carry_out_each(orders).await?);
        // This comes last. Where something before it fails, all messages are delivered again: beginning a job a second
        // time does nothing, and burying a message a second time would make two letters.
        worker.bury(Queue::Jobs, &dead).await
    }
}

fn trace_of(delivery: &Delivery) -> Option<String> {
    delivery.traceparent().filter(|value| contract::is_traceparent(value)).map(ToOwned::to_owned)
}

impl Worker {
    /// Whether the broker says that somebody published the message who is allowed to.
    pub(super) fn may_publish(&self, delivery: &Delivery) -> bool {
        let allowed = &self.options.allowed_publishers;
        allowed.is_empty() || self.broker.is_from(delivery, allowed)
    }

    /// Reads what a message asks for, and gives it a trace.
    fn read<'a>(&self, delivery: &'a Delivery) -> Result<Asked, Burial<'a>> {
        if !self.may_publish(delivery) {
            let detail = "the publisher's user_id is not in worker.allowed_publishers".to_owned();
            return Err(Burial { delivery, reason: DeadReason::PublisherNotAllowed, detail, job: None });
        }
        let limit = self.options.begin.limits.message_bytes;
        let mut asked = contract::decode_asked(&delivery.body, limit).map_err(|poison| Burial {
            delivery,
            reason: poison.reason,
            detail: poison.detail,
            job: poison.job_id,
        })?;
        // The trace in the event counts more than the one in a header.
        let trace = asked.traceparent_mut();
        let given = trace.take().or_else(|| trace_of(delivery));
        *trace = Some(given.unwrap_or_else(contract::new_traceparent));
        Ok(asked)
    }

    /// Begins small jobs in one transaction. Returns those that have to be begun by themselves: the unusual ones, and
    /// all of them if the transaction failed, because it may have failed because of one of them.
    async fn begin_together<'a>(&self, group: Vec<Request<'a>>) -> Result<Vec<Request<'a>>, Outage> {
        let asked = group.iter().map(|request| request.asked.clone()).collect();
        match self.store.begin(asked, self.options.begin.clone()).await {
            Ok(begun) => {
                let mut left = Vec::new();
                for (request, begun) in group.into_iter().zip(begun) {
                    match begun {
                        // Its answer is a dead letter: that is told where it is begun by itself.
                        Some(Begun::Conflict) | None => left.push(request),
                        Some(begun) => request.span.in_scope(|| log_begun(&begun)),
                    }
                }
                Ok(left)
            }
            Err(error) => {
                let words = outage_or_words(error)?;
                tracing::debug!(error = words, jobs = group.len(), "each is begun by itself");
                Ok(group)
            }
        }
    }

    /// Begins each request by itself, several at the same time. Returns the messages that have to become dead letters.
    async fn begin_each<'a>(&self, requests: Vec<Request<'a>>) -> Result<Vec<Burial<'a>>, Outage> {
        let at_once = self.options.request_concurrency.max(1);
        let mut begun = Vec::with_capacity(requests.len());
        for request in requests {
            begun.push(Ok(self.begin(request)));
        }
        let begun = futures_util::stream::iter(begun).try_buffer_unordered(at_once);
        Ok(begun.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// Begins a job. Returns its message if that has to become a dead letter.
    async fn begin<'a>(&self, request: Request<'a>) -> Result<Option<Burial<'a>>, Outage> {
        let span = request.span.clone();
        self.begin_alone(request).instrument(span).await
    }

    async fn begin_alone<'a>(
        &self,
        Request { asked, delivery, .. }: Request<'a>,
    ) -> Result<Option<Burial<'a>>, Outage> {
        match in_place(|| self.store.begin_one(asked.clone(), self.options.begin.clone())).await {
            Ok(Begun::Conflict) => Ok(Some(conflict(delivery))),
            Ok(begun) => {
                log_begun(&begun);
                Ok(None)
            }
            Err(error) => {
                let words = outage_or_words(error)?;
                let delays = self.options.retry_delays.clone();
                let record =
                    self.store.request_failed(asked.clone(), delivery.body.clone(), words.clone(), delays);
                match record.await {
                    Ok(Recorded::Conflict) => Ok(Some(conflict(delivery))),
                    Ok(recorded) => {
                        log_failure(recorded, &words);
                        Ok(None)
                    }
                    Err(error) => self.put_aside(&asked, delivery, error).await,
                }
            }
        }
    }
}

fn conflict(delivery: &Delivery) -> Burial<'_> {
    let detail = "a job of this id was asked for with other content".to_owned();
    Burial { delivery, reason: DeadReason::IdConflict, detail, job: None }
}

/// Logs what became of a request.
fn log_begun(begun: &Begun) {
    match begun {
        Begun::Ended(job) => log_ended(job),
        Begun::Started(job) => tracing::info!(pairs = job.pairs, "job started in lanes"),
        Begun::AlreadyBegun | Begun::Waiting => tracing::debug!("delivered again, nothing to do"),
        Begun::Conflict => {}
    }
}
