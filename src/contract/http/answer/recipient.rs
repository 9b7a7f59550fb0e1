//! Somebody with whom secrets can be shared, as a search finds them.

use serde::Serialize;

use crate::domain::{PrincipalId, PrincipalKind, RejectReason};

/// A user or a group that the search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipient {
    pub eligible: bool,
    /// Of a user; `None` for a group.
    pub email: Option<String>,
    pub id: PrincipalId,
    pub kind: PrincipalKind,
    pub name: String,
    /// Why nothing can be shared with them; `None` where they are eligible.
    pub reason: Option<RejectReason>,
    /// Of a user; `None` for a group.
    pub username: Option<String>,
}
