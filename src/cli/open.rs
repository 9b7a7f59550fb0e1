//! Opening the database for a command that does one thing and ends.

use std::time::{Duration, Instant};

use crate::cli::{Code, Failure};
use crate::config::Settings;
use crate::consume::schedule::Schedule;
use crate::db::{Clock, Db, DbError, FailureClass, MigrationState, Target, migration_state};
use crate::files;
use crate::store::Store;

/// How long a one-shot command waits for a server.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the database, after a check that it is there and as new as this program.
pub(super) async fn store(settings: &Settings) -> Result<Store, Failure> {
    let db = database(settings)?;
    let state = patiently(&db, async || migration_state(&db).await).await?;
    match state {
        MigrationState::Current => Ok(Store::new(db)),
        MigrationState::Pending(names) => Err(Failure::usage(format!(
            "the database {} is not up to date (pending: {}): run `batchshare migrate`",
            db.target(),
            names.join(", "),
        ))),
    }
}

/// Opens the embedded database. Where the settings name PostgreSQL, it fails with the text `otherwise`.
pub(super) fn sqlite_or(settings: &Settings, otherwise: &str) -> Result<Store, Failure> {
    let db = database(settings)?;
    let Target::Sqlite { path } = db.target() else { return Err(Failure::usage(otherwise)) };
    if !path.exists() {
        return Err(Failure::not_found(format!("there is no database {}", db.target())));
    }
    Ok(Store::new(db))
}

/// The database that the settings name. Nothing is connected yet.
pub(super) fn database(settings: &Settings) -> Result<Db, Failure> {
    let target = settings.target().map_err(|error| Failure::usage(error.to_string()))?;
    if let Target::Sqlite { path } = &target {
        // The file need not belong to this account: who may open it and runs this command is an operator.
        files::check_database(path, false)
            .map_err(|error| Failure::failed(format!("the database's file {error}")))?;
    }
    Ok(Db::new(target, settings.db_options(), Clock::default()))
}

/// Tries again as long as the server cannot be reached, but no longer than [`PATIENCE`].
pub(super) async fn patiently<T>(
    db: &Db,
    mut attempt: impl AsyncFnMut() -> Result<T, DbError>,
) -> Result<T, Failure> {
    let start = Instant::now();
    let mut schedule = Schedule::new(Duration::from_millis(100), Duration::from_secs(1));
    loop {
        // libpq's own deadline may be later than ours.
        let left = PATIENCE.saturating_sub(start.elapsed());
        let error = match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => return Err(unreachable(&format!("{} does not answer", db.target()))),
        };
        // Waiting helps neither where a file cannot be opened nor where a server refuses.
        if db.target().is_sqlite() || error.is_refusal() {
            return Err(Failure::failed(error.to_string()));
        }
        if error.class() != FailureClass::Outage {
            return Err(error.into());
        }
        let wait = schedule.next_wait();
        if start.elapsed() + wait >= PATIENCE {
            return Err(unreachable(&error.to_string()));
        }
        tokio::time::sleep(wait).await;
    }
}

pub(super) fn unreachable(why: &str) -> Failure {
    Failure::new(Code::Unreachable, format!("gave up after {} s: {why}", PATIENCE.as_secs()))
}
