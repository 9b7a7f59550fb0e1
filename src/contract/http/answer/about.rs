//! What a job is about: each of its recipients and secrets, with what became of its pairs.

use serde::Serialize;

use crate::contract::http::answer::access::Access;
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

/// A person who still has access to a secret of a job that took access away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessLeft {
    pub access: Access,
    pub secret: JobSecretName,
    pub user: JobUserName,
}

/// A secret by name; `None` where the reader may not know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobSecretName {
    pub id: SecretId,
    pub name: Option<String>,
}

/// A person by name; the names are `None` where nobody has the id any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobUserName {
    pub id: PrincipalId,
    pub name: Option<String>,
    pub username: Option<String>,
}
