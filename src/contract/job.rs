//! A job and its rejections, as events, HTTP and the command line have them.

use serde::Serialize;

use crate::contract::time::rfc3339;
use crate::contract::title::{FirstRecipientBody, FirstSecretBody};
use crate::domain::event::{Rejection, Subject};
use crate::domain::title::Title;
use crate::domain::{
    Counts, EndedBy, FailReason, JobId, JobKind, JobSnapshot, JobState, PrincipalId, PrincipalKind,
    RejectReason, Taken,
};

/// Why a job waits for another try, as everybody is told: the only class of failure that waits. The error itself is
/// in the database's words, which only operators read.
pub const RETRY_REASON: &str = "transient";

/// A job. `R` is what each of its rejections is written as. The fields stand in the order of their names, which is
/// the order in which our documents have them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobBody<R = RejectionBody> {
    /// Failures in this run.
    pub attempts: u32,
    pub counts: CountsBody,
    pub done_pairs: u64,
    /// Who cancelled the job: a person's id, or `"operator"`. It is absent from a job that nobody cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedByBody>,
    pub finished_at: Option<String>,
    /// The first three, where they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_recipients: Option<Vec<FirstRecipientBody>>,
    /// The first three, where they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_secrets: Option<Vec<FirstSecretBody>>,
    pub job_id: JobId,
    /// What the job does: `share`, `undo` or `unshare`.
    pub kind: JobKind,
    /// What a share tells its recipients. It is absent where it tells nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Null until "all" is resolved, as `secrets` is.
    pub pairs: Option<u64>,
    /// The job that an undo takes back, or that left undone what a share does. It is absent from other jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// Null where the job has not failed. An event of such a job has no `reason` at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Option<FailReason>>,
    /// Null where the request cannot be read.
    pub recipients: Option<u64>,
    /// The first of its rejections, where they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejections: Option<Vec<R>>,
    pub rejections_total: u64,
    pub requested_at: String,
    /// Who asked for it, where that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<PrincipalId>,
    /// Only while it waits for another try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryBody>,
    pub run: i32,
    pub secrets: Option<u64>,
    pub started_at: Option<String>,
    pub state: JobState,
    /// The latest undo of this job. It is absent where nobody has asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone_by: Option<JobId>,
}

/// What became of the pairs that are done. Which members there are depends on what the job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CountsBody {
    Share { granted: u64, rejected: u64, unchanged: u64, upgraded: u64 },
    Undo { kept: u64, lowered: u64, rejected: u64, revoked: u64, untouched: u64 },
    Unshare { lowered: u64, rejected: u64, revoked: u64, untouched: u64 },
}

impl CountsBody {
    /// The counts of a job of this kind.
    #[must_use]
    pub fn of(kind: JobKind, counts: Counts, taken: Taken) -> Self {
        let Counts { granted, upgraded, unchanged, rejected } = counts;
        let Taken { revoked, lowered, kept, untouched } = taken;
        match kind {
            JobKind::Share => Self::Share { granted, rejected, unchanged, upgraded },
            JobKind::Undo => Self::Undo { kept, lowered, rejected, revoked, untouched },
            JobKind::Unshare => Self::Unshare { lowered, rejected, revoked, untouched },
        }
    }
}

/// Who ended a job by hand: a person's id, or the text `operator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EndedByBody {
    Person(PrincipalId),
    Operator(&'static str),
}

impl From<EndedBy> for EndedByBody {
    fn from(by: EndedBy) -> Self {
        match by {
            EndedBy::Person(id) => Self::Person(id),
            EndedBy::Operator => Self::Operator("operator"),
        }
    }
}

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetryBody {
    /// What its last try failed of, in the database's words: for operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    pub next_attempt_at: Option<String>,
    pub reason: &'static str,
}

impl JobBody {
    /// A job without its rejections, and without who asked for it.
    #[must_use]
    pub fn of(job: &JobSnapshot) -> Self {
        Self::new(job, None)
    }
}

impl<R> JobBody<R> {
    /// A job with these of its rejections, and with who asked for it.
    #[must_use]
    pub fn with_rejections(job: &JobSnapshot, rejections: Vec<R>) -> Self {
        Self { requested_by: Some(job.requested_by), ..Self::new(job, Some(rejections)) }
    }

    /// The same with the first of its recipients and secrets. Without a title nothing is told of them.
    #[must_use]
    pub fn titled(self, title: Option<Title>) -> Self {
        let (first_recipients, first_secrets) = title.map(firsts).unzip();
        Self { first_recipients, first_secrets, ..self }
    }

    fn new(job: &JobSnapshot, rejections: Option<Vec<R>>) -> Self {
        let retry = job.retry.as_ref().map(|retry| RetryBody {
            last_error: None,
            next_attempt_at: retry.next_attempt_at.map(rfc3339),
            reason: RETRY_REASON,
        });
        Self {
            attempts: job.attempts,
            counts: CountsBody::of(job.kind, job.counts, job.taken),
            done_pairs: job.done(),
            ended_by: job.ended_by.map(EndedByBody::from),
            finished_at: job.finished_at.map(rfc3339),
            first_recipients: None,
            first_secrets: None,
            job_id: job.job_id,
            kind: job.kind,
            note: job.note.clone(),
            pairs: job.pairs,
            parent: job.parent,
            reason: Some(job.reason),
            recipients: job.recipients,
            rejections,
            rejections_total: job.rejections_total,
            requested_at: rfc3339(job.requested_at),
            requested_by: None,
            retry,
            run: job.run,
            secrets: job.secrets,
            started_at: job.started_at.map(rfc3339),
            state: job.state,
            undone_by: job.undone_by,
        }
    }
}

/// A title as jobs and notices have it.
#[must_use]
pub(super) fn firsts(title: Title) -> (Vec<FirstRecipientBody>, Vec<FirstSecretBody>) {
    let recipients = title.recipients.into_iter().map(FirstRecipientBody::from).collect();
    (recipients, title.secrets.into_iter().map(FirstSecretBody::from).collect())
}

/// A rejection as an event carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RejectionBody {
    pub id: i64,
    /// `secret` or `recipient`.
    pub kind: &'static str,
    pub reason: RejectReason,
    /// Of a recipient only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_kind: Option<PrincipalKind>,
}

impl From<&Rejection> for RejectionBody {
    fn from(rejection: &Rejection) -> Self {
        let (kind, id, recipient_kind) = match rejection.subject {
            Subject::Secret(id) => ("secret", id.get(), None),
            Subject::Recipient(kind, id) => ("recipient", id.get(), Some(kind)),
        };
        Self { id, kind, reason: rejection.reason, recipient_kind }
    }
}
