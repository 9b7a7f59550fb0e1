//! Copies of an embedded database, which are taken while a process runs, and checked before they are put in place.

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use crate::db::clock::Clock;
use crate::db::error::DbError;
use crate::db::options::DbOptions;
use crate::db::pool::Db;
use crate::db::target::Target;

#[derive(QueryableByName)]
struct Told {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Writes all that is committed now to `file`, which must be empty or not there. Others go on writing meanwhile. The
/// copy is one file, with nothing beside it.
///
/// # Errors
/// The database or the disk fails. There may be a part of a file then.
pub async fn copy_to(db: &Db, file: &Path) -> Result<(), DbError> {
    let name = file.to_str().map(ToOwned::to_owned);
    let name = name.ok_or_else(|| DbError::Corrupt("the path of a copy must be UTF-8".to_owned()))?;
    db.unhurried()
        .read(move |conn| {
            sql_query("VACUUM INTO $1").bind::<Text, _>(name).execute(conn)?;
            Ok(())
        })
        .await
}

/// Checks that a file is a whole database of ours. What is in a `-wal` file beside it is in the file afterwards.
///
/// # Errors
/// What is wrong with it.
pub async fn check_copy(file: &Path, options: DbOptions) -> Result<(), DbError> {
    let db = Db::new(Target::Sqlite { path: file.to_owned() }, options, Clock::default());
    db.unhurried()
        .read(|conn| {
            let told = sql_query("PRAGMA quick_check(1)").get_result::<Told>(conn)?;
            if told.quick_check != "ok" {
                return Err(DbError::Corrupt("SQLite finds the file damaged".to_owned()));
            }
            let sql = "SELECT count(*) AS n FROM sqlite_schema \
                       WHERE type = 'table' AND name IN ('__diesel_schema_migrations', 'jobs', 'grants')";
            if sql_query(sql).get_result::<Count>(conn)?.n != 3 {
                return Err(DbError::Corrupt("the file is a database of something else".to_owned()));
            }
            Ok(conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")?)
        })
        .await
}
