//! What a requester is told when a job has ended.

use serde::Serialize;

use crate::contract::http::answer::time::Time;
use crate::contract::job::CountsBody;
use crate::domain::{FailReason, JobId, JobState};

/// The job as it had ended, and whether its requester has put the notice away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    pub counts: CountsBody,
    pub created_at: Time,
    pub dismissed_at: Option<Time>,
    pub done_pairs: u64,
    pub id: i64,
    pub job_id: JobId,
    pub pairs: Option<u64>,
    pub reason: Option<FailReason>,
    /// `None` where the request could not be read, as are `secrets` and `pairs`.
    pub recipients: Option<i32>,
    pub rejections_total: u64,
    pub run: i32,
    pub secrets: Option<i32>,
    pub state: JobState,
}
