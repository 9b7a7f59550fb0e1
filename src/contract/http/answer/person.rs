//! People: the one who asks, and those whom the demo lets one choose.

use serde::Serialize;

use crate::domain::{PrincipalId, Reach};

/// The person who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Me {
    /// How this server tells people apart: `demo` or `proxy`.
    pub auth_mode: &'static str,
    pub id: PrincipalId,
    pub name: String,
    pub username: String,
}

/// A person who can be chosen in demo mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DemoPerson {
    pub id: PrincipalId,
    pub name: String,
    pub username: String,
}

/// A person who has access to a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    pub email: String,
    pub id: PrincipalId,
    pub name: String,
    /// The most that they may do: `view`, `edit` or `owner`.
    pub permission: &'static str,
    pub username: String,
}

impl Holder {
    /// A person with the most that they may do.
    #[must_use]
    pub fn new(id: PrincipalId, name: String, username: String, email: String, reach: Reach) -> Self {
        Self { email, id, name, permission: reach.as_str(), username }
    }
}
