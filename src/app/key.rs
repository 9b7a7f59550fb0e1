//! The vault's key of a process: it is found or made, and held against the client secrets that it has to open.
//!
//! A wrong key does harm: it opens nothing that is there, and who has the right key cannot open what the wrong one
//! seals.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::app::error::AppError;
use crate::config::{ConfigError, Settings};
use crate::db::Target;
use crate::files;
use crate::store::{Sealer, Store};
use crate::vault::VaultKey;

/// The key of a gateway, in memory. It must not be used before [`Found::settle`].
pub(super) struct Found {
    pub(super) key: VaultKey,
    place: PathBuf,
    /// The key is new, and no file has it yet.
    is_new: bool,
}

fn config(text: impl Into<String>) -> AppError {
    AppError::Config(ConfigError(text.into()))
}

/// Where `up` and `import` keep the key of a SQLite database: `batchshare.db.key` beside `batchshare.db`.
fn beside(target: &Target) -> Option<PathBuf> {
    match target {
        Target::Sqlite { path } => Some(files::beside(path, ".key")),
        Target::Postgres { .. } => None,
    }
}

impl Found {
    /// Reads the key that the settings name. Where they name none and `make` is true, it is the key beside the
    /// database, or a new one.
    ///
    /// # Errors
    /// Where other accounts can read the file, it holds no key, or there is none.
    pub(super) fn look(settings: &Settings, target: &Target, make: bool) -> Result<Self, AppError> {
        if let Some(place) = settings.vault_key_file() {
            let key = VaultKey::from_file(&place)?;
            return Ok(Self { key, place, is_new: false });
        }
        let Some(place) = beside(target).filter(|_| make) else {
            return Err(config(
                "vault.key_file is not set: client secrets cannot be read without it; \
                 `batchshare keygen > FILE` makes one (mode 0600)",
            ));
        };
        let found = VaultKey::found_in(&place)?;
        let is_new = found.is_none();
        let key = found.map_or_else(VaultKey::generate, Ok)?;
        Ok(Self { key, place, is_new })
    }

    /// Holds the key against the client secrets that are there. A new key is written to its file.
    ///
    /// # Errors
    /// Where it opens none of them, or cannot be written.
    pub(super) async fn settle(&self, store: &Store) -> Result<(), AppError> {
        let wanted = store.vault_keys().await?;
        if self.is_new {
            if !wanted.is_empty() {
                return Err(config(missing(&wanted, &self.place)));
            }
            return Ok(self.key.keep_in(&self.place)?);
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
        // It opens none of them, so it is the key of another database.
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

/// What seals the client secrets of an import. On SQLite, the first of them makes a key where there is none, as `up`
/// does. On PostgreSQL it is `None` where no key is set, which only lines with a client secret need.
///
/// # Errors
/// Where there is a key that cannot be used, or that is not the one of this database.
pub async fn sealer(settings: &Settings, store: &Store) -> Result<Option<Sealer>, AppError> {
    let target = store.db().target();
    let wanted = store.vault_keys().await?;
    let (key, place) = match (settings.vault_key_file(), beside(target)) {
        (Some(place), _) => (Some(VaultKey::from_file(&place)?), place),
        (None, Some(place)) => (VaultKey::found_in(&place)?, place),
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
