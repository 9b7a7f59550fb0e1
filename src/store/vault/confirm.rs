//! The lock of whoever tells somebody that access was there already.
//!
//! A job that finds a pair unchanged changes no row, so nothing would keep the pair's grant from being deleted in the
//! same moment, and the job would have confirmed access that is not there. So whoever takes access away locks the
//! secrets first (FOR UPDATE), and whoever confirms access holds them with FOR KEY SHARE until it commits. The lock has
//! to be a statement of its own, before the one that reads the grants: on PostgreSQL a statement sees what was committed
//! when it began, and a lock within it waits, but does not let it see what was deleted during the wait.
//!
//! SQLite has one writer, so nobody deletes anything meanwhile and there is nothing to lock.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::SecretId;
use crate::store::clock::Now;

/// Holds these secrets, in the order of their ids, and waits for whoever takes access to them away. Returns the
/// database's time in microseconds after the wait, or `None` on SQLite, where there is none.
pub(in crate::store) fn hold(
    conn: &mut Conn,
    secrets: impl IntoIterator<Item = SecretId>,
) -> Result<Option<i64>, DbError> {
    if !conn.locks_rows() {
        return Ok(None);
    }
    // The time is read by the outer query, of which the inner one is locked by then: an aggregate comes after all rows.
    let sql = format!(
        "SELECT now_us() AS now FROM (SELECT count(*) FROM ({}) AS held) AS n",
        ids_held(conn, &conn.for_key_share(""))
    );
    let held: Now = statement(sql).bind::<Text, _>(conn.id_list(secrets)).get_result(conn)?;
    Ok(Some(held.now))
}

/// The secrets that [`hold_free`] could not hold, and the time after it has held the others.
pub(in crate::store) struct Tried {
    /// Somebody takes access to these away now. (A secret that is gone is among them, too.)
    pub(in crate::store) busy: Vec<SecretId>,
    /// The database's time in microseconds. `None` if no secret was held.
    pub(in crate::store) now: Option<i64>,
}

/// Holds those of these secrets to which nobody takes access away at the moment, and waits for nobody. `secrets` are
/// in ascending order.
pub(in crate::store) fn hold_free(conn: &mut Conn, secrets: &[SecretId]) -> Result<Tried, DbError> {
    let sql = format!(
        "SELECT held.id, now_us() AS now FROM ({}) AS held ORDER BY held.id",
        ids_held(conn, &conn.for_key_share("SKIP LOCKED"))
    );
    let list = conn.id_list(secrets.iter().copied());
    let held: Vec<Held> = statement(sql).bind::<Text, _>(list).load(conn)?;
    let mut ids: Vec<i64> = held.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    let busy = secrets.iter().copied().filter(|secret| ids.binary_search(&secret.get()).is_err()).collect();
    Ok(Tried { busy, now: held.iter().map(|row| row.now).max() })
}

/// The secrets of the list that is bound to `$1`, locked in the order of their ids.
fn ids_held(conn: &Conn, locking: &str) -> String {
    format!("SELECT id FROM secrets WHERE id IN ({}) ORDER BY id {locking}", conn.each_id("$1"))
}

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    now: i64,
}
