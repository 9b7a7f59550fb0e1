//! What a person and their groups received.

use serde::Serialize;

use crate::contract::http::answer::access::{Requester, Through};
use crate::contract::http::answer::time::Time;
use crate::domain::received;
use crate::domain::received::ReceivedState;
use crate::domain::{JobId, Permission, SecretId};

/// A page of what was received, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedPage<Cursor> {
    pub items: Vec<Received>,
    /// What the client sends as `cursor` to read the next page; `None` on the last page.
    pub next_cursor: Option<Cursor>,
    /// How many entries of all pages the person has not seen; 1,000 stands for 1,000 or more.
    pub unseen: i64,
}

/// A batch that the person or one of their groups received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Right after the batch had ended.
    pub at: Time,
    pub id: i64,
    pub job_id: JobId,
    pub note: Option<String>,
    pub permission: Permission,
    /// Of how many secrets access came, or more access than before.
    pub secrets: i32,
    pub seen: bool,
    pub shared_by: Requester,
    pub state: ReceivedState,
    /// The person, or the group that was shared with.
    pub to: Through,
}

/// A secret of a batch that was received. The name is `None` where the reader cannot reach it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedSecret {
    pub id: SecretId,
    pub name: Option<String>,
}

impl From<received::Received> for Received {
    fn from(item: received::Received) -> Self {
        Self {
            at: Time(item.at),
            id: item.id,
            job_id: item.job,
            note: item.note,
            permission: item.permission,
            secrets: item.secrets,
            seen: item.seen,
            shared_by: Requester { id: item.shared_by, name: item.sharer },
            state: item.state,
            to: Through { id: item.to, kind: item.to_kind, name: item.to_name },
        }
    }
}
