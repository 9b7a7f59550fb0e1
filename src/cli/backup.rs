//! `batchshare backup` and `batchshare restore`: the embedded database as one file, which is whole whenever it was
//! made.
//!
//! Copying the `.db` file is not enough. The newest rows are in the `-wal` file beside it, and an old `-wal` file
//! that is left there would change a `.db` file that is put back.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::app;
use crate::cli::{Code, Failure, open, out};
use crate::config::Settings;
use crate::db::{Target, backup};
use crate::files;
use crate::files::FileError;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup's file
    file: PathBuf,
}

const OF_POSTGRESQL: &str = "the database is PostgreSQL's, which has its own: pg_dump and pg_restore";

fn failed(what: &str) -> impl Fn(FileError) -> Failure + '_ {
    move |error| Failure::failed(format!("{what} {error}"))
}

fn io(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Failure + 'static {
    let path = path.display().to_string();
    move |error| Failure::failed(format!("cannot {what} {path}: {error}"))
}

/// Writes the database to a new file. This works while `batchshare up` is running, too.
pub(super) async fn back_up(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let store = open::sqlite_or(settings, OF_POSTGRESQL)?;
    let file = args.file;
    if std::fs::symlink_metadata(&file).is_ok() {
        return Err(failed("the backup")(FileError::Exists { path: file }));
    }
    let unfinished = Unfinished::beside(&file);
    drop(files::create(&unfinished.0).map_err(failed("the backup"))?);
    backup::copy_to(store.db(), &unfinished.0).await?;
    File::open(&unfinished.0).and_then(|file| file.sync_all()).map_err(io("write", &file))?;
    // Unlike renaming, this never replaces another file.
    std::fs::hard_link(&unfinished.0, &file)
        .and_then(|()| files::sync_folder(&file))
        .map_err(io("write", &file))?;
    out::line(format!("{} is a backup of {}", file.display(), store.db().target()))?;
    out::message("the key of its client secrets is not in it: keep a copy of that, too, and elsewhere");
    Ok(Code::Done)
}

/// Puts a backup in the database's place and keeps what was there.
pub(super) async fn restore(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let target = settings.target().map_err(|error| Failure::usage(error.to_string()))?;
    let Target::Sqlite { path } = &target else { return Err(Failure::usage(OF_POSTGRESQL)) };
    // The lock is held until the end, so that nobody starts batchshare meanwhile.
    let _lock = app::lock_file(path)?;
    let unfinished = Unfinished::beside(path);
    let mut from = File::open(&args.file).map_err(io("read", &args.file))?;
    let mut copy = files::create(&unfinished.0).map_err(failed("the database's file"))?;
    std::io::copy(&mut from, &mut copy).map_err(io("copy", &args.file))?;
    // The file may be one that an earlier restore kept, and then its newest rows are there.
    let wal = files::beside(&args.file, "-wal");
    if wal.exists() {
        let copied =
            files::create(&files::beside(&unfinished.0, "-wal")).map_err(failed("the database's file"))?;
        File::open(&wal)
            .and_then(|mut from| std::io::copy(&mut from, &mut &copied))
            .map_err(io("copy", &wal))?;
    }
    backup::check_copy(&unfinished.0, settings.db_options())
        .await
        .map_err(|error| Failure::failed(format!("{} is no backup: {error}", args.file.display())))?;
    copy.sync_all().map_err(io("copy", &args.file))?;

    let kept = keep(path).map_err(io("keep a copy of", path))?;
    // SQLite would read the old ones together with the new file.
    for ending in ["-wal", "-shm", "-journal"] {
        let beside = files::beside(path, ending);
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("remove", &beside)(error));
            }
            _ => {}
        }
    }
    files::sync_folder(path)
        .and_then(|()| std::fs::rename(&unfinished.0, path))
        .and_then(|()| files::sync_folder(path))
        .map_err(io("replace", path))?;
    out::line(format!("{target} is what {} holds", args.file.display()))?;
    if let Some(kept) = kept {
        out::message(&format!("what was there before is in {}", kept.display()));
    }
    Ok(Code::Done)
}

/// Gives the database that is there a second name, and likewise its `-wal` file, which has its newest rows. Nothing
/// of it is removed until the new database takes its place.
fn keep(path: &Path) -> std::io::Result<Option<PathBuf>> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    let names = (1..).map(|number| match number {
        1 => files::beside(path, ".before-restore"),
        number => files::beside(path, &format!(".before-restore-{number}")),
    });
    for kept in names {
        match std::fs::hard_link(path, &kept) {
            Ok(()) => {
                let (wal, kept_wal) = (files::beside(path, "-wal"), files::beside(&kept, "-wal"));
                if wal.exists() {
                    std::fs::hard_link(wal, kept_wal)?;
                }
                return Ok(Some(kept));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A file that is removed when this value is dropped, together with the files that SQLite has beside it.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(path: &Path) -> Self {
        Self(files::beside(path, &format!(".{}.new", uuid::Uuid::new_v4().simple())))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for ending in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(files::beside(&self.0, ending));
        }
    }
}
