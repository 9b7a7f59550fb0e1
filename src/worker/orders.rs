//! Orders that came by message: to cancel a job, or to undo it. An order about a job that is not there yet waits, and
//! due work looks for the job again.

use std::sync::Arc;

use futures_util::stream::TryStreamExt as _;
use tracing::{Instrument as _, Span};

use crate::broker::Delivery;
use crate::consume::bury::Burial;
use crate::consume::{Outage, in_place, outage_or_words};
use crate::contract::Order;
use crate::db::{DbError, FailureClass};
use crate::domain::{DeadReason, EndedBy, JobId, OrderKind};
use crate::shutdown::Stop;
use crate::store::{Cancelled, DueOrder, Ordered, Waits};

use crate::worker::ends::log_ended;
use crate::worker::state::{Worker, not_recorded};

/// What is said of an order whose job never came. It is the same where the job is somebody else's, so that nobody
/// learns what exists.
const UNKNOWN: &str = "this person has asked for no job of this id";
/// What is said of an order whose id another job has.
const CONFLICT: &str = "a job of this id was asked for with other content";
/// What is said of an undo that waited in vain for the ledger of an older release's jobs.
const NOT_READY: &str = "nothing can be undone yet, since what the release before did is not recorded";

/// An order, and the message that it came in.
pub(super) struct OrderMessage<'a> {
    pub(super) order: Order,
    pub(super) delivery: &'a Delivery,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carried {
    /// It is carried out, or there is nothing left to do for it.
    Out,
    /// Its job is not there, or is the job of somebody else.
    UnknownJob,
    /// It cannot be carried out yet, although its job is there.
    NotYet,
    /// It can never be carried out, because another job has its id.
    Conflict,
}

/// The span of an order.
fn span(order: &Order) -> Span {
    let trace = order.traceparent.as_deref();
    tracing::info_span!("order", order_id = %order.id, kind = %order.kind, job_id = %order.job_id, traceparent = trace)
}

/// Looks for orders that are due until `stop`. It is a task of its own: orders about a job that somebody holds wait for
/// it, and whoever publishes can send many of them, behind which other due work must not wait.
pub(super) async fn run(worker: Arc<Worker>, stop: Stop) {
    while stop.sleep(worker.options.due_interval).await {
        match worker.settle_orders().await {
            Ok(0) => {}
            Ok(settled) => tracing::info!(settled, "settled orders that had waited"),
            // The consumers log an outage. Orders that were not settled are due again.
            Err(error) if error.class() == FailureClass::Outage => {
                tracing::debug!(%error, "could not look for orders that are due");
            }
            Err(error) => tracing::error!(%error, "could not look at all orders that are due"),
        }
    }
}

impl Worker {
    /// Carries out orders, several at the same time. Returns the messages that have to become dead letters.
    pub(super) async fn carry_out_each<'a>(
        &self,
        orders: Vec<OrderMessage<'a>>,
    ) -> Result<Vec<Burial<'a>>, Outage> {
        let at_once = self.options.request_concurrency.max(1);
        let mut carried = Vec::with_capacity(orders.len());
        for OrderMessage { order, delivery } in orders {
            let span = span(&order);
            carried.push(Ok(self.carry_out_or_wait(order, delivery).instrument(span)));
        }
        let carried = futures_util::stream::iter(carried).try_buffer_unordered(at_once);
        Ok(carried.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// Carries out an order. One that cannot be carried out now waits for due work to try it again. Returns its message
    /// if that has to become a dead letter.
    async fn carry_out_or_wait<'a>(
        &self,
        order: Order,
        delivery: &'a Delivery,
    ) -> Result<Option<Burial<'a>>, Outage> {
        let dead = |reason, detail: &str| Burial { delivery, reason, detail: detail.to_owned(), job: None };
        match in_place(|| self.carry_out(&order)).await {
            Ok(Carried::Out) => return Ok(None),
            Ok(Carried::Conflict) => return Ok(Some(dead(DeadReason::IdConflict, CONFLICT))),
            Ok(Carried::UnknownJob) => tracing::debug!("its job is not there: the order waits"),
            Ok(Carried::NotYet) => tracing::info!("{NOT_READY}: the order waits"),
            Err(error) => {
                let error = outage_or_words(error)?;
                tracing::warn!(error, "failed, tried again later");
            }
        }
        let waits = self.store.order_waits(order, delivery.body.clone()).await.map_err(not_recorded)?;
        Ok(match waits {
            Waits::Yes => None,
            Waits::Conflict => {
                Some(dead(DeadReason::IdConflict, "another order of this id waits for its job"))
            }
            Waits::TooMany => {
                let detail = format!("{UNKNOWN}, and too many orders of theirs wait for their jobs");
                Some(dead(DeadReason::UnknownJob, &detail))
            }
        })
    }

    async fn carry_out(&self, order: &Order) -> Result<Carried, DbError> {
        match order.kind {
            OrderKind::Cancel => {
                let by = EndedBy::Person(order.requested_by);
                match self.store.cancel(order.job_id, by).await? {
                    Cancelled::Done(job) => log_ended(&job),
                    Cancelled::Already(_) => tracing::debug!("delivered again, nothing to do"),
                    Cancelled::Ended(job) => {
                        tracing::info!(state = %job.state, "not cancelled: the job has ended");
                    }
                    Cancelled::NotFound => return Ok(Carried::UnknownJob),
                }
                Ok(Carried::Out)
            }
            OrderKind::Undo => {
                let (undo, trace) = (JobId::of_order(order.id), order.traceparent.clone());
                let begin = self.options.begin.clone();
                let ordered = self.store.order_undo(undo, order.job_id, order.requested_by, trace, begin);
                Ok(match ordered.await? {
                    Ordered::Done => Carried::Out,
                    Ordered::UnknownJob => Carried::UnknownJob,
                    Ordered::Conflict => Carried::Conflict,
                    Ordered::NotReady => Carried::NotYet,
                })
            }
        }
    }

    /// Carries out the orders that wait and whose job has come, several at the same time, and makes dead letters of those
    /// that have waited too long. Returns how many of them are settled.
    ///
    /// # Errors
    /// Where the database fails. Orders that were not settled are due again in a few seconds.
    pub async fn settle_orders(&self) -> Result<usize, DbError> {
        let due = self.store.due_orders(self.options.order_patience).await?;
        let settling: Vec<_> = due
            .into_iter()
            .map(|due| {
                let span = span(&due.order);
                Ok(self.settle(due).instrument(span))
            })
            .collect();
        futures_util::stream::iter(settling)
            .try_buffer_unordered(self.options.request_concurrency.max(1))
            .try_fold(0, async |settled, is_settled| Ok(settled + usize::from(is_settled)))
            .await
    }

    /// Looks at one order that is due. True if it is settled.
    async fn settle(&self, due: DueOrder) -> Result<bool, DbError> {
        // A cancel may wait 2 s for its job, and a worker that stops does not wait for all that are due.
        if self.stop.is_set() {
            return Ok(false);
        }
        let carried = if due.is_there { self.carry_out(&due.order).await } else { Ok(Carried::UnknownJob) };
        let is_last = due.is_last || matches!(carried, Ok(Carried::Conflict));
        let (reason, detail) = match carried {
            Ok(Carried::Out) => {
                self.store.order_done(due).await?;
                return Ok(true);
            }
            Ok(Carried::UnknownJob) => (DeadReason::UnknownJob, UNKNOWN.to_owned()),
            Ok(Carried::NotYet) => (DeadReason::AttemptsExhausted, NOT_READY.to_owned()),
            Ok(Carried::Conflict) => (DeadReason::IdConflict, CONFLICT.to_owned()),
            Err(error) if error.class() == FailureClass::Outage => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "failed, tried again later");
                (DeadReason::AttemptsExhausted, error.to_string())
            }
        };
        if !is_last {
            return Ok(false);
        }
        tracing::warn!(%reason, detail, "dead letter");
        self.store.order_dies(due, reason, detail).await
    }
}
