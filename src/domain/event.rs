//! What the world is told about a job.

use uuid::Uuid;

use crate::domain::ids::{JobId, PrincipalId, SecretId};
use crate::domain::job::{Counts, FailReason, JobState};
use crate::domain::permission::{PrincipalKind, RejectReason};

/// How many rejections an event carries; the rest is read over HTTP.
pub const REJECTIONS_IN_EVENT: usize = 100;

/// The events of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A job of more than one chunk has begun.
    Accepted,
    /// Some of its pairs are done.
    Progress,
    /// It ended as `completed` or `completed_with_rejections`.
    Completed,
    Failed,
    Cancelled,
}

impl EventKind {
    /// The terminal event of a state; `None` while it has not ended.
    #[must_use]
    pub fn terminal(state: JobState) -> Option<Self> {
        match state {
            JobState::Completed | JobState::CompletedWithRejections => Some(Self::Completed),
            JobState::Failed => Some(Self::Failed),
            JobState::Cancelled => Some(Self::Cancelled),
            JobState::Queued | JobState::Running | JobState::Retrying => None,
        }
    }

    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Accepted | Self::Progress)
    }
}

/// Whose pairs were rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    Secret(SecretId),
    Recipient(PrincipalKind, PrincipalId),
}

/// One line of the report on what was not shared. Ordered: secrets by id, then recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    pub subject: Subject,
    /// The first reason that fits.
    pub reason: RejectReason,
    /// How many pairs it cost; 0 for a recipient whose pairs all count for rejected secrets.
    pub pairs: u64,
}

/// A job as events, HTTP and the command line show it. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSnapshot {
    pub job_id: JobId,
    pub run: i32,
    pub requested_by: PrincipalId,
    pub state: JobState,
    pub reason: Option<FailReason>,
    /// N, of the request without duplicates; `None` until "all" is resolved.
    pub secrets: Option<u64>,
    /// M, likewise; `None` where the request cannot be read.
    pub recipients: Option<u64>,
    /// N x M; `None` until "all" is resolved.
    pub pairs: Option<u64>,
    pub counts: Counts,
    /// The first [`REJECTIONS_IN_EVENT`]; empty where a listing does not need them.
    pub rejections: Vec<Rejection>,
    pub rejections_total: u64,
    /// Failures in this run: 0 for a job that never failed.
    pub attempts: u32,
    pub requested_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    /// Why it waits for another try, and until when; `None` while it does not.
    pub retry: Option<Retry>,
}

/// What a `retrying` job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// In the database's words: for operators, never for the requester.
    pub last_error: String,
    pub next_attempt_at: Option<i64>,
}

/// The id of an event: the same however often it is published. `part` tells progress events of one
/// run apart.
#[must_use]
pub fn event_id(job: JobId, run: i32, kind: EventKind, part: &str) -> Uuid {
    let name = match kind {
        EventKind::Accepted => format!("accepted/{run}"),
        EventKind::Progress => format!("progress/{run}/{part}"),
        EventKind::Completed | EventKind::Failed | EventKind::Cancelled => format!("terminal/{run}"),
    };
    Uuid::new_v5(&job.uuid(), name.as_bytes())
}
