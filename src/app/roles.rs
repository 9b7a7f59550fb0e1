//! Which parts of batchshare a process runs.

use crate::config::{ConfigError, Settings};

/// Which roles a process has. The relay runs in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// HTTP and notices.
    pub serve: bool,
    pub work: bool,
    /// The database is brought up to date at the start.
    pub migrate: bool,
    /// An empty database is filled with demo data, and a vault key is made where there is none.
    pub demo: bool,
}

impl Roles {
    pub const UP: Self = Self { serve: true, work: true, migrate: true, demo: true };

    #[must_use]
    pub fn serve(migrate: bool) -> Self {
        Self { serve: true, work: false, migrate, demo: false }
    }

    #[must_use]
    pub fn work(migrate: bool) -> Self {
        Self { serve: false, work: true, migrate, demo: false }
    }

    /// Holds the roles against the settings.
    ///
    /// # Errors
    /// Where the broker is embedded and another process would need it for the roles that this one does not have.
    pub(super) fn check(self, settings: &Settings) -> Result<(), ConfigError> {
        if !settings.is_embedded() || (self.serve && self.work) {
            return Ok(());
        }
        let why = "broker.url is embedded:, which one process has alone: run `batchshare up`, \
                   or set broker.url to amqp://… and database.url to postgres://…";
        Err(ConfigError(why.to_owned()))
    }
}
