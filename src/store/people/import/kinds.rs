//! The types of an import: its lines with their numbers, its counts, and its errors, which name the line.

use std::sync::Arc;

use secrecy::SecretString;

use crate::db::DbError;
use crate::domain::SecretId;
use crate::domain::import::ImportLine;

/// Encrypts the client secret of a secret. Returns the bytes to keep and the id of the key, or the reason why it
/// failed.
pub type Sealer = Arc<dyn Fn(SecretId, &SecretString) -> Result<(Vec<u8>, String), String> + Send + Sync>;

/// The number of lines of each type that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    pub users: u64,
    pub user_groups: u64,
    pub personal_groups: u64,
    pub secrets: u64,
}

impl Imported {
    /// The number of lines of all types together.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.users + self.user_groups + self.personal_groups + self.secrets
    }
}

/// Why an import failed. Nothing was imported then. `Display` names the line and the field, but never a value that
/// may be secret.
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
    /// An error that this line is to blame for.
    pub(in crate::store) fn line(line: u64, problem: impl Into<String>) -> Self {
        Self::Line { line, problem: problem.into() }
    }
}

/// A line that was read, with its number in the file, which starts at 1.
pub(in crate::store) type Numbered = Result<(u64, ImportLine), ImportError>;
