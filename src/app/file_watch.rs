//! The watch over the file of a SQLite database while the program runs.

use std::path::PathBuf;
use std::time::Duration;

use crate::db::Target;
use crate::files::Identity;
use crate::shutdown::Stop;

/// The name of the task that ends when the database's file is gone.
pub(super) const FILE_WATCH: &str = "watch over the database file";

/// The file of a SQLite database, which is watched from now on.
pub(super) struct Watched {
    path: PathBuf,
    opened: Option<Identity>,
}

impl Watched {
    /// The database has to be open. `None` on PostgreSQL.
    pub(super) fn new(target: &Target) -> Option<Self> {
        let Target::Sqlite { path } = target else { return None };
        Some(Self { path: path.clone(), opened: Identity::of(path) })
    }

    /// Returns when the file is gone or another file has its name. Nobody would find what is written from then on, so
    /// the process has to end. It must not touch the names of the files any more, because they are somebody else's by
    /// now.
    pub(super) async fn run(self, stop: Stop) {
        while stop.sleep(Duration::from_secs(1)).await {
            if Identity::of(&self.path) != self.opened {
                tracing::error!(file = %self.path.display(), "the database file was removed or replaced");
                return;
            }
        }
    }
}
