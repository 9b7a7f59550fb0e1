//! What a job is about: each of its recipients and secrets, with what became of its pairs.

use serde::Serialize;

use crate::contract::job::CountsBody;
use crate::domain::{Permission, PrincipalId, PrincipalKind, SecretId};

/// A recipient of a job. The names are `None` where the reader may not know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobRecipient {
    /// What became of the recipient's pairs so far; `None` where it is not recorded pair by pair.
    pub counts: Option<CountsBody>,
    pub email: Option<String>,
    pub id: PrincipalId,
    pub kind: PrincipalKind,
    pub name: Option<String>,
    /// What was asked for.
    pub permission: Permission,
    pub username: Option<String>,
}

/// A secret of a job. The name is `None` where the reader may not know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobSecret {
    /// What became of the secret's pairs so far; `None` where it is not recorded pair by pair.
    pub counts: Option<CountsBody>,
    pub id: SecretId,
    pub name: Option<String>,
}
