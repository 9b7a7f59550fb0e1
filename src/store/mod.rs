//! What is kept: people, secrets, grants, jobs, notices, messages to send.
//!
//! Only this module and the embedded broker write SQL. What is decided, `domain` decides; the store
//! reads facts, applies and records, each method in one transaction. It knows no broker: messages
//! to send are rows of the outbox, handed to the relay after the commit.

mod access;
mod import;
mod names;
pub(crate) mod schema;

use crate::db::Db;

pub use import::{ImportError, Imported, Sealer};
pub use names::{Match, Named};

/// A handle on everything that is kept. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Db,
}

impl Store {
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// The connections below, for whoever shares them (the embedded broker, migrations).
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }
}
