//! Migrations: two folders with the same names, built into the binary.
//!
//! They only add, so that a program still works with the database of the next release.

use std::collections::HashSet;

use diesel::RunQueryDsl as _;
use diesel::backend::Backend;
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::db::conn::Conn;
use crate::db::error::DbError;
use crate::db::pool::Db;
use crate::db::statement::statement;
use crate::db::steps;
use crate::db::steps::DataStep;
use crate::db::target::Target;
use crate::files;

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Whether the database has everything that this program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationState {
    Current,
    /// These are still to be applied.
    Pending(Vec<String>),
}

/// Keeps the error from which the class is told: a server that stops meanwhile, or is still a replica, is waited for.
fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> DbError {
    DbError::Query(match error.downcast::<DieselError>() {
        Ok(error) => *error,
        // The type of an error within a migration is private, so only its text tells.
        Err(error) => {
            let text = format!("a migration failed: {error}");
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text))
        }
    })
}

/// What is still to be applied.
///
/// # Errors
/// The database cannot be asked.
pub async fn state(db: &Db) -> Result<MigrationState, DbError> {
    if let Target::Sqlite { path } = db.target()
        && !path.exists()
    {
        return Ok(MigrationState::Pending(vec!["all: there is no database file yet".to_owned()]));
    }
    db.read(|conn| {
        suitable(conn)?;
        let mut names = pending(conn)?;
        if names.is_empty() {
            names = steps::left(conn)?;
        }
        Ok(if names.is_empty() { MigrationState::Current } else { MigrationState::Pending(names) })
    })
    .await
    .map_err(explained)
}

#[derive(diesel::QueryableByName)]
struct Version {
    #[diesel(sql_type = diesel::sql_types::Text)]
    version: String,
}

/// The names of the migrations that are not applied. It only reads. Diesel's own function makes its table when it
/// looks, which needs a right that only whoever migrates should have.
fn pending(conn: &mut Conn) -> Result<Vec<String>, DbError> {
    let known = match conn {
        Conn::Pg(_) => MigrationSource::<Pg>::migrations(&POSTGRES).map(names),
        Conn::Sqlite(_) => MigrationSource::<Sqlite>::migrations(&SQLITE).map(names),
    };
    let known = known.map_err(failed)?;
    let applied = applied(conn)?;
    Ok(known.into_iter().filter(|(version, _)| !applied.contains(version)).map(|(_, name)| name).collect())
}

/// Versions and names, oldest first.
fn names<DB: Backend>(list: Vec<Box<dyn Migration<DB>>>) -> Vec<(String, String)> {
    let mut names = Vec::with_capacity(list.len());
    for migration in list {
        let name = migration.name();
        names.push((name.version().to_string(), name.to_string()));
    }
    names.sort();
    names
}

fn applied(conn: &mut Conn) -> Result<HashSet<String>, DbError> {
    let there = conn.has_table("__diesel_schema_migrations");
    // The statement is prepared by name, as nearly all statements are. If that cannot work, it is found out here.
    if !statement(there).get_result::<Answer>(conn)?.yes {
        return Ok(HashSet::new());
    }
    let rows: Vec<Version> =
        diesel::sql_query("SELECT version FROM __diesel_schema_migrations").load(conn)?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

/// Refuses a database that cannot store every text: a message with a text that cannot be written would come back for
/// ever.
fn suitable(conn: &mut Conn) -> Result<(), DbError> {
    if !conn.has_server() {
        return Ok(());
    }
    let sql = "SELECT current_setting('server_encoding') AS encoding, current_database()::text AS name";
    let Encoding { encoding, name } = diesel::sql_query(sql).get_result(conn)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(DbError::Unsuitable(format!(
        "the database {name} keeps its texts as {encoding}, and batchshare needs UTF8: make one with \
         CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )))
}

#[derive(diesel::QueryableByName)]
struct Encoding {
    #[diesel(sql_type = diesel::sql_types::Text)]
    encoding: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
}

/// Explains an error that comes from a pooler in transaction mode: it hands each transaction to another session, and
/// so loses the statements that a session has prepared.
fn explained(error: DbError) -> DbError {
    let text = error.to_string();
    if text.contains("prepared statement") && (text.contains("exist")) {
        return DbError::Unsuitable(format!(
            "there is a pooler in transaction mode before the database ({text}): connect to PostgreSQL itself, or \
             to a pooler in session mode"
        ));
    }
    error
}

/// Makes the file of an embedded database if there is none. From the first moment nobody else can read it.
///
/// # Errors
/// The file cannot be made.
pub fn create_file(db: &Db) -> Result<(), DbError> {
    let Target::Sqlite { path } = db.target() else { return Ok(()) };
    files::create_database(path)
        .map_err(|error| DbError::Connect { target: db.target().to_string(), message: error.to_string() })
}

/// Applies what is pending and returns the names. It is safe to run from several processes at once. Steps that SQL
/// cannot do are left: a database that has rows needs [`apply_with`].
///
/// # Errors
/// A migration fails. What was applied before it stays.
pub async fn apply(db: &Db) -> Result<Vec<String>, DbError> {
    apply_with(db, &[]).await
}

/// Does the same, and these steps after the migrations.
///
/// # Errors
/// A migration or a step fails. What was done before it stays.
pub async fn apply_with(db: &Db, steps: &'static [DataStep]) -> Result<Vec<String>, DbError> {
    create_file(db)?;
    let limits = db.options().limits();
    db.read_on_writer(move |conn| {
        // Two processes that migrate at once take turns.
        suitable(conn)?;
        lock(conn)?;
        let applied = pending(conn).and_then(|mut names| {
            match conn {
                _ if names.is_empty() => Ok(()),
                Conn::Pg(c) => c.run_pending_migrations(POSTGRES).map(drop),
                Conn::Sqlite(c) => c.run_pending_migrations(SQLITE).map(drop),
            }
            .map_err(failed)?;
            names.extend(steps::run(conn, steps)?);
            Ok(names)
        });
        unlock(conn, &limits)?;
        applied
    })
    .await
    .map_err(explained)
}

/// Takes every migration back, the newest first. This is for tests.
///
/// # Errors
/// A `down.sql` fails.
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
struct Answer {
    #[diesel(sql_type = diesel::sql_types::Bool)]
    yes: bool,
}

/// Takes the lock without the limits of everyday statements: a migration takes as long as it takes, and so does
/// another process that migrates before us.
fn lock(conn: &mut Conn) -> Result<(), DbError> {
    if conn.has_server() {
        conn.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")?;
        let free: Answer =
            diesel::sql_query(format!("SELECT pg_try_advisory_lock({LOCK}) AS yes")).get_result(conn)?;
        if !free.yes {
            tracing::info!("waiting for another process that migrates this database");
            conn.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))?;
        }
    }
    Ok(())
}

fn unlock(conn: &mut Conn, limits: &str) -> Result<(), DbError> {
    if conn.has_server() {
        conn.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK}); {limits}"))?;
    }
    Ok(())
}
