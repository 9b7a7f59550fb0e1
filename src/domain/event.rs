//! What the world is told about a job.

use uuid::Uuid;

use crate::domain::ids::{JobId, PrincipalId, SecretId};
use crate::domain::job::{Counts, FailReason, JobKind, JobState, Taken};
use crate::domain::permission::{PrincipalKind, RejectReason};

/// How many rejections an event carries. All of them are read over HTTP.
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
    pub const ALL: &'static [Self] =
        &[Self::Accepted, Self::Progress, Self::Completed, Self::Failed, Self::Cancelled];

    /// The event that tells of a job's end. `None` for a state in which the job has not ended.
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

/// One line of the report on what was not shared. Its order is that of the report: secrets by id, then recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    pub subject: Subject,
    /// The first reason that fits.
    pub reason: RejectReason,
    /// How many pairs were rejected for it. It is 0 for a recipient all of whose pairs count for rejected secrets.
    pub pairs: u64,
}

/// A job as events, HTTP and the command line show it. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSnapshot {
    pub job_id: JobId,
    pub run: i32,
    pub kind: JobKind,
    /// The job that an undo takes back, or that left undone what a share does.
    pub parent: Option<JobId>,
    /// The latest undo of this job.
    pub undone_by: Option<JobId>,
    /// Who cancelled it.
    pub ended_by: Option<EndedBy>,
    pub requested_by: PrincipalId,
    /// What a share tells its recipients.
    pub note: Option<String>,
    pub state: JobState,
    pub reason: Option<FailReason>,
    /// How many secrets the request names, without duplicates. `None` until "all" is resolved.
    pub secrets: Option<u64>,
    /// How many recipients the request names, without duplicates. `None` where the request cannot be read.
    pub recipients: Option<u64>,
    /// Secrets times recipients, or fewer where the job shares what another left undone. `None` until "all" is resolved.
    pub pairs: Option<u64>,
    pub counts: Counts,
    /// What a job did that takes access away. It is nothing in a share.
    pub taken: Taken,
    /// The first [`REJECTIONS_IN_EVENT`] rejections. It is empty in listings, which do not show them.
    pub rejections: Vec<Rejection>,
    pub rejections_total: u64,
    /// Failures in this run: 0 for a job that never failed.
    pub attempts: u32,
    pub requested_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    /// Why the job waits for another try, and until when. `None` while it does not wait.
    pub retry: Option<Retry>,
}

impl JobSnapshot {
    /// How many pairs are done, whatever became of them.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.counts.done() + self.taken.done()
    }
}

/// Who ended a job by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    Person(PrincipalId),
    Operator,
}

/// What a `retrying` job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// What the database said. Operators may read it, the requester never does.
    pub last_error: String,
    pub next_attempt_at: Option<i64>,
}

/// The id of an event. It is the same however often the event is published. `part` tells the progress events of one run
/// apart.
#[must_use]
pub fn event_id(job: JobId, run: i32, kind: EventKind, part: &str) -> Uuid {
    let name = match kind {
        EventKind::Accepted => format!("accepted/{run}"),
        EventKind::Progress => format!("progress/{run}/{part}"),
        EventKind::Completed | EventKind::Failed | EventKind::Cancelled => format!("terminal/{run}"),
    };
    Uuid::new_v5(&job.uuid(), name.as_bytes())
}
