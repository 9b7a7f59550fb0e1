//! Migrations: two folders with the same names, built into the binary.
//!
//! They only add, so that a binary works with a database one release newer.

use diesel::RunQueryDsl as _;
use diesel::backend::Backend;
use diesel::connection::SimpleConnection as _;
use diesel::migration::Migration;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::conn::{Conn, Target};
use super::error::DbError;
use super::pool::Db;
use crate::files;

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// How the database stands to this binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationState {
    Current,
    /// These are still to be applied.
    Pending(Vec<String>),
}

/// Keeps what tells the class: a server that stops meanwhile, or is a replica still, is waited for.
fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> DbError {
    DbError::Query(match error.downcast::<DieselError>() {
        Ok(error) => *error,
        // The type of what fails within a migration is private: its text tells.
        Err(error) => {
            let text = format!("a migration failed: {error}");
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text))
        }
    })
}

/// What is still to be applied.
///
/// # Errors
/// Where the database cannot be asked.
pub async fn state(db: &Db) -> Result<MigrationState, DbError> {
    if let Target::Sqlite { path } = db.target()
        && !path.exists()
    {
        return Ok(MigrationState::Pending(vec!["all: there is no database file yet".to_owned()]));
    }
    db.read(|conn| {
        let names = pending(conn)?;
        Ok(if names.is_empty() { MigrationState::Current } else { MigrationState::Pending(names) })
    })
    .await
}

fn pending(conn: &mut Conn) -> Result<Vec<String>, DbError> {
    let list = match conn {
        Conn::Pg(c) => c.pending_migrations(POSTGRES).map(names),
        Conn::Sqlite(c) => c.pending_migrations(SQLITE).map(names),
    };
    list.map_err(failed)
}

fn names<DB: Backend>(list: Vec<Box<dyn Migration<DB>>>) -> Vec<String> {
    list.iter().map(|migration| migration.name().to_string()).collect()
}

/// Makes the file of an embedded database where there is none. It is nobody else's to read from the first moment.
///
/// # Errors
/// Where it cannot be made.
pub fn create_file(db: &Db) -> Result<(), DbError> {
    let Target::Sqlite { path } = db.target() else { return Ok(()) };
    files::create_database(path)
        .map_err(|error| DbError::Connect { target: db.target().to_string(), message: error.to_string() })
}

/// Applies what is pending and returns the names. Safe to run from several processes at once.
///
/// # Errors
/// Where a migration fails; what was applied before it stays.
pub async fn apply(db: &Db) -> Result<Vec<String>, DbError> {
    create_file(db)?;
    let limits = db.options().limits();
    db.read_on_writer(move |conn| {
        // Two processes that migrate at once take turns.
        lock(conn)?;
        let applied = pending(conn).and_then(|names| {
            match conn {
                Conn::Pg(c) => c.run_pending_migrations(POSTGRES).map(drop),
                Conn::Sqlite(c) => c.run_pending_migrations(SQLITE).map(drop),
            }
            .map_err(failed)?;
            Ok(names)
        });
        unlock(conn, &limits)?;
        applied
    })
    .await
}

/// Takes every migration back, newest first. For tests.
///
/// # Errors
/// Where a `down.sql` fails.
pub async fn revert_all(db: &Db) -> Result<(), DbError> {
    db.read_on_writer(|conn| {
        match conn {
            Conn::Pg(c) => c.revert_all_migrations(POSTGRES).map(drop),
            Conn::Sqlite(c) => c.revert_all_migrations(SQLITE).map(drop),
        }
        .map_err(failed)
    })
    .await
}

/// An arbitrary number that only our migrations use as an advisory lock.
const LOCK: &str = "7220230";

#[derive(diesel::QueryableByName)]
struct Free {
    #[diesel(sql_type = diesel::sql_types::Bool)]
    free: bool,
}

/// Without the limits of everyday statements: a migration takes as long as it takes, and so does whoever
/// migrates before us.
fn lock(conn: &mut Conn) -> Result<(), DbError> {
    if conn.is_pg() {
        conn.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")?;
        let free: Free =
            diesel::sql_query(format!("SELECT pg_try_advisory_lock({LOCK}) AS free")).get_result(conn)?;
        if !free.free {
            tracing::info!("waiting for another process that migrates this database");
            conn.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))?;
        }
    }
    Ok(())
}

fn unlock(conn: &mut Conn, limits: &str) -> Result<(), DbError> {
    if conn.is_pg() {
        conn.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK}); {limits}"))?;
    }
    Ok(())
}
