//! The report of a job, pair by pair: what each pair asked for, what became of it and why, and what it has now.

use serde::Serialize;

use crate::domain::ids::SecretId;
use crate::domain::names::names;
use crate::domain::outcome::PairOutcome;
use crate::domain::permission::{Permission, RejectReason};
use crate::domain::share::Recipient;
use crate::domain::undo_outcome::UndoOutcome;
use crate::domain::unshare::TakeOutcome;

/// What became of one pair of a job of any kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PairResult {
    Granted,
    Upgraded,
    Unchanged,
    Revoked,
    Lowered,
    Kept,
    Untouched,
    Rejected,
    /// The job has not come to the pair. If the job has ended, it never did.
    NotReached,
    /// The job did something with the pair, and it was not recorded what: a program of an older release worked on it.
    NotRecorded,
}

names!(PairResult {
    Granted = "granted",
    Upgraded = "upgraded",
    Unchanged = "unchanged",
    Revoked = "revoked",
    Lowered = "lowered",
    Kept = "kept",
    Untouched = "untouched",
    Rejected = "rejected",
    NotReached = "not_reached",
    NotRecorded = "not_recorded",
});

impl From<PairOutcome> for PairResult {
    fn from(outcome: PairOutcome) -> Self {
        match outcome {
            PairOutcome::Granted => Self::Granted,
            PairOutcome::Upgraded => Self::Upgraded,
            PairOutcome::Unchanged => Self::Unchanged,
            PairOutcome::Rejected => Self::Rejected,
        }
    }
}

impl From<TakeOutcome> for PairResult {
    fn from(outcome: TakeOutcome) -> Self {
        match outcome {
            TakeOutcome::Revoked => Self::Revoked,
            TakeOutcome::Lowered => Self::Lowered,
            TakeOutcome::Untouched => Self::Untouched,
            TakeOutcome::Rejected => Self::Rejected,
        }
    }
}

impl From<UndoOutcome> for PairResult {
    fn from(outcome: UndoOutcome) -> Self {
        match outcome {
            UndoOutcome::Revoked => Self::Revoked,
            UndoOutcome::Lowered => Self::Lowered,
            UndoOutcome::Untouched => Self::Untouched,
            UndoOutcome::Kept => Self::Kept,
        }
    }
}

/// What a recipient has of a secret of its own, apart from what it has through groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holding {
    Nothing,
    View,
    Edit,
    Owner,
}

names!(Holding { Nothing = "nothing", View = "view", Edit = "edit", Owner = "owner" });

impl From<Permission> for Holding {
    fn from(permission: Permission) -> Self {
        match permission {
            Permission::View => Self::View,
            Permission::Edit => Self::Edit,
        }
    }
}

/// A recipient of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRecipient {
    pub recipient: Recipient,
    /// `None` if the reader may not know of it, or nobody has this id and kind.
    pub name: Option<String>,
}

/// A secret of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSecret {
    pub id: SecretId,
    /// `None` if the reader cannot reach it, or there is no such secret.
    pub name: Option<String>,
}

/// What the report says of a pair besides its secret and its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportPair {
    pub result: PairResult,
    /// Why it was rejected, if it was.
    pub reason: Option<RejectReason>,
    /// `None` if the reader cannot reach the secret, or there is no such secret.
    pub now: Option<Holding>,
}

/// A part of the report: some secrets with all recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportPart {
    pub secrets: Vec<ReportSecret>,
    /// Secret by secret, and for each the recipients of the report in their order. `None` for a pair that the job is not
    /// about: a job that shares what another left undone is no rectangle.
    pub pairs: Vec<Option<ReportPair>>,
}
