//! What a person may do with a secret, and why.

use serde::Serialize;

use crate::contract::http::answer::time::Time;
use crate::domain::access::{self, Inactive, Way};
use crate::domain::{JobId, Permission, PrincipalId, PrincipalKind, Reach};

/// The most that one of the active ways gives, and every way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Access {
    /// The active ways come first, and those that give more before those that give less.
    pub because: Vec<Because>,
    /// `none`, `view`, `edit` or `owner`.
    pub effective: &'static str,
}

/// One way on which a person comes to a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Because {
    /// Other jobs that asked for this access and found it there already, the latest first.
    pub also_asked_by: Vec<AlsoAsked>,
    /// Why this way gives nothing now; `None` where it does.
    pub inactive: Option<Inactive>,
    pub jobs: GivenBy,
    /// `view`, `edit` or `owner`.
    pub permission: &'static str,
    pub principal: Through,
    /// Since when this way gives what it gives; `None` for the owner.
    pub since: Option<Time>,
    pub way: Way,
}

/// The person, or the group that they are a member of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Through {
    pub id: PrincipalId,
    pub kind: PrincipalKind,
    /// `None` where the reader may not know of the group.
    pub name: Option<String>,
}

/// The jobs that gave a grant. They are `None` where no job is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GivenBy {
    pub edit: Option<Asking>,
    pub view: Option<Asking>,
}

/// A job, as the one who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asking {
    pub job_id: JobId,
    pub note: Option<String>,
    pub requested_at: Time,
    pub requested_by: Requester,
}

/// A job that asked for access that was there already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlsoAsked {
    pub job_id: JobId,
    pub note: Option<String>,
    /// What stays, at least, as long as this job is not undone.
    pub permission: Permission,
    pub requested_at: Time,
    pub requested_by: Requester,
}

/// Who asked. The name is `None` where nobody has the id any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requester {
    pub id: PrincipalId,
    pub name: Option<String>,
}

impl From<access::Access> for Access {
    fn from(access: access::Access) -> Self {
        Self {
            because: access.because.into_iter().map(Because::from).collect(),
            effective: access.effective.map_or("none", Reach::as_str),
        }
    }
}

impl From<access::Because> for Because {
    fn from(way: access::Because) -> Self {
        Self {
            also_asked_by: way.also_asked_by.into_iter().map(AlsoAsked::from).collect(),
            inactive: way.inactive,
            jobs: GivenBy { edit: way.edit.map(Asking::from), view: way.view.map(Asking::from) },
            permission: way.reach.as_str(),
            principal: Through { id: way.principal, kind: way.kind, name: way.name },
            since: way.since.map(Time),
            way: way.way,
        }
    }
}

impl From<access::Asking> for Asking {
    fn from(asking: access::Asking) -> Self {
        Self {
            job_id: asking.job,
            note: asking.note,
            requested_at: Time(asking.requested_at),
            requested_by: Requester { id: asking.requested_by, name: asking.requester },
        }
    }
}

impl From<access::AlsoAsked> for AlsoAsked {
    fn from(also: access::AlsoAsked) -> Self {
        let Asking { job_id, note, requested_at, requested_by } = also.asking.into();
        Self { job_id, note, permission: also.permission, requested_at, requested_by }
    }
}
