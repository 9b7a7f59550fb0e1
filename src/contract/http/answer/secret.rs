//! Secrets in a listing and alone, and who has access to them. The client secret itself has no field here.

use serde::Serialize;

use crate::contract::http::answer::time::Time;
use crate::domain::{JobId, Permission, PrincipalId, PrincipalKind, RejectReason, SecretId};

/// A secret in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretItem {
    pub disabled: bool,
    pub id: SecretId,
    pub identifier: Option<String>,
    pub name: String,
    pub owner: Owner,
    /// What the reader may do with it: `owner`, `edit` or `view`.
    pub permission: &'static str,
    /// Whether the reader may share it now.
    pub shareable: bool,
    pub shared: bool,
    pub tags: Vec<String>,
    pub url: String,
}

/// A secret alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Secret {
    pub client_id: String,
    pub disabled: bool,
    /// Whether there is a client secret. Its value is answered by a request of its own.
    pub has_client_secret: bool,
    pub id: SecretId,
    pub identifier: Option<String>,
    pub method: String,
    pub name: String,
    pub notes: String,
    pub owner: Owner,
    /// What the reader may do with it: `owner`, `edit` or `view`.
    pub permission: &'static str,
    /// Whether the reader may share it now.
    pub shareable: bool,
    pub shared: bool,
    pub tags: Vec<String>,
    pub updated_at: Time,
    pub url: String,
}

/// A secret in the answer of "select all".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Selectable {
    pub id: SecretId,
    /// Why the reader cannot share it; `None` where it is shareable.
    pub reason: Option<RejectReason>,
    pub shareable: bool,
}

/// Whose secret it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub id: PrincipalId,
    pub name: String,
    pub username: Option<String>,
}

/// Somebody who has access by a grant. The names are `None` where the reader may not know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    pub email: Option<String>,
    pub granted_at: Time,
    /// The job that gave access; `None` where access was there before.
    pub job_id: Option<JobId>,
    pub kind: Option<PrincipalKind>,
    pub name: Option<String>,
    pub permission: Permission,
    pub principal_id: PrincipalId,
    pub username: Option<String>,
}

/// The answer for a secret that has no client secret. A value that is there is written by the gateway itself, into
/// memory that is wiped afterwards, and therefore has no struct.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NoClientSecret {
    /// Always null.
    pub client_secret: (),
}
