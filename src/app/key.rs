//! The vault's key of a process: found or made, and held against what it has to open.
//!
//! A wrong key is no small thing: it opens nothing, and what is sealed with it nobody opens who has the right one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::app::AppError;
use crate::config::{ConfigError, Settings};
use crate::db::Target;
use crate::files;
use crate::store::{Sealer, Store};
use crate::vault::{VaultError, VaultKey};

/// The key of a gateway, in memory. Not to be used before [`Found::settle`].
pub(super) struct Found {
    pub(super) key: VaultKey,
    place: PathBuf,
    /// It is new, and kept nowhere yet.
    is_new: bool,
}

fn config(text: impl Into<String>) -> AppError {
    AppError::Config(ConfigError(text.into()))
}

fn unusable(error: VaultError) -> AppError {
    config(error.to_string())
}

/// Where `up` and `import` keep the key of a SQLite database: `batchshare.db.key` beside `batchshare.db`.
fn beside(target: &Target) -> Option<PathBuf> {
    match target {
        Target::Sqlite { path } => Some(files::beside(path, ".key")),
        Target::Postgres { .. } => None,
    }
}

impl Found {
    /// Reads the key that the settings name, or the one beside the database. With `make`, there is a new one where
    /// none is there.
    ///
    /// # Errors
    /// The file is not one of ours alone, or holds no key, or there is none.
    pub(super) fn look(settings: &Settings, target: &Target, make: bool) -> Result<Self, AppError> {
        if let Some(place) = settings.vault_key_file() {
            let key = VaultKey::from_file(&place).map_err(unusable)?;
            return Ok(Self { key, place, is_new: false });
        }
        let Some(place) = beside(target).filter(|_| make) else {
            return Err(config(
                "vault.key_file is not set: client secrets cannot be read without it; \
                 `batchshare keygen > FILE` makes one (mode 0600)",
            ));
        };
        let found = VaultKey::found_in(&place).map_err(unusable)?;
        let is_new = found.is_none();
        let key = found.map_or_else(VaultKey::generate, Ok).map_err(unusable)?;
        Ok(Self { key, place, is_new })
    }

    /// Holds the key against the client secrets that are there, and keeps it if it is new.
    ///
    /// # Errors
    /// It opens none of them, or it cannot be kept.
    pub(super) async fn settle(&self, store: &Store) -> Result<(), AppError> {
        let wanted = store.vault_keys().await?;
        if self.is_new {
            if !wanted.is_empty() {
                return Err(config(missing(&wanted, &self.place)));
            }
            return self.key.keep_in(&self.place).map_err(unusable);
        }
        check(&self.key, &wanted, &self.place)
    }
}

fn missing(wanted: &[String], place: &std::path::Path) -> String {
    format!(
        "the client secrets in this database are sealed with the vault key {}, and there is no key file {}: put it back, \
         or set vault.key_file to where it is",
        wanted.join(" or "),
        place.display(),
    )
}

fn check(key: &VaultKey, wanted: &[String], place: &std::path::Path) -> Result<(), AppError> {
    let others: Vec<&str> = wanted.iter().map(String::as_str).filter(|id| *id != key.id()).collect();
    match (others.len(), wanted.len()) {
        (0, _) => Ok(()),
        // None of them can be read: this is the key of something else.
        (others, all) if others == all => Err(config(format!(
            "the client secrets in this database are sealed with the vault key {}, and the key in {} is {}: put the \
             right key there, or set vault.key_file to where it is",
            wanted.join(" or "),
            place.display(),
            key.id(),
        ))),
        _ => {
            tracing::warn!(
                key = key.id(),
                others = others.join(", "),
                "some client secrets are sealed with other vault keys and cannot be read"
            );
            Ok(())
        }
    }
}

/// What seals the client secrets of an import. On SQLite the key is made with the first of them, as `up` makes it; none
/// on PostgreSQL where none is set, which only lines with a client secret mind.
///
/// # Errors
/// There is a key, and it cannot be used or is not the one of this database.
pub async fn sealer(settings: &Settings, store: &Store) -> Result<Option<Sealer>, AppError> {
    let target = store.db().target();
    let wanted = store.vault_keys().await?;
    let (key, place) = match (settings.vault_key_file(), beside(target)) {
        (Some(place), _) => (Some(VaultKey::from_file(&place).map_err(unusable)?), place),
        (None, Some(place)) => (VaultKey::found_in(&place).map_err(unusable)?, place),
        (None, None) => return Ok(None),
    };
    if let Some(key) = &key {
        check(key, &wanted, &place)?;
    }
    let key = Mutex::new(key);
    Ok(Some(Arc::new(move |secret, value| {
        let mut key = key.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match &mut *key {
            Some(key) => key,
            None if !wanted.is_empty() => return Err(missing(&wanted, &place)),
            none => none.insert(VaultKey::kept_in(&place).map_err(|error| error.to_string())?),
        };
        key.seal(secret, value).map_err(|error| error.to_string())
    })))
}
