//! The lock of an embedded database: one process at a time has its roles.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use crate::app::error::AppError;
use crate::db::Target;
use crate::files;
use crate::files::FileError;

/// Checks the files of an embedded database, and holds its lock. The lock is named by the path that the database's
/// file has from the root on, so that it is the same lock whichever way leads to the file. Does nothing on PostgreSQL.
///
/// # Errors
/// Where a file is not as it must be, or another process has the lock.
pub fn lock(target: &Target, embedded: bool) -> Result<Option<File>, AppError> {
    let Target::Sqlite { path } = target else { return Ok(None) };
    files::check_database(path, true).map_err(AppError::DatabaseFile)?;
    if embedded { lock_file(path).map(Some) } else { Ok(None) }
}

/// Holds the lock of a database's file, whatever is there.
///
/// # Errors
/// Where another process has it, or it cannot be made.
pub fn lock_file(path: &Path) -> Result<File, AppError> {
    let name = files::one_name(path).map_err(AppError::DatabaseFile)?;
    let lock_path = files::beside(&name, ".lock");
    let failed = |source| AppError::LockFile(FileError::Io { path: lock_path.clone(), source });
    let mut file = files::open_or_create(&lock_path).map_err(AppError::LockFile)?;
    if file.try_lock().is_err() {
        let holder = std::fs::read_to_string(&lock_path).unwrap_or_default();
        return Err(AppError::Locked { path: path.to_owned(), holder: holder.trim().to_owned() });
    }
    file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(file)
}
