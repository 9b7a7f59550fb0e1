//! Why some pairs of a job were not shared.

use serde::Serialize;

use crate::domain::{PrincipalKind, RejectReason};

/// What was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionKind {
    Secret,
    Recipient,
}

/// A secret or a recipient whose pairs were rejected. The names are `None` where the reader may not know them: the
/// ids came from the request and may be a guess.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    pub email: Option<String>,
    pub id: i64,
    pub kind: RejectionKind,
    pub name: Option<String>,
    /// How many pairs it cost.
    pub pairs: u64,
    pub reason: RejectReason,
    /// `None` for a secret.
    pub recipient_kind: Option<PrincipalKind>,
    pub username: Option<String>,
}
