//! People: the one who asks, and those whom the demo lets one choose.

use serde::Serialize;

use crate::domain::PrincipalId;

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
