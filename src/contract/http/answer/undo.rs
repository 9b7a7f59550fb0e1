//! What an undo would do.

use serde::Serialize;

use crate::domain::Taken;

/// What the undo of a job would do now, in pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct UndoPreview {
    /// False if there was no time to look at all pairs: each count may be higher then.
    pub exact: bool,
    pub kept: u64,
    pub lowered: u64,
    pub rejected: u64,
    pub revoked: u64,
    pub untouched: u64,
    /// How many of the secrets had their value read since the job began, by somebody else than their owner or the job's
    /// requester.
    pub values_read: u64,
}

impl UndoPreview {
    /// The counts of an undo in pairs and of values in secrets, as `exact` as they are.
    #[must_use]
    pub fn of(taken: Taken, rejected: u64, values_read: u64, exact: bool) -> Self {
        let Taken { revoked, lowered, kept, untouched } = taken;
        Self { exact, kept, lowered, rejected, revoked, untouched, values_read }
    }
}
