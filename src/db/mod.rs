//! The database: connections, transactions and migrations for PostgreSQL and SQLite.
//!
//! The store and the embedded broker are built on it and share its connections; it knows none of their tables. Diesel
//! is synchronous, so every call runs on a thread for blocking work, behind a fair queue for connections. On SQLite
//! all writes of a process go through one connection, and reads go through a few others, which WAL allows beside it.

mod advice;
pub mod backup;
mod clock;
mod conn;
mod connect;
mod connections;
mod dialect;
mod error;
mod hook;
mod limit;
mod migrate;
mod options;
mod pool;
mod refusal;
mod statement;
mod steps;
mod target;
#[cfg(feature = "tls")]
mod tls;

pub use advice::advice;
pub use clock::Clock;
pub use conn::Conn;
pub use connections::Connections;
pub use error::{DbError, FailureClass};
pub use hook::CallHook;
pub use migrate::{
    MigrationState, apply as apply_migrations, apply_with as apply_migrations_and_steps, create_file,
    revert_all, state as migration_state,
};
pub use options::DbOptions;
pub use pool::{Db, Flow};
pub use statement::statement;
pub use steps::{DataStep, FOLD_TEXTS};
pub use target::{Target, TargetError};
