//! Where the database is: the URL of the settings, read and checked.

use std::fmt;
use std::path::PathBuf;

/// The place of a database. `Display` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    Postgres { url: String },
    Sqlite { path: PathBuf },
}

/// What is wrong with `database.url`. `Display` is a sentence without the text itself, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("database.url must start with sqlite:// or postgres://")]
    Scheme,
    #[error(
        "database.url must look like postgres://user:password@host:port/database; percent-encode what is special in \
         user and password (/ as %2F, @ as %40)"
    )]
    Postgres,
    #[error("database.url {0}: it must be sqlite://path/to/file.db")]
    Sqlite(&'static str),
}

impl Target {
    /// Reads `postgres://…` or `sqlite://path/to/file.db`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        if let Some((_, rest)) =
            url.split_once("://").filter(|(name, _)| ["postgres", "postgresql"].contains(name))
        {
            return match is_plain(rest) {
                true => Ok(Self::Postgres { url: url.to_owned() }),
                false => Err(TargetError::Postgres),
            };
        }
        match url.strip_prefix("sqlite://") {
            Some(path) => match is_file_path(path) {
                Ok(()) => Ok(Self::Sqlite { path: PathBuf::from(path) }),
                Err(why) => Err(TargetError::Sqlite(why)),
            },
            None => Err(TargetError::Scheme),
        }
    }

    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }
}

/// Checks that SQLite takes the text for the path of a file and for nothing else, and that it is meant as it stands.
/// A database in memory would be another one on each connection, and gone with the connection.
fn is_file_path(path: &str) -> Result<(), &'static str> {
    let is_code =
        |after: &str| after.get(..2).is_some_and(|code| code.chars().all(|c| c.is_ascii_hexdigit()));
    let name = path.rsplit('/').next().unwrap_or_default();
    match () {
        () if path.is_empty() => Err("names no file"),
        () if path.to_lowercase().contains(":memory:") => Err(
            "names a database in memory, which forgets everything and which each connection has for itself",
        ),
        () if path.to_lowercase().starts_with("file:") => Err("is a file: URI, and those are not read"),
        () if path.contains('?') => Err("has options after a '?', and SQLite's are not read"),
        () if path.chars().any(char::is_control) => Err("has a control character"),
        () if path.split('%').skip(1).any(is_code) => {
            Err("has a percent code, and the path is taken as it stands")
        }
        () if ["", ".", ".."].contains(&name) => Err("names a folder"),
        () => Ok(()),
    }
}

/// Whether a `postgres://` URL can be read in one way only; `rest` is what follows the scheme. libpq quotes what it
/// cannot read in its errors, or asks the network for a host of that name: it could be a part of a password that is
/// not encoded.
fn is_plain(rest: &str) -> bool {
    let (place, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let hosts = place.rsplit_once('@').map_or(place, |(_, hosts)| hosts);
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let has_port = |host: &str| match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((_, port)) => port.chars().all(|c| c.is_ascii_digit()),
        None => true,
    };
    let is_encoded = |after: &str| {
        after.get(..2).is_some_and(|code| code != "00" && code.chars().all(|c| c.is_ascii_hexdigit()))
    };
    rest.matches('@').count() == place.matches('@').count().min(1)
        && !rest.contains(|c: char| c == '#' || c.is_whitespace() || c.is_control())
        && hosts.split(',').all(has_port)
        && (query.is_empty() || query.split('&').all(|part| part.contains('=')))
        && rest.split('%').skip(1).all(is_encoded)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "sqlite://{}", path.display()),
            Self::Postgres { url } => {
                let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
                write!(f, "postgres://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_never_prints_its_password() {
        for url in [
            "postgres://me:secret@db:5432/vault?password=hidden",
            "postgres://me@db:5432/vault?password=se%40cret",
            "postgresql://me:se%3Fcret@db:5432/vault",
        ] {
            let target = Target::parse(url).expect("valid");
            assert_eq!(target.to_string(), "postgres://db:5432/vault");
            assert_eq!(format!("{target:?}"), "postgres://db:5432/vault");
        }
        for url in [
            "postgres://me:x@[::1]:5432/vault",
            "postgres://a:5432,b:5433/vault?target_session_attrs=primary",
        ] {
            Target::parse(url).expect("valid");
        }
    }

    #[test]
    fn sqlite_is_a_file_and_nothing_else() {
        for path in ["b.db", "./b.db", "/var/lib/batchshare/b.db", "a b/ação.db", "100%.db", "#1.db"] {
            assert!(Target::parse(&format!("sqlite://{path}")).is_ok(), "{path}");
        }
        for (path, word) in [
            ("", "no file"),
            (":memory:", "memory"),
            ("/:memory:", "memory"),
            (":MEMORY:", "memory"),
            ("file:x.db", "file: URI"),
            ("FILE:x?mode=memory", "file: URI"),
            ("file::memory:?cache=shared", "memory"),
            ("b.db?mode=memory", "'?'"),
            ("?", "'?'"),
            ("b.db%00", "percent"),
            ("a%20b.db", "percent"),
            ("b\0.db", "control"),
            ("b.db\n", "control"),
            ("folder/", "folder"),
            (".", "folder"),
            ("a/..", "folder"),
        ] {
            let error = Target::parse(&format!("sqlite://{path}")).expect_err(path).to_string();
            assert!(error.starts_with("database.url ") && error.contains(word), "{path}: {error}");
        }
    }

    /// libpq would quote a part of it, or look for a host of that name.
    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_not_shown() {
        for url in [
            "postgres://me:secr/et@db/vault",
            "postgres://me:123/secret@db/vault",
            "postgres://me:secr?et@db/vault",
            "postgres://me:123?secret@db/vault",
            "postgres://me:123?x=secret@db/vault",
            "postgres://me:secr#et@db/vault",
            "postgres://me:secr@et@db/vault",
            "postgres://me:secr%et@db/vault",
            "postgres://me:secr et@db/vault",
            "postgres://me@db/vault?secret",
        ] {
            let error = Target::parse(url).expect_err(url).to_string();
            assert!(error.contains("percent-encode") && !error.contains("secr"), "{error}");
        }
    }
}
