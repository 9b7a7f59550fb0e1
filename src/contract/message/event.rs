//! The events of a job: what is told to the world, and what the notifier reads of it.

use serde::Deserialize;

use crate::contract::job::{JobBody, RejectionBody};
use crate::contract::json::invalid::Invalid;
use crate::contract::json::read::document;
use crate::contract::json::value::Checked;
use crate::contract::message::envelope::{Envelope, own};
use crate::contract::message::names::DATA_CONTENT_TYPE;
use crate::contract::message::written::Written;
use crate::contract::time::rfc3339;
use crate::domain::event::{EventKind, event_id};
use crate::domain::{JobId, JobKind, JobSnapshot, PrincipalId};

/// The CloudEvents `type` of an event of such a job.
#[must_use]
pub fn event_type(of: JobKind, kind: EventKind) -> &'static str {
    match (of, kind) {
        (JobKind::Share, EventKind::Accepted) => "batchshare.job.accepted.v1",
        (JobKind::Share, EventKind::Progress) => "batchshare.job.progress.v1",
        (JobKind::Share, EventKind::Completed) => "batchshare.job.completed.v1",
        (JobKind::Share, EventKind::Failed) => "batchshare.job.failed.v1",
        (JobKind::Share, EventKind::Cancelled) => "batchshare.job.cancelled.v1",
        (JobKind::Undo, EventKind::Accepted) => "batchshare.undo.accepted.v1",
        (JobKind::Undo, EventKind::Progress) => "batchshare.undo.progress.v1",
        (JobKind::Undo, EventKind::Completed) => "batchshare.undo.completed.v1",
        (JobKind::Undo, EventKind::Failed) => "batchshare.undo.failed.v1",
        (JobKind::Undo, EventKind::Cancelled) => "batchshare.undo.cancelled.v1",
        (JobKind::Unshare, EventKind::Accepted) => "batchshare.unshare.accepted.v1",
        (JobKind::Unshare, EventKind::Progress) => "batchshare.unshare.progress.v1",
        (JobKind::Unshare, EventKind::Completed) => "batchshare.unshare.completed.v1",
        (JobKind::Unshare, EventKind::Failed) => "batchshare.unshare.failed.v1",
        (JobKind::Unshare, EventKind::Cancelled) => "batchshare.unshare.cancelled.v1",
    }
}

/// Writes an event. Returns its id, which is the message's too, and the body.
#[must_use]
pub fn encode_event(
    kind: EventKind,
    job: &JobSnapshot,
    part: &str,
    traceparent: &str,
    now_ms: i64,
) -> (String, Vec<u8>) {
    let id = event_id(job.job_id, job.run, kind, part).hyphenated().to_string();
    let rejections: Vec<RejectionBody> = job.rejections.iter().map(RejectionBody::from).collect();
    let data = JobBody { reason: job.reason.map(Some), ..JobBody::with_rejections(job, rejections) };
    let event = Written {
        datacontenttype: Some(DATA_CONTENT_TYPE),
        subject: Some(job.job_id),
        time: Some(rfc3339(now_ms)),
        ..Written::new(&id, event_type(job.kind, kind), traceparent, data)
    };
    let body = event.bytes();
    (id, body)
}

/// What a reader of our own events needs: which job, which run, which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// What its job does.
    pub of: JobKind,
    pub kind: EventKind,
    pub job_id: JobId,
    pub run: i32,
    pub requested_by: PrincipalId,
}

/// The part of an event's data that is read. All other fields are read over, also those that a newer release adds.
#[derive(Deserialize)]
struct EventData {
    job_id: Checked<JobId>,
    run: Checked<i32>,
    requested_by: Checked<PrincipalId>,
}

/// Reads one of our events.
///
/// # Errors
/// Which field is wrong.
pub fn decode_event(body: &[u8]) -> Result<JobEvent, Invalid> {
    const WHAT: &str = "the event";
    let mut event = own(Envelope::read(body), WHAT)?;
    let name = event.required("type")?;
    let events = JobKind::ALL.iter().flat_map(|of| EventKind::ALL.iter().map(|kind| (*of, *kind)));
    let (of, kind) = events
        .into_iter()
        .find(|(of, kind)| event_type(*of, *kind) == name)
        .ok_or_else(|| Invalid::new("type", "is not an event of a job"))?;
    let data: EventData = own(document(event.data()?.bytes(), "data"), WHAT)?;
    Ok(JobEvent { of, kind, job_id: data.job_id.0, run: data.run.0, requested_by: data.requested_by.0 })
}
