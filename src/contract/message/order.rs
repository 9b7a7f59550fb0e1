//! Orders about a job that is there, `batchshare.cancel.requested.v1` and `batchshare.undo.requested.v1`.

use serde::Deserialize;

use crate::contract::json::invalid::Unread;
use crate::contract::json::read::document;
use crate::contract::json::value::Checked;
use crate::domain::{JobId, OrderId, OrderKind, PrincipalId};

/// An order to cancel a job or to undo it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The event's `id`. An undo is a job of its own with this id ([`JobId::of_order`]).
    pub id: OrderId,
    pub kind: OrderKind,
    /// The job that the order is about.
    pub job_id: JobId,
    pub requested_by: PrincipalId,
    /// The trace that the publisher put into the event.
    pub traceparent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderData {
    requested_by: Checked<PrincipalId>,
    job_id: Checked<JobId>,
}

/// Reads the `data` of an order: who gives it, and about which job.
pub(in crate::contract) fn order_data(data: &[u8]) -> Result<(PrincipalId, JobId), Unread> {
    let OrderData { requested_by, job_id } = document(data, "data")?;
    Ok((requested_by.0, job_id.0))
}
