//! What a job is called: the first of its recipients and of its secrets, by name.

use crate::domain::ids::{PrincipalId, SecretId};
use crate::domain::permission::PrincipalKind;

/// How many recipients, and how many secrets, a title names.
pub const NAMED: usize = 3;

/// The first recipients and secrets of a job, in the order of the job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Title {
    pub recipients: Vec<FirstRecipient>,
    pub secrets: Vec<FirstSecret>,
}

/// One of a job's first recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstRecipient {
    pub id: PrincipalId,
    pub kind: PrincipalKind,
    /// `None` if the reader may not know of it, or nobody has this id and kind.
    pub name: Option<String>,
}

/// One of a job's first secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstSecret {
    pub id: SecretId,
    /// `None` if the reader cannot reach it, or there is no such secret.
    pub name: Option<String>,
}
