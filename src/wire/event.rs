//! The events of a job: what is told to the world, and what the notifier reads of it.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::SOURCE;
use super::fields::{Fields, Invalid};
use crate::domain::event::{EventKind, Rejection, Subject, event_id};
use crate::domain::{JobId, JobSnapshot, PrincipalId};

/// The CloudEvents `type` of an event.
#[must_use]
pub fn event_type(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Accepted => "batchshare.job.accepted.v1",
        EventKind::Progress => "batchshare.job.progress.v1",
        EventKind::Completed => "batchshare.job.completed.v1",
        EventKind::Failed => "batchshare.job.failed.v1",
        EventKind::Cancelled => "batchshare.job.cancelled.v1",
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
    let mut data = job_json(job);
    data["requested_by"] = job.requested_by.get().into();
    data["rejections"] = job.rejections.iter().map(rejection_json).collect();
    if job.reason.is_none()
        && let Some(fields) = data.as_object_mut()
    {
        fields.remove("reason");
    }
    let event = json!({
        "specversion": "1.0",
        "id": id,
        "source": SOURCE,
        "type": event_type(kind),
        "subject": job.job_id,
        "time": rfc3339(now_ms),
        "datacontenttype": "application/json",
        "traceparent": traceparent,
        "data": data,
    });
    (id, event.to_string().into_bytes())
}

/// Why a job waits for another try, to the world: the only class of failure that does. The error itself
/// is in the database's words, and only operators read those.
pub const RETRY_REASON: &str = "transient";

/// A job as HTTP shows it; events add `requested_by` and `rejections`. `retry` is there only while the
/// job waits for another try.
#[must_use]
pub fn job_json(job: &JobSnapshot) -> Value {
    let mut value = json!({
        "job_id": job.job_id,
        "run": job.run,
        "state": job.state,
        "secrets": job.secrets,
        "recipients": job.recipients,
        "pairs": job.pairs,
        "done_pairs": job.counts.done(),
        "counts": job.counts,
        "rejections_total": job.rejections_total,
        "attempts": job.attempts,
        "reason": job.reason,
        "requested_at": rfc3339(job.requested_at),
        "started_at": job.started_at.map(rfc3339),
        "finished_at": job.finished_at.map(rfc3339),
    });
    if let Some(retry) = &job.retry {
        value["retry"] = json!({
            "reason": RETRY_REASON,
            "next_attempt_at": retry.next_attempt_at.map(rfc3339),
        });
    }
    value
}

/// A rejection as an event carries it.
#[must_use]
pub fn rejection_json(rejection: &Rejection) -> Value {
    match rejection.subject {
        Subject::Secret(id) => json!({"kind": "secret", "id": id, "reason": rejection.reason}),
        Subject::Recipient(kind, id) => {
            json!({"kind": "recipient", "recipient_kind": kind, "id": id, "reason": rejection.reason})
        }
    }
}

/// What a reader of our own events needs: which job, which run, which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    pub kind: EventKind,
    pub job_id: JobId,
    pub run: i32,
    pub requested_by: PrincipalId,
}

/// Reads one of our events.
///
/// # Errors
/// The field that is wrong.
pub fn decode_event(body: &[u8]) -> Result<JobEvent, Invalid> {
    let value: Value = serde_json::from_slice(body).map_err(|_| Invalid::new("the event", "is not JSON"))?;
    let event = Fields::of(&value, "")?;
    let name = event.required_text("type")?;
    let kinds = [
        EventKind::Accepted,
        EventKind::Progress,
        EventKind::Completed,
        EventKind::Failed,
        EventKind::Cancelled,
    ];
    let kind = kinds
        .into_iter()
        .find(|kind| event_type(*kind) == name)
        .ok_or_else(|| Invalid::new("type", "is not an event of a job"))?;
    let data = event.object("data")?;
    let job_id =
        data.required_text("job_id")?.parse().map_err(|()| Invalid::new("data.job_id", "must be a UUID"))?;
    let run = data
        .required("run")?
        .as_i64()
        .and_then(|run| i32::try_from(run).ok())
        .ok_or_else(|| Invalid::new("data.run", "must be a run's number"))?;
    Ok(JobEvent { kind, job_id, run, requested_by: data.id("requested_by")? })
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}
