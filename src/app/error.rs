//! Why the program ends, or does not start.

use std::path::PathBuf;

use crate::broker::BrokerError;
use crate::config::ConfigError;
use crate::db::{DbError, Target};
use crate::files::FileError;
use crate::store::ImportError;
use crate::vault::VaultError;

/// Why the program ends at once. `Display` is one line that says what to do. It has the text of the source in it,
/// because that line is all that a person reads.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key of the settings cannot be used.
    #[error(transparent)]
    Key(#[from] VaultError),
    #[error("cannot listen on {listen}: {source}; choose another address with {key}")]
    Listen { listen: String, source: std::io::Error, key: &'static str },
    #[error(
        "the database {target} is older than this program (missing: {missing}); run `batchshare migrate` first"
    )]
    OldDatabase { target: Target, missing: String },
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the database's file {0}")]
    DatabaseFile(#[source] FileError),
    #[error("the lock file {0}")]
    LockFile(#[source] FileError),
    #[error(
        "{path} is in use by another batchshare (process {holder}); stop it, or set database.url to another file"
    )]
    Locked { path: PathBuf, holder: String },
    #[error("demo data: {0}")]
    DemoData(#[source] ImportError),
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] std::io::Error),
    #[error(
        "the database file was removed or replaced while batchshare was running, so it ended: what it wrote from then on \
         nobody would find"
    )]
    FileGone,
    /// A bug: a role runs until it is told to stop.
    #[error("the {0} ended by itself; what it had in hand comes again")]
    Ended(&'static str),
}
