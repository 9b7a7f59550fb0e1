//! One connection to either database, and the few fragments of SQL that differ between them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection, SqliteConnection};

use crate::db::error::DbError;
use crate::db::limit::Limit;
use crate::db::pool::{Clock, DbOptions};
use crate::db::refusal;

/// A connection to the production store (PostgreSQL) or the embedded one (SQLite).
#[derive(diesel::MultiConnection)]
pub enum Conn {
    Pg(PgConnection),
    Sqlite(SqliteConnection),
}

diesel::define_sql_function! {
    /// Milliseconds since 1970 by the database's clock. A function of ours on both databases (on
    /// PostgreSQL a migration makes it), so that one text serves both.
    fn now_ms() -> diesel::sql_types::BigInt;
}

impl Conn {
    /// A subquery with one row (column `id`) per id of the text bound to `parameter` (see [`Conn::id_list`]).
    #[must_use]
    pub fn each_id(&self, parameter: &str) -> String {
        match self {
            Self::Pg(_) => format!("SELECT unnest(CAST({parameter} AS bigint[])) AS id"),
            Self::Sqlite(_) => format!("SELECT value AS id FROM json_each({parameter})"),
        }
    }

    /// The text to bind for a list of ids: one bind whatever the length, so that neither database's
    /// limit on parameters is ever near.
    pub fn id_list<I: Into<i64>>(&self, ids: impl IntoIterator<Item = I>) -> String {
        use fmt::Write as _;
        let (open, close) = if self.is_pg() { ('{', '}') } else { ('[', ']') };
        let mut text = String::from(open);
        for id in ids {
            if text.len() > 1 {
                text.push(',');
            }
            // Writing to a String cannot fail.
            let _ = write!(text, "{}", id.into());
        }
        text.push(close);
        text
    }

    /// A subquery with one row per array of the JSON array bound to `parameter`. `columns` are the name and
    /// SQL type of each place in those arrays. One bind again, whatever the number of rows.
    #[must_use]
    pub fn each_row(&self, parameter: &str, columns: &[(&str, &str)]) -> String {
        let (row, from) = match self {
            Self::Pg(_) => ("r", format!("jsonb_array_elements(CAST({parameter} AS jsonb)) AS r")),
            Self::Sqlite(_) => ("r.value", format!("json_each({parameter}) AS r")),
        };
        let column = |(place, (name, kind)): (usize, &(&str, &str))| {
            format!("CAST({row}->>{place} AS {kind}) AS {name}")
        };
        let columns: Vec<String> = columns.iter().enumerate().map(column).collect();
        format!("SELECT {} FROM {from}", columns.join(", "))
    }

    /// The text to bind for a list of words (which have no line breaks): one bind whatever their number.
    #[must_use]
    pub fn word_list(&self, words: &[String]) -> String {
        if self.is_pg() { words.join("\n") } else { serde_json::Value::from(words).to_string() }
    }

    /// The word of this place (from 0) in the list that is bound to `parameter`: a constant of the statement.
    #[must_use]
    pub fn word(&self, parameter: &str, place: usize) -> String {
        match self {
            Self::Pg(_) => format!("split_part({parameter}, chr(10), {})", place + 1),
            Self::Sqlite(_) => format!("({parameter} ->> {place})"),
        }
    }

    /// The function that finds a text in another: neither knows wildcards.
    #[must_use]
    pub fn find(&self) -> &'static str {
        if self.is_pg() { "strpos" } else { "instr" }
    }

    /// A condition that is true as long as the statement has time, for statements that look at many rows: SQLite has to
    /// be asked at each of them.
    #[must_use]
    pub fn in_time(&self) -> &'static str {
        if self.is_pg() { "true" } else { "in_time()" }
    }

    /// A line break, and a tab, as SQL.
    #[must_use]
    pub fn line_break(&self) -> &'static str {
        if self.is_pg() { "chr(10)" } else { "char(10)" }
    }

    #[must_use]
    pub fn tab(&self) -> &'static str {
        if self.is_pg() { "chr(9)" } else { "char(9)" }
    }

    /// `FOR UPDATE` where rows are locked; SQLite's write transactions are alone anyway.
    #[must_use]
    pub fn for_update(&self) -> &'static str {
        if self.is_pg() { "FOR UPDATE" } else { "" }
    }

    /// `FOR UPDATE SKIP LOCKED`, likewise.
    #[must_use]
    pub fn skip_locked(&self) -> &'static str {
        if self.is_pg() { "FOR UPDATE SKIP LOCKED" } else { "" }
    }

    #[must_use]
    pub fn is_pg(&self) -> bool {
        matches!(self, Self::Pg(_))
    }

    /// Asks the server; says what its answer means for writing.
    pub(super) fn is_read_only(&mut self) -> Result<bool, DbError> {
        use diesel::RunQueryDsl as _;
        #[derive(diesel::QueryableByName)]
        struct Answer {
            #[diesel(sql_type = diesel::sql_types::Bool)]
            read_only: bool,
        }
        let sql = if self.is_pg() {
            "SELECT current_setting('transaction_read_only') = 'on' AS read_only"
        } else {
            "SELECT false AS read_only"
        };
        Ok(diesel::sql_query(sql).get_result::<Answer>(self)?.read_only)
    }

    /// Begins a transaction whose statements may run so long, and wait so long for a lock that others hold (none: as
    /// the session says): one round trip for all of it. SQLite's write transactions are alone, and have neither.
    pub(super) fn begin(&mut self, statements: Duration, locks: Option<Duration>) -> Result<(), DbError> {
        if !self.is_pg() {
            // IMMEDIATE: a read that turns into a write fails at once on SQLite, whatever the timeout.
            return Ok(self.batch_execute("BEGIN IMMEDIATE")?);
        }
        let mut sql = format!("BEGIN; SET LOCAL statement_timeout = {}", statements.as_millis());
        if let Some(locks) = locks {
            sql.push_str(&format!("; SET LOCAL lock_timeout = {}", locks.as_millis().max(1)));
        }
        Ok(self.batch_execute(&sql)?)
    }

    /// Whether the server is there still: the shortest round trip.
    pub(super) fn test(&mut self) -> Result<(), DbError> {
        if self.is_pg() {
            self.batch_execute("SELECT 1")?;
        }
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<(), DbError> {
        self.batch_execute("COMMIT").map_err(DbError::Commit)
    }

    /// Rolls back; whether that worked decides if the connection can be kept.
    pub(super) fn rollback(&mut self) -> bool {
        self.batch_execute("ROLLBACK").is_ok()
    }
}

/// Where the database is. `Display` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    Postgres { url: String },
    Sqlite { path: PathBuf },
}

impl Target {
    /// Reads `postgres://…` or `sqlite://path/to/file.db`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text, without the text (it may hold a password).
    pub fn parse(url: &str) -> Result<Self, String> {
        if let Some((_, rest)) =
            url.split_once("://").filter(|(name, _)| ["postgres", "postgresql"].contains(name))
        {
            return match is_plain(rest) {
                true => Ok(Self::Postgres { url: url.to_owned() }),
                false => Err("database.url must look like postgres://user:password@host:port/database; \
                              percent-encode what is special in user and password (/ as %2F, @ as %40)"
                    .to_owned()),
            };
        }
        match url.strip_prefix("sqlite://") {
            Some(path) => match is_file_path(path) {
                Ok(()) => Ok(Self::Sqlite { path: PathBuf::from(path) }),
                Err(why) => Err(format!("database.url {why}: it must be sqlite://path/to/file.db")),
            },
            None => Err("database.url must start with sqlite:// or postgres://".to_owned()),
        }
    }

    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }

    /// `limit` is what SQLite's statements will look at.
    pub(super) fn connect(&self, options: &DbOptions, clock: &Clock, limit: &Limit) -> Result<Conn, DbError> {
        let failed = |message: String| DbError::Connect { target: self.to_string(), message };
        match self {
            Self::Postgres { url } => {
                let mut connection = PgConnection::establish(&with_timeouts(url, options))
                    .map_err(|error| refusal::of(self, url, &error.to_string()))?;
                connection
                    .batch_execute(&format!(
                        "{}; SET idle_in_transaction_session_timeout = {}; {SESSION}",
                        options.limits(),
                        options.idle_in_transaction_timeout.as_millis(),
                    ))
                    .map_err(|error| failed(error.to_string()))?;
                // Where the role may not, the server's own language stays; `db::advice` says so at the start.
                let _ = connection.batch_execute(ENGLISH);
                Ok(Conn::Pg(connection))
            }
            Self::Sqlite { path } => {
                // SQLite would make a file in the place of one that is gone. Only a migration makes one.
                if !path.exists() {
                    return Err(failed("there is no such file".to_owned()));
                }
                let path = path.to_str().ok_or_else(|| failed("the path is not UTF-8".to_owned()))?;
                let mut connection =
                    SqliteConnection::establish(path).map_err(|error| failed(error.to_string()))?;
                // FULL: what was answered with 202 must survive a power cut.
                connection
                    .batch_execute(&format!(
                        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; \
                         PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; \
                         PRAGMA cache_size = -16384",
                        options.lock_timeout.as_millis(),
                    ))
                    .map_err(|error| failed(error.to_string()))?;
                let clock = clock.clone();
                now_ms_utils::register_nondeterministic_impl(&connection, move || clock.now_ms())
                    .and_then(|()| limit.register(&connection))
                    .map_err(|error| failed(error.to_string()))?;
                Ok(Conn::Sqlite(connection))
            }
        }
    }
}

/// What a session needs to be, whatever the database or the role has as its default. The protocol is made for READ
/// COMMITTED: each statement sees what was committed before it, and none fails for having seen too little. Two of
/// the settings are not known to every server. What a role has as `default_transaction_read_only` stays: that is
/// how a database says that it takes no writes for now, and it is waited for.
const SESSION: &str = "SET default_transaction_isolation = 'read committed'; \
    SET default_transaction_deferrable = off; SET standard_conforming_strings = on; SET timezone = 'UTC'; \
    SET application_name = 'batchshare'; SELECT set_config(name, '0', false) FROM pg_settings \
    WHERE name IN ('transaction_timeout', 'idle_session_timeout')";

/// Messages in the language whose words `db::error` knows, where the role may choose (a superuser, or by GRANT SET ON
/// PARAMETER). In a block, so that a refusal is no line of the server's log.
const ENGLISH: &str = "DO $$ BEGIN PERFORM set_config('lc_messages', 'C', false); \
    EXCEPTION WHEN insufficient_privilege THEN NULL; END $$";

/// Whether SQLite takes the text for the path of a file and for nothing else, and whether it is meant as it stands. A
/// database in memory would be another one on each connection, and gone with it.
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

/// Whether libpq can read what stands behind `postgres://` only as it was meant. It quotes what it cannot
/// read, or asks for a host of that name: that could be a part of a password which is not encoded.
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

/// Adds libpq's timeouts where the URL does not set them itself, so that no call waits for ever on a
/// peer that is gone.
fn with_timeouts(url: &str, options: &DbOptions) -> String {
    let mut url = url.to_owned();
    let seconds = |duration: Duration| duration.as_secs().max(2);
    for (name, value) in [
        ("connect_timeout", seconds(options.connect_timeout).to_string()),
        ("tcp_user_timeout", options.tcp_user_timeout.as_millis().to_string()),
        ("keepalives_idle", "10".to_owned()),
        ("keepalives_interval", "5".to_owned()),
        ("keepalives_count", "3".to_owned()),
    ] {
        if !url.contains(&format!("{name}=")) {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{name}={value}"));
        }
    }
    url
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
            let error = Target::parse(&format!("sqlite://{path}")).expect_err(path);
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
            let error = Target::parse(url).expect_err(url);
            assert!(error.contains("percent-encode") && !error.contains("secr"), "{error}");
        }
    }
}
