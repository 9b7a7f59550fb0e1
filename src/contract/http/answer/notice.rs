//! What a requester is told when a job has ended.

use serde::Serialize;

use crate::contract::http::answer::time::Time;
use crate::contract::job::{CountsBody, firsts};
use crate::contract::title::{FirstRecipientBody, FirstSecretBody};
use crate::domain::title::Title;
use crate::domain::{FailReason, JobId, JobKind, JobState};

/// The job as it had ended, and whether its requester has put the notice away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    pub counts: CountsBody,
    pub created_at: Time,
    pub dismissed_at: Option<Time>,
    pub done_pairs: u64,
    /// The first three, where they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_recipients: Option<Vec<FirstRecipientBody>>,
    /// The first three, where they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_secrets: Option<Vec<FirstSecretBody>>,
    pub id: i64,
    pub job_id: JobId,
    /// What the job did: `share`, `undo` or `unshare`.
    pub kind: JobKind,
    /// What the share told its recipients. It is absent where it told nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub pairs: Option<u64>,
    /// The job that an undo took back. It is absent from other notices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    pub reason: Option<FailReason>,
    /// `None` where the request could not be read, as are `secrets` and `pairs`.
    pub recipients: Option<i32>,
    pub rejections_total: u64,
    pub run: i32,
    pub secrets: Option<i32>,
    pub state: JobState,
    /// The latest undo of the job. It is absent where nobody has asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone_by: Option<JobId>,
}

impl Notice {
    /// The same with the first of its job's recipients and secrets. Without a title nothing is told of them.
    #[must_use]
    pub fn titled(self, title: Option<Title>) -> Self {
        let (first_recipients, first_secrets) = title.map(firsts).unzip();
        Self { first_recipients, first_secrets, ..self }
    }
}
