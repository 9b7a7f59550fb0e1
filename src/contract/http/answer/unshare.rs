//! What an unshare would do.

use serde::Serialize;

use crate::domain::Taken;

/// The answer to `POST /unshare-jobs/preview`. The fields stand in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct UnsharePreview {
    /// Whether all pairs were looked at. If not, there was no time for it, and each count may be higher.
    pub exact: bool,
    pub lowered: u64,
    /// Secrets times recipients.
    pub pairs: u64,
    pub recipients: u64,
    pub rejected: u64,
    pub revoked: u64,
    pub secrets: u64,
    pub untouched: u64,
}

impl UnsharePreview {
    /// The counts of an unshare of so many secrets and recipients, as `exact` as they are.
    #[must_use]
    pub fn of(taken: Taken, rejected: u64, secrets: u64, recipients: u64, exact: bool) -> Self {
        let Taken { revoked, lowered, untouched, .. } = taken;
        let pairs = secrets.saturating_mul(recipients);
        Self { exact, lowered, pairs, recipients, rejected, revoked, secrets, untouched }
    }
}
