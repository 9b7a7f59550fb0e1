//! The words of the audit: what is recorded of people and operators, and who did it.

use crate::domain::event::EndedBy;
use crate::domain::ids::PrincipalId;
use crate::domain::names::names;

/// What was done. The names are kept in the database and shown by `audit list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditAction {
    JobCancelled,
    JobUndone,
    /// What a job left undone is shared by another.
    RestShared,
    /// Somebody took one grant back by hand.
    GrantRevoked,
    /// The client secret of a secret was given to somebody.
    SecretRead,
    SecretChanged,
    /// The secret was disabled, and perhaps changed otherwise, too.
    SecretDisabled,
    /// The secret was enabled, and perhaps changed otherwise, too.
    SecretEnabled,
    SignInRefused,
    DeadLetterReplayed,
    DeadLetterDiscarded,
    ImportDone,
}

names!(AuditAction {
    JobCancelled = "job_cancelled",
    JobUndone = "job_undone",
    RestShared = "rest_shared",
    GrantRevoked = "grant_revoked",
    SecretRead = "secret_read",
    SecretChanged = "secret_changed",
    SecretDisabled = "secret_disabled",
    SecretEnabled = "secret_enabled",
    SignInRefused = "sign_in_refused",
    DeadLetterReplayed = "dead_letter_replayed",
    DeadLetterDiscarded = "dead_letter_discarded",
    ImportDone = "import_done",
});

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    Person(PrincipalId),
    /// Whoever uses the command line of the installation.
    Operator,
    /// Nobody is known: nobody was signed in, or the program did it by itself.
    Nobody,
}

impl Actor {
    /// The number that stands for it in the database: 0 is the operator, and `None` is nobody.
    #[must_use]
    pub fn code(self) -> Option<i64> {
        match self {
            Self::Person(id) => Some(id.get()),
            Self::Operator => Some(0),
            Self::Nobody => None,
        }
    }

    /// Reads [`Actor::code`] back.
    ///
    /// # Errors
    /// The number cannot be anybody's.
    pub fn from_code(code: Option<i64>) -> Result<Self, String> {
        match code {
            None => Ok(Self::Nobody),
            Some(0) => Ok(Self::Operator),
            Some(id) => PrincipalId::try_from(id).map(Self::Person),
        }
    }
}

impl From<PrincipalId> for Actor {
    fn from(id: PrincipalId) -> Self {
        Self::Person(id)
    }
}

impl From<EndedBy> for Actor {
    fn from(by: EndedBy) -> Self {
        match by {
            EndedBy::Person(id) => Self::Person(id),
            EndedBy::Operator => Self::Operator,
        }
    }
}
