//! The database at the start: how it is waited for, brought up to date and filled with demo data.

use std::sync::Arc;

use crate::app::demo;
use crate::app::error::AppError;
use crate::app::patience::Patience;
use crate::broker::Embedded;
use crate::config::{AuthMode, Settings};
use crate::db;
use crate::db::{Db, DbError, FailureClass, MigrationState};
use crate::store;
use crate::store::{ImportError, Sealer, Store};
use crate::vault::VaultKey;

const WHAT: &str = "the database";

/// Waits for the database. With `migrate`, it is brought up to date.
///
/// # Errors
/// Where it refuses, or is older than this program and is not to be migrated.
pub(super) async fn ready(db: &Db, migrate: bool) -> Result<(), AppError> {
    let mut patience = Patience::new(WHAT);
    loop {
        let result = if migrate {
            store::migrate(db).await.map(|_| MigrationState::Current)
        } else {
            db::migration_state(db).await
        };
        // Finding out what is applied only reads, so whether the database can be written is asked, too.
        let result = match result {
            Ok(MigrationState::Current) => db.ping().await.map(|()| MigrationState::Current),
            other => other,
        };
        match result {
            Ok(MigrationState::Current) => return Ok(()),
            Ok(MigrationState::Pending(missing)) => {
                return Err(AppError::OldDatabase {
                    target: db.target().clone(),
                    missing: missing.join(", "),
                });
            }
            Err(error) if is_passing(&error) => patience.wait(&error.to_string()).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether it is worth waiting: the server is away, or (on SQLite) an import is at work and has the writer.
fn is_passing(error: &DbError) -> bool {
    (error.class() == FailureClass::Outage && !error.is_refusal()) || error.is_writer_taken()
}

/// Gives back what a process that is gone had taken from an embedded broker, and sends what it was about to send. The
/// lock says that no other process has these roles.
///
/// # Errors
/// Where the database refuses.
pub(super) async fn recover(embedded: &Embedded, store: &Store) -> Result<(), AppError> {
    let mut patience = Patience::new(WHAT);
    while let Err(error) = async { embedded.recover().await.and(store.recover_unsent().await) }.await {
        match is_passing(&error) {
            true => patience.wait(&error.to_string()).await,
            false => return Err(error.into()),
        }
    }
    Ok(())
}

/// Logs what an operator should know about the database's settings.
pub(super) async fn advise(db: &Db) {
    match db::advice(db).await {
        Ok(advice) => advice.iter().for_each(|text| tracing::warn!("{text}")),
        Err(error) => tracing::debug!(%error, "could not look at the database's settings"),
    }
}

/// Fills the database with demo data if it is empty.
///
/// # Errors
/// Where the database refuses.
pub(super) async fn fill_with_demo(store: &Store, vault: &VaultKey) -> Result<(), AppError> {
    let vault = vault.clone();
    let sealer: Sealer = Arc::new(move |id, value| vault.seal(id, value).map_err(|error| error.to_string()));
    let mut patience = Patience::new(WHAT);
    let imported = loop {
        match store.import_if_empty(demo::lines(), Some(sealer.clone())).await {
            Ok(imported) => break imported,
            Err(ImportError::Db(error)) if is_passing(&error) => patience.wait(&error.to_string()).await,
            Err(error) => return Err(AppError::DemoData(error)),
        }
    };
    if imported.is_some() {
        tracing::info!("the database was empty: it has demo data now");
    }
    Ok(())
}

/// Warns where anybody on this host can act as anybody, over data that is not made up.
pub(super) async fn warn_of_demo_mode(settings: &Settings, store: &Store) {
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
