//! A job, as its requester sees it.

use serde::Serialize;

use crate::contract::RETRY_REASON;
use crate::contract::http::answer::time::Time;
use crate::domain::{self, FailReason, JobId, JobSnapshot, JobState};

/// A job in a listing, alone, or in the event stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// How often this run has failed: 0 for a job that never failed.
    pub attempts: u32,
    pub counts: Counts,
    pub done_pairs: u64,
    pub finished_at: Option<Time>,
    pub job_id: JobId,
    /// `None` until the secrets of a request for "all" are known.
    pub pairs: Option<u64>,
    pub reason: Option<FailReason>,
    pub recipients: Option<u64>,
    pub rejections_total: u64,
    pub requested_at: Time,
    /// This member is absent, rather than null, while the job does not wait for another try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    pub run: i32,
    pub secrets: Option<u64>,
    pub started_at: Option<Time>,
    pub state: JobState,
}

/// What a job waits for before it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retry {
    pub next_attempt_at: Option<Time>,
    /// The class of the failure. Its own words are the database's, and only operators read those.
    pub reason: &'static str,
}

/// What became of the pairs that are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub granted: u64,
    pub rejected: u64,
    pub unchanged: u64,
    pub upgraded: u64,
}

impl From<domain::Counts> for Counts {
    fn from(counts: domain::Counts) -> Self {
        let domain::Counts { granted, upgraded, unchanged, rejected } = counts;
        Self { granted, rejected, unchanged, upgraded }
    }
}

impl From<&JobSnapshot> for Job {
    fn from(job: &JobSnapshot) -> Self {
        Self {
            attempts: job.attempts,
            counts: job.counts.into(),
            done_pairs: job.counts.done(),
            finished_at: job.finished_at.map(Time),
            job_id: job.job_id,
            pairs: job.pairs,
            reason: job.reason,
            recipients: job.recipients,
            rejections_total: job.rejections_total,
            requested_at: Time(job.requested_at),
            retry: job.retry.as_ref().map(|retry| Retry {
                next_attempt_at: retry.next_attempt_at.map(Time),
                reason: RETRY_REASON,
            }),
            run: job.run,
            secrets: job.secrets,
            started_at: job.started_at.map(Time),
            state: job.state,
        }
    }
}
