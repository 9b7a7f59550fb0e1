//! Files that others on the same host must not read, exchange or hold up: the embedded database, its lock, keys,
//! and what holds a password.
//!
//! Whoever has another account on the host may have put something else where we look for a file: a link to a file of
//! ours, a FIFO that never answers, a file that stays theirs. So the file that was opened is checked, and not its
//! name.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

/// A file that holds a secret is not larger than this: a key has 44 characters, a URL a few hundred.
const MAX_SECRET_BYTES: u64 = 64 * 1024;
/// The endings of the files that SQLite keeps beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Why a file is not used. `Display` is a sentence that says nothing of what is in the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} is not there", path.display())]
    Missing { path: PathBuf },
    #[error("{} is there already and is not overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("{} is {kind}, not a plain file", path.display())]
    NotPlain { path: PathBuf, kind: &'static str },
    #[error("{} belongs to another account of this host (user id {owner}); it must be ours{}", path.display(), or_roots(*root))]
    NotOurs { path: PathBuf, owner: u32, root: bool },
    #[error(
        "{} has mode {mode:04o}, which lets others on this host in; chmod it to 0600 (0640 where it is root's and of a \
         group of ours)",
        path.display()
    )]
    TooOpen { path: PathBuf, mode: u32 },
    #[error(
        "{} has more than one name (hard links), and SQLite keeps the newest rows in a file beside the name: what one \
         name knows, the other does not; remove the other names",
        path.display()
    )]
    ManyNames { path: PathBuf },
    #[error("{} is larger than {MAX_SECRET_BYTES} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{} cannot be used: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

fn or_roots(root: bool) -> &'static str {
    if root { " or root's" } else { "" }
}

/// Whether a link is followed to the file that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// For a path that the operator named, because container platforms mount secrets as links.
    Follow,
    /// For a path that we made, where a link can only be somebody else's.
    Refuse,
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> FileError + '_ {
    // These are the answers of O_NOFOLLOW to a link, and of an open for writing to a folder, and to a socket or a
    // FIFO that nobody reads.
    const LINK: i32 = Errno::LOOP.raw_os_error();
    const FOLDER: i32 = Errno::ISDIR.raw_os_error();
    const SOCKET: i32 = Errno::NXIO.raw_os_error();
    move |source| {
        let path = path.to_owned();
        match (source.kind(), source.raw_os_error()) {
            (ErrorKind::NotFound, _) => FileError::Missing { path },
            (ErrorKind::AlreadyExists, _) => FileError::Exists { path },
            (_, Some(LINK)) => FileError::NotPlain { path, kind: "a link" },
            (_, Some(FOLDER)) => FileError::NotPlain { path, kind: "a folder" },
            (_, Some(SOCKET)) => FileError::NotPlain { path, kind: "a socket or a FIFO" },
            _ => FileError::Io { path, source },
        }
    }
}

fn plain(path: &Path, file: &Metadata) -> Result<(), FileError> {
    let kind = file.file_type();
    let kind = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_symlink() => "a link",
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(FileError::NotPlain { path: path.to_owned(), kind })
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Flags for opening a file so that it never waits (a FIFO returns at once) and, with `Links::Refuse`, never follows
/// a link.
fn flags(links: Links) -> i32 {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = if links == Links::Refuse { flags | OFlags::NOFOLLOW } else { flags };
    flags.bits().cast_signed()
}

/// Reads a file that holds a secret. It must be a plain file that nobody else can read: ours with mode 0600 at most,
/// or root's and of a group of ours with mode 0640 at most. That is PostgreSQL's rule for its TLS key, and what a
/// container platform mounts for a user that is not root.
///
/// # Errors
/// What is wrong with the file.
pub fn read_secret(path: &Path, links: Links) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = failed(path);
    let file = OpenOptions::new().read(true).custom_flags(flags(links)).open(path).map_err(&failed)?;
    // This is about the open file and not about the path, so nobody can exchange the file in between.
    let found = file.metadata().map_err(&failed)?;
    plain(path, &found)?;
    let mode = found.mode() & 0o7777;
    match found.uid() {
        owner if owner == us() && mode & 0o077 == 0 => {}
        0 if mode & 0o037 == 0 && is_our_group(found.gid()) => {}
        owner if owner == us() || owner == 0 => {
            return Err(FileError::TooOpen { path: path.to_owned(), mode });
        }
        owner => return Err(FileError::NotOurs { path: path.to_owned(), owner, root: true }),
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(&failed)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(FileError::TooLong { path: path.to_owned() });
    }
    Ok(bytes)
}

fn is_our_group(group: u32) -> bool {
    let ours = rustix::process::getgroups().unwrap_or_default();
    rustix::process::getegid().as_raw() == group || ours.iter().any(|found| found.as_raw() == group)
}

/// Makes a file with mode 0600, which must not be there yet. It has all of its content or is not made at all, and it
/// is on disk when this returns.
///
/// # Errors
/// Something is there already, or the file cannot be written.
pub fn create_secret(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let failed = failed(path);
    // The name is this call's own, since others may be making the same file at this moment.
    let unfinished = beside(path, &format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let mut file = create(&unfinished)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        // Unlike a rename, a link never takes the place of another file.
        .and_then(|()| std::fs::hard_link(&unfinished, path))
        .and_then(|()| sync_folder(path));
    let _ = std::fs::remove_file(&unfinished);
    written.map_err(&failed)
}

/// Makes an empty file with mode 0600, which must not be there yet.
///
/// # Errors
/// Something is there already, even if it is a link, or the file cannot be made.
pub fn create(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed(path))
}

/// Opens a file of ours for reading and writing. If there is none, it is made with mode 0600.
///
/// # Errors
/// The file is a link, is not a plain file, or belongs to somebody else.
pub fn open_or_create(path: &Path) -> Result<File, FileError> {
    let failed = failed(path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags(Links::Refuse))
        .open(path)
        .map_err(&failed)?;
    let found = file.metadata().map_err(&failed)?;
    plain(path, &found)?;
    if found.uid() != us() {
        return Err(FileError::NotOurs { path: path.to_owned(), owner: found.uid(), root: false });
    }
    if found.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(&failed)?;
    }
    Ok(file)
}

/// Makes sure that a change of names in the folder of `path` is on disk.
///
/// # Errors
/// The folder cannot be opened or synchronised.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path with an ending added to the name of the file.
#[must_use]
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The one name of a file, whether it is there or not: its path from the root on, without links in its folders.
///
/// # Errors
/// There is no such folder.
pub fn one_name(path: &Path) -> Result<PathBuf, FileError> {
    let folder = folder(path).canonicalize().map_err(failed(path))?;
    Ok(path.file_name().map_or(folder.clone(), |name| folder.join(name)))
}

/// Checks the files of a SQLite database before they are opened: they must be plain files with one name. If they are
/// ours and open to others, they are closed to them. With `ours`, they must be ours.
///
/// # Errors
/// What is wrong with the first file that is not as it must be. A file that is not there is not wrong.
pub fn check_database(path: &Path, ours: bool) -> Result<(), FileError> {
    check_part(path, ours, true)?;
    BESIDE.iter().try_for_each(|ending| check_part(&beside(path, ending), ours, false))
}

fn check_part(path: &Path, ours: bool, one_name: bool) -> Result<(), FileError> {
    // O_PATH opens nothing. Closing a descriptor that was really opened would drop the locks that SQLite holds in
    // this process on the same file.
    let look = (OFlags::PATH | OFlags::NOFOLLOW).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(look).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path)(error)),
    };
    let found = file.metadata().map_err(failed(path))?;
    plain(path, &found)?;
    if found.uid() != us() {
        return match ours {
            true => Err(FileError::NotOurs { path: path.to_owned(), owner: found.uid(), root: false }),
            false => Ok(()),
        };
    }
    if one_name && found.nlink() > 1 {
        return Err(FileError::ManyNames { path: path.to_owned() });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        // This names the file that was checked, whatever its path names by now.
        let looked_at = format!("/proc/self/fd/{}", file.as_raw_fd());
        let closed = std::fs::set_permissions(looked_at, Permissions::from_mode(mode & 0o700));
        closed.map_err(failed(path))?;
        tracing::warn!(
            file = %path.display(),
            mode = format!("{mode:04o}"),
            "others on this host could read a file of the database; it is closed to them now"
        );
    }
    Ok(())
}

/// Makes the file of a new database with mode 0600, and SQLite then gives the same mode to the files beside it. Does
/// nothing if there is one.
///
/// # Errors
/// The file cannot be made.
pub fn create_database(path: &Path) -> Result<(), FileError> {
    match create(path) {
        Ok(_) | Err(FileError::Exists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Which file a path names. It is another one after the file was removed or replaced. The answer is exact while the
/// file is open somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// `None` if there is no file.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let file = std::fs::symlink_metadata(path).ok()?;
        Some(Self { device: file.dev(), inode: file.ino() })
    }
}

#[cfg(test)]
mod tests;
