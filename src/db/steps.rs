//! Steps of a migration that SQL cannot do: rows are read, changed by the program and written back.
//!
//! The table `data_steps` says which steps are left. A step runs in parts, each in a transaction, under the lock of
//! the migrations. It finds by itself what is left, so that it can be stopped at any time.

use diesel::RunQueryDsl as _;
use diesel::sql_types::Text;

use crate::db::conn::Conn;
use crate::db::error::DbError;

/// Folds names, identifiers, URLs and tags by the rule of `domain::text`.
pub const FOLD_TEXTS: &str = "fold texts";

/// The steps that this program knows. A step that a newer program left is for that program to do.
const KNOWN: [&str; 1] = [FOLD_TEXTS];

/// A step and how it is done.
#[derive(Clone, Copy)]
pub struct DataStep {
    pub name: &'static str,
    /// Does a part of the step within a transaction. False: nothing was left.
    pub part: fn(&mut Conn) -> Result<bool, DbError>,
}

#[derive(diesel::QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The steps that are left. The table must be there.
pub(super) fn left(conn: &mut Conn) -> Result<Vec<String>, DbError> {
    let rows: Vec<Name> =
        diesel::sql_query("SELECT name FROM data_steps WHERE done_at IS NULL ORDER BY name").load(conn)?;
    Ok(rows.into_iter().map(|row| row.name).filter(|name| KNOWN.contains(&name.as_str())).collect())
}

/// Does what is left of these steps. Returns the names of those that were done.
pub(super) fn run(conn: &mut Conn, steps: &[DataStep]) -> Result<Vec<String>, DbError> {
    let mut done = Vec::new();
    for name in left(conn)? {
        let Some(step) = steps.iter().find(|step| step.name == name) else { continue };
        while in_transaction(conn, step.part)? {}
        in_transaction(conn, |conn| {
            let sql = format!("UPDATE data_steps SET done_at = now_ms() WHERE name = '{}'", step.name);
            diesel::sql_query(sql).execute(conn)?;
            Ok(())
        })?;
        done.push(name);
    }
    Ok(done)
}

fn in_transaction<T>(
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<T, DbError>,
) -> Result<T, DbError> {
    // A step takes as long as it takes, as a migration does, so its statements have no limit.
    conn.begin(std::time::Duration::ZERO, None, std::time::Duration::from_secs(10))?;
    match work(conn) {
        Ok(value) => conn.commit().map(|()| value),
        Err(error) => {
            conn.rollback();
            Err(error)
        }
    }
}
