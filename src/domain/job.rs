//! The states of a job and what moves it between them, the outcomes of its pairs, and the reasons for failures.

use serde::Serialize;

use crate::domain::names::names;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// It gives access.
    #[default]
    Share,
    /// It takes back what another job gave and nobody else has asked for since.
    Undo,
    /// It takes access away, whoever gave it.
    Unshare,
}

names!(JobKind { Share = "share", Undo = "undo", Unshare = "unshare" });

/// Where a job stands. `Retrying` is never stored: it is shown for a job that has not ended, while one of its parts
/// waits for another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Retrying,
    Completed,
    CompletedWithRejections,
    Failed,
    Cancelled,
}

names!(JobState {
    Queued = "queued",
    Running = "running",
    Retrying = "retrying",
    Completed = "completed",
    CompletedWithRejections = "completed_with_rejections",
    Failed = "failed",
    Cancelled = "cancelled",
});

/// Why a job failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailReason {
    /// The requester does not exist, is not active or has no account.
    RequesterNotValid,
    /// At the end, every pair was rejected.
    NothingToShare,
    LimitExceeded,
    InvalidRequest,
    AttemptsExhausted,
    /// The job to undo gave nothing, or every pair of the undo was rejected.
    NothingToUndo,
    /// Every pair that was to be taken away was rejected.
    NothingToUnshare,
    /// The job to undo has not ended.
    JobNotEnded,
    /// The job to undo is undone, or is being undone.
    AlreadyUndone,
    /// Only a share can be undone.
    NotUndoable,
}

names!(FailReason {
    RequesterNotValid = "requester_not_valid",
    NothingToShare = "nothing_to_share",
    LimitExceeded = "limit_exceeded",
    InvalidRequest = "invalid_request",
    AttemptsExhausted = "attempts_exhausted",
    NothingToUndo = "nothing_to_undo",
    NothingToUnshare = "nothing_to_unshare",
    JobNotEnded = "job_not_ended",
    AlreadyUndone = "already_undone",
    NotUndoable = "not_undoable",
});

/// Why a message is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    NotJson,
    NotCloudevent,
    UnknownVersion,
    UnknownType,
    InvalidField,
    TooLarge,
    PublisherNotAllowed,
    IdConflict,
    AttemptsExhausted,
    /// The broker gave up delivering it.
    DeliveryLimit,
    /// It waited in its queue for longer than its sender, or an operator's policy, allows.
    Expired,
    /// An operator's policy limits the length of its queue.
    QueueFull,
    /// A consumer that is not ours took it and threw it away.
    Rejected,
    /// The broker moved it to the dead letters and does not say why.
    Unexplained,
    /// It is about a job that never came.
    UnknownJob,
}

names!(DeadReason {
    NotJson = "not_json",
    NotCloudevent = "not_cloudevent",
    UnknownVersion = "unknown_version",
    UnknownType = "unknown_type",
    InvalidField = "invalid_field",
    TooLarge = "too_large",
    PublisherNotAllowed = "publisher_not_allowed",
    IdConflict = "id_conflict",
    AttemptsExhausted = "attempts_exhausted",
    DeliveryLimit = "delivery_limit",
    Expired = "expired",
    QueueFull = "queue_full",
    Rejected = "rejected",
    Unexplained = "unexplained",
    UnknownJob = "unknown_job",
});

/// What a dead message was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Request,
    Step,
    Event,
    Unknown,
}

names!(Origin { Request = "request", Step = "step", Event = "event", Unknown = "unknown" });

/// What became of a dead letter. Only a kept one can be replayed or discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadState {
    Kept,
    Replayed,
    Discarded,
}

names!(DeadState { Kept = "kept", Replayed = "replayed", Discarded = "discarded" });

/// What became of the pairs that are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// The recipient had no grant of the secret and has one now.
    pub granted: u64,
    /// The recipient could view the secret and may edit it now.
    pub upgraded: u64,
    /// The recipient had at least what was asked already, or owns the secret.
    pub unchanged: u64,
    /// The pair was not shared, for a reason that the report names.
    pub rejected: u64,
}

impl Counts {
    /// How many pairs are done: always the sum of the four.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.granted + self.upgraded + self.unchanged + self.rejected
    }

    /// The pairs for which the recipient now has what was asked.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.granted + self.upgraded + self.unchanged
    }
}

impl std::ops::Add for Counts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            granted: self.granted + other.granted,
            upgraded: self.upgraded + other.upgraded,
            unchanged: self.unchanged + other.unchanged,
            rejected: self.rejected + other.rejected,
        }
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), std::ops::Add::add)
    }
}

/// What became of the done pairs of a job that takes access away. Its rejected pairs are in [`Counts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Taken {
    /// The recipient had a grant of the secret and has none now.
    pub revoked: u64,
    /// The recipient could edit the secret and can only view it now.
    pub lowered: u64,
    /// The recipient keeps what they had, because others gave it or asked for it, too.
    pub kept: u64,
    /// There was nothing to take.
    pub untouched: u64,
}

impl Taken {
    /// How many pairs are done and were not rejected.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.revoked + self.lowered + self.kept + self.untouched
    }
}

impl std::ops::Add for Taken {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            revoked: self.revoked + other.revoked,
            lowered: self.lowered + other.lowered,
            kept: self.kept + other.kept,
            untouched: self.untouched + other.untouched,
        }
    }
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Its lanes are made, and work on it begins.
    Begin,
    /// Every pair is done, with these counts.
    Finish(Counts),
    /// Every pair of a job that takes access away is done, with these counts.
    FinishTaking {
        kind: JobKind,
        taken: Taken,
        rejected: u64,
    },
    Fail(FailReason),
    /// Its requester or an operator stops it. What it did so far stays.
    Cancel,
    /// An operator replays its dead letter. `begun` says that it has lanes, with which it goes on.
    Reopen {
        begun: bool,
    },
}

/// A move that the state does not allow, because the caller had read the row before somebody else changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} cannot do {step:?}")]
pub struct IllegalMove {
    pub from: JobState,
    pub step: Move,
}

impl JobState {
    /// Whether the job has ended. Only an operator's replay moves an ended job.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithRejections | Self::Failed | Self::Cancelled)
    }

    /// The one function that moves a job. Returns the next state, and the reason if the job failed.
    ///
    /// # Errors
    /// Where the state does not allow the move.
    pub fn next(self, step: Move) -> Result<(Self, Option<FailReason>), IllegalMove> {
        match (self, step) {
            (Self::Queued | Self::Retrying, Move::Begin) => Ok((Self::Running, None)),
            (Self::Queued | Self::Running | Self::Retrying, Move::Finish(counts)) => {
                Ok(if counts.shared() == 0 {
                    (Self::Failed, Some(FailReason::NothingToShare))
                } else if counts.rejected > 0 {
                    (Self::CompletedWithRejections, None)
                } else {
                    (Self::Completed, None)
                })
            }
            (Self::Queued | Self::Running | Self::Retrying, Move::FinishTaking { kind, taken, rejected }) => {
                Ok(match (taken.done(), rejected, kind) {
                    (_, 0, _) => (Self::Completed, None),
                    (1.., _, _) => (Self::CompletedWithRejections, None),
                    (0, _, JobKind::Unshare) => (Self::Failed, Some(FailReason::NothingToUnshare)),
                    (0, _, _) => (Self::Failed, Some(FailReason::NothingToUndo)),
                })
            }
            (Self::Queued | Self::Running | Self::Retrying, Move::Cancel) => Ok((Self::Cancelled, None)),
            (Self::Queued | Self::Running | Self::Retrying, Move::Fail(reason)) => {
                Ok((Self::Failed, Some(reason)))
            }
            (Self::Failed, Move::Reopen { begun }) => {
                Ok((if begun { Self::Running } else { Self::Queued }, None))
            }
            (from, step) => Err(IllegalMove { from, step }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_job_is_moved_by_replay_only() {
        for &state in JobState::ALL.iter().filter(|state| state.is_terminal()) {
            for step in [
                Move::Begin,
                Move::Finish(Counts::default()),
                Move::Fail(FailReason::LimitExceeded),
                Move::Cancel,
            ] {
                assert!(state.next(step).is_err(), "{state} {step:?}");
            }
        }
        assert_eq!(JobState::Failed.next(Move::Reopen { begun: false }), Ok((JobState::Queued, None)));
        assert!(JobState::Completed.next(Move::Reopen { begun: true }).is_err());
    }

    #[test]
    fn counts_decide_how_a_job_ends() {
        let end = |granted, unchanged, rejected| {
            JobState::Running.next(Move::Finish(Counts { granted, unchanged, rejected, upgraded: 0 }))
        };
        assert_eq!(end(3, 0, 0), Ok((JobState::Completed, None)));
        assert_eq!(end(0, 3, 0), Ok((JobState::Completed, None)));
        assert_eq!(end(1, 0, 2), Ok((JobState::CompletedWithRejections, None)));
        assert_eq!(end(0, 0, 2), Ok((JobState::Failed, Some(FailReason::NothingToShare))));
    }

    #[test]
    fn a_job_that_takes_away_fails_only_where_all_was_rejected() {
        let end = |kind, revoked, untouched, rejected| {
            let taken = Taken { revoked, untouched, ..Taken::default() };
            JobState::Running.next(Move::FinishTaking { kind, taken, rejected })
        };
        let failed = |reason| Ok((JobState::Failed, Some(reason)));
        assert_eq!(end(JobKind::Undo, 0, 3, 0), Ok((JobState::Completed, None)));
        assert_eq!(end(JobKind::Undo, 1, 0, 2), Ok((JobState::CompletedWithRejections, None)));
        assert_eq!(end(JobKind::Undo, 0, 0, 2), failed(FailReason::NothingToUndo));
        assert_eq!(end(JobKind::Unshare, 0, 0, 2), failed(FailReason::NothingToUnshare));
    }

    #[test]
    fn every_name_reads_back() {
        assert!(JobState::ALL.iter().all(|s| JobState::from_name(s.as_str()) == Some(*s)));
        assert!(FailReason::ALL.iter().all(|s| FailReason::from_name(s.as_str()) == Some(*s)));
        assert!(JobKind::ALL.iter().all(|s| JobKind::from_name(s.as_str()) == Some(*s)));
        assert!(DeadReason::ALL.iter().all(|s| DeadReason::from_name(s.as_str()) == Some(*s)));
    }
}
