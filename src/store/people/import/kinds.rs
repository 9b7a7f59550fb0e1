//! What an import is given and what it answers: lines with their numbers, counts, and errors that name the line.

use std::sync::Arc;

use secrecy::SecretString;

use crate::db::DbError;
use crate::domain::SecretId;
use crate::domain::import::ImportLine;

/// Encrypts a client secret: the bytes to keep, and the id of the key.
pub type Sealer = Arc<dyn Fn(SecretId, &SecretString) -> Result<(Vec<u8>, String), String> + Send + Sync>;

/// How many lines of each type were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    pub users: u64,
    pub user_groups: u64,
    pub personal_groups: u64,
    pub secrets: u64,
}

impl Imported {
    /// All lines together.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.users + self.user_groups + self.personal_groups + self.secrets
    }
}

/// Why nothing was imported. `Display` names the line and the field, never a value that may be
/// secret.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("line {line}: {problem}")]
    Line { line: u64, problem: String },
    #[error(
        "line {line}: has a client_secret, and there is no key to encrypt it with: set vault.key_file \
         (`batchshare keygen` prints a key)"
    )]
    NoKey { line: u64 },
    #[error("cannot read line {line}: {error}")]
    Read { line: u64, error: std::io::Error },
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<diesel::result::Error> for ImportError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Db(error.into())
    }
}

impl ImportError {
    pub(in crate::store) fn line(line: u64, problem: impl Into<String>) -> Self {
        Self::Line { line, problem: problem.into() }
    }
}

/// A line that was read, with its number.
pub(in crate::store) type Numbered = Result<(u64, ImportLine), ImportError>;
