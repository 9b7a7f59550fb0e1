//! Opens one connection to either database and prepares its session.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, SqliteConnection};

use crate::db::clock::Clock;
use crate::db::conn::{self, Conn};
use crate::db::error::DbError;
use crate::db::limit::Limit;
use crate::db::options::DbOptions;
use crate::db::refusal;
use crate::db::target::Target;

/// Opens one connection and sets its session up. SQLite's statements will look at `limit`.
pub(super) fn connect(
    target: &Target,
    options: &DbOptions,
    clock: &Clock,
    limit: &Limit,
) -> Result<Conn, DbError> {
    let failed = |message: String| DbError::Connect { target: target.to_string(), message };
    match target {
        Target::Postgres { url } => {
            let mut connection = PgConnection::establish(&with_timeouts(url, options))
                .map_err(|error| refusal::of(target, url, &error.to_string()))?;
            connection
                .batch_execute(&format!(
                    "{}; SET idle_in_transaction_session_timeout = {}; {SESSION}",
                    options.limits(),
                    options.idle_in_transaction_timeout.as_millis(),
                ))
                .map_err(|error| failed(error.to_string()))?;
            // If the role may not set it, the server's own language stays; `db::advice` tells so at the start.
            let _ = connection.batch_execute(ENGLISH);
            Ok(Conn::Pg(connection))
        }
        Target::Sqlite { path } => {
            // SQLite would make a new file in the place of one that is gone, and only a migration may make one.
            if !path.exists() {
                return Err(failed("there is no such file".to_owned()));
            }
            let path = path.to_str().ok_or_else(|| failed("the path is not UTF-8".to_owned()))?;
            let mut connection =
                SqliteConnection::establish(path).map_err(|error| failed(error.to_string()))?;
            // It is FULL, because what was answered with 202 must survive a power cut.
            connection
                .batch_execute(&format!(
                    "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; \
                     PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; \
                     PRAGMA cache_size = -16384",
                    options.lock_timeout.as_millis(),
                ))
                .map_err(|error| failed(error.to_string()))?;
            let (millis, micros) = (clock.clone(), clock.clone());
            conn::now_ms_utils::register_nondeterministic_impl(&connection, move || millis.now_ms())
                .and_then(|()| {
                    conn::now_us_utils::register_nondeterministic_impl(&connection, move || micros.now_us())
                })
                .and_then(|()| limit.register(&connection))
                .map_err(|error| failed(error.to_string()))?;
            Ok(Conn::Sqlite(connection))
        }
    }
}

/// What a session must be set to, whatever the database or the role has as its default. The protocol is made for READ
/// COMMITTED: each statement sees what was committed before it, and none fails because it saw too little. Not every
/// server knows the last two settings. What a role has as `default_transaction_read_only` stays, because that is how
/// a database says that it takes no writes for now, and it is waited for.
const SESSION: &str = "SET default_transaction_isolation = 'read committed'; \
    SET default_transaction_deferrable = off; SET standard_conforming_strings = on; SET timezone = 'UTC'; \
    SET application_name = 'batchshare'; SELECT set_config(name, '0', false) FROM pg_settings \
    WHERE name IN ('transaction_timeout', 'idle_session_timeout')";

/// Sets the language of messages to the one whose words `db::error` knows, if the role may choose (a superuser may,
/// or a role with GRANT SET ON PARAMETER). It is in a block, so that a refusal is no line in the server's log.
const ENGLISH: &str = "DO $$ BEGIN PERFORM set_config('lc_messages', 'C', false); \
    EXCEPTION WHEN insufficient_privilege THEN NULL; END $$";

/// Adds libpq's timeouts that the URL does not set itself, so that no call waits for ever for a peer that is gone.
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
