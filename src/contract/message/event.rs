//! The events of a job: what is told to the world, and what the notifier reads of it.

use serde::de::MapAccess;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::contract::SOURCE;
use crate::contract::json::invalid::{Invalid, Unread};
use crate::contract::json::kinds::{JOB_ID, Number, id};
use crate::contract::json::read::{Member, Object, Once, Place};
use crate::contract::message::envelope::Envelope;
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
    let mut event = own(Envelope::read(body), "the event")?;
    let name = event.required("type")?;
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
    let (job_id, run, requested_by) = own(event.data()?.read::<EventData, _>(), "the event")?;
    Ok(JobEvent { kind, job_id, run, requested_by })
}

/// Of our own messages, those that are no JSON have no place that anybody looks for.
pub(in crate::contract) fn own<T>(read: Result<T, Unread>, what: &str) -> Result<T, Invalid> {
    read.map_err(|error| match error {
        Unread::Invalid(invalid) => invalid,
        Unread::NotJson { .. } => Invalid::new(what, "is not JSON"),
    })
}

/// What is read of an event. A newer release may say more.
#[derive(Default)]
struct EventData {
    job_id: Once<JobId>,
    run: Once<i32>,
    requested_by: Once<PrincipalId>,
}

impl<'de> Object<'de> for EventData {
    type Read = (JobId, i32, PrincipalId);

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "job_id" => member.read(JOB_ID, &mut self.job_id),
            "run" => member.read(Number("must be a run's number"), &mut self.run),
            "requested_by" => member.read(id(), &mut self.requested_by),
            _ => member.skip(),
        }
    }

    fn whole(self, place: &Place<'_>) -> Result<Self::Read, Invalid> {
        let job_id = self.job_id.required(place, "job_id")?;
        let run = self.run.required(place, "run")?;
        Ok((job_id, run, self.requested_by.required(place, "requested_by")?))
    }
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}
