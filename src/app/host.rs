//! What a process looks after on its host: the files of an embedded database, and who else could be anybody.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::AppError;
use crate::app::demo;
use crate::config::{AuthMode, Settings};
use crate::db::Target;
use crate::files;
use crate::files::{FileError, Identity};
use crate::shutdown::Stop;
use crate::store::Store;

/// The task that ends where the database's file is gone.
pub(super) const FILE_WATCH: &str = "watch over the database file";

fn refused(error: FileError) -> AppError {
    AppError::Other(format!("the database's file {error}"))
}

/// Looks at the files of an embedded database, and holds its lock: one process has the roles. The lock's name is the
/// one that the file has from the root on, so that it is the same whichever way leads there.
///
/// # Errors
/// A file that is not as it must be, or another process that has the lock.
pub fn lock(target: &Target, embedded: bool) -> Result<Option<File>, AppError> {
    let Target::Sqlite { path } = target else { return Ok(None) };
    files::check_database(path, true).map_err(refused)?;
    if embedded { lock_file(path).map(Some) } else { Ok(None) }
}

/// Holds the lock of a database's file, whatever is there.
///
/// # Errors
/// Another process has it, or it cannot be made.
pub fn lock_file(path: &Path) -> Result<File, AppError> {
    let lock_path = files::one_name(path).map(|name| files::beside(&name, ".lock")).map_err(refused)?;
    let lock = |error: FileError| AppError::Other(format!("the lock file {error}"));
    let failed = |source| lock(FileError::Io { path: lock_path.clone(), source });
    let mut file = files::open_or_create(&lock_path).map_err(lock)?;
    if file.try_lock().is_err() {
        let holder = std::fs::read_to_string(&lock_path).unwrap_or_default();
        return Err(AppError::Locked { path: path.to_owned(), holder: holder.trim().to_owned() });
    }
    file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(file)
}

/// The file of a SQLite database, to be watched from now on.
pub(super) struct Watched {
    path: PathBuf,
    opened: Option<Identity>,
}

impl Watched {
    /// None of PostgreSQL. The database is open.
    pub(super) fn new(target: &Target) -> Option<Self> {
        let Target::Sqlite { path } = target else { return None };
        Some(Self { path: path.clone(), opened: Identity::of(path) })
    }

    /// Returns when the file is gone or another one: what is written from then on, nobody would find. So the process
    /// has to end, and not to touch the names of the files any more, which are somebody else's by now.
    pub(super) async fn run(self, stop: Stop) {
        while stop.sleep(Duration::from_secs(1)).await {
            if Identity::of(&self.path) != self.opened {
                tracing::error!(file = %self.path.display(), "the database file was removed or replaced");
                return;
            }
        }
    }
}

/// Says so where anybody on this host can be anybody, over data that is not made up.
pub(super) async fn warn_of_demo(settings: &Settings, store: &Store) {
    if settings.auth.mode != AuthMode::Demo {
        return;
    }
    match store.has_others(demo::EMAILS, demo::secret_ids()).await {
        Ok(true) => tracing::warn!(
            "auth.mode is demo, and the data is not the demo's: anybody on this host can be anybody here, and read what \
             they can read; set auth.mode to proxy"
        ),
        Ok(false) => {}
        Err(error) => tracing::debug!(%error, "could not tell whether the data is the demo's"),
    }
}
