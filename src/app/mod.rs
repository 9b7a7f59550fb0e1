//! The composition root: the one place that builds everything and starts the roles.
//!
//! `up` is all roles in one process, `serve` and `work` are the roles apart. Tests start the same program with other
//! settings.

mod begin;
mod broker;
mod compose;
mod database;
mod declared;
pub mod demo;
mod error;
mod file_watch;
mod key;
mod lock;
mod patience;
mod policies;
mod roles;
mod run;
mod running;

pub use begin::begin_options;
pub use broker::declare;
pub use compose::start;
pub use error::AppError;
pub use key::sealer;
pub use lock::{lock, lock_file};
pub use policies::policies;
pub use roles::Roles;
pub use run::run;
pub use running::Running;
