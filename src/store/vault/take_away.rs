//! Takes access away, whoever gave it: the statements over the table of grants, for the pairs of a chunk at once.
//!
//! The caller has locked the secrets ([`crate::store::vault::take_back::lock_secrets`]), so nobody else takes access to
//! them away meanwhile, and nobody confirms access to them. Others may still give access: what they commit after a
//! statement here has looked came later than it.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, SmallInt, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::unshare::Pair;
use crate::domain::{Permission, PrincipalId, SecretId};
use crate::store::codes::id;

/// The pairs that a statement is about: each of these secrets with each of these recipients.
pub(in crate::store) struct Rectangle<'a> {
    pub(in crate::store) secrets: &'a [SecretId],
    /// In ascending order.
    pub(in crate::store) recipients: &'a [PrincipalId],
    /// Whether a recipient may be the owner of a secret. The grants of such pairs are left alone.
    pub(in crate::store) owners: bool,
}

/// How the ids of the recipients lie.
enum Spread {
    /// There is no other id between them.
    Whole,
    /// There are few other ids between them.
    Close,
    Wide,
}

impl Rectangle<'_> {
    fn is_empty(&self) -> bool {
        self.secrets.is_empty() || self.recipients.is_empty()
    }

    fn bounds(&self) -> (i64, i64) {
        let bound = |id: Option<&PrincipalId>| id.map_or(0, |id| id.get());
        (bound(self.recipients.first()), bound(self.recipients.last()))
    }

    fn spread(&self) -> Spread {
        let (first, last) = self.bounds();
        let count = i64::try_from(self.recipients.len()).unwrap_or(i64::MAX / 2);
        match last - first + 1 {
            ids if ids == count => Spread::Whole,
            ids if ids <= 2 * count => Spread::Close,
            _ => Spread::Wide,
        }
    }

    /// A condition on the table of grants: the row is of these pairs. It reads the values that `about!` binds, which are $1
    /// to $4. Where the ids of the recipients are close to each other, one range of the index is read for each secret,
    /// and otherwise one place for each pair.
    fn condition(&self, conn: &Conn) -> String {
        let listed = conn.is_in("$4");
        let recipients = match self.spread() {
            Spread::Whole => "principal_id BETWEEN $2 AND $3".to_owned(),
            // The sum keeps the list out of the choice of the index.
            Spread::Close => format!("principal_id BETWEEN $2 AND $3 AND principal_id + 0 {listed}"),
            Spread::Wide => format!("principal_id {listed}"),
        };
        let no_owner = match self.owners {
            true => {
                " AND NOT EXISTS (SELECT 1 FROM secrets x WHERE x.id = grants.secret_id \
                 AND x.owner_id = grants.principal_id)"
            }
            false => "",
        };
        format!("secret_id {} AND {recipients}{no_owner}", conn.is_in("$1"))
    }
}

/// Binds the values of [`Rectangle::condition`] to a statement.
macro_rules! about {
    ($sql:expr, $pairs:expr, $conn:expr) => {{
        let (first, last) = $pairs.bounds();
        statement($sql)
            .bind::<Text, _>($conn.id_list($pairs.secrets.iter().copied()))
            .bind::<BigInt, _>(first)
            .bind::<BigInt, _>(last)
            .bind::<Text, _>($conn.id_list($pairs.recipients.iter().copied()))
    }};
}

/// What lowering writes into a row. The view keeps its job. Where there was none, the job that gave the edit gave the
/// view with it. A claim of edit from before does not make the row one of edit again: the next edit has a later time.
const LOWERED: &str =
    "permission = 1, view_job = COALESCE(view_job, edit_job), edit_job = NULL, edit_at = NULL";

/// Locks the grants of these pairs in the order of their keys. It comes first if several statements then change them.
pub(in crate::store) fn lock(conn: &mut Conn, pairs: &Rectangle<'_>) -> Result<(), DbError> {
    if conn.locks_rows() && !pairs.is_empty() {
        let sql = format!(
            "SELECT COUNT(*) AS n FROM (SELECT secret_id FROM grants WHERE {} ORDER BY secret_id, principal_id {}) AS l",
            pairs.condition(conn),
            conn.for_update(),
        );
        about!(sql, pairs, conn).execute(conn)?;
    }
    Ok(())
}

/// Deletes the grants of these pairs, and returns the pairs that had one.
pub(in crate::store) fn revoke(conn: &mut Conn, pairs: &Rectangle<'_>) -> Result<Vec<Pair>, DbError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("DELETE FROM grants WHERE {} RETURNING secret_id, principal_id", pairs.condition(conn));
    changed(about!(sql, pairs, conn).load(conn)?)
}

/// Lowers those grants of these pairs that give edit, and returns the pairs that had one.
pub(in crate::store) fn lower(conn: &mut Conn, pairs: &Rectangle<'_>) -> Result<Vec<Pair>, DbError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "UPDATE grants SET {LOWERED} WHERE {} AND permission = 2 RETURNING secret_id, principal_id",
        pairs.condition(conn),
    );
    changed(about!(sql, pairs, conn).load(conn)?)
}

#[derive(QueryableByName)]
struct Changed {
    #[diesel(sql_type = BigInt)]
    secret_id: i64,
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
}

fn changed(rows: Vec<Changed>) -> Result<Vec<Pair>, DbError> {
    rows.into_iter().map(|row| Ok((id(row.secret_id)?, id(row.principal_id)?))).collect()
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// How many grants of at least this permission these pairs have.
pub(in crate::store) fn count(
    conn: &mut Conn,
    pairs: &Rectangle<'_>,
    at_least: Permission,
) -> Result<u64, DbError> {
    if pairs.is_empty() {
        return Ok(0);
    }
    let sql = format!(
        "SELECT COUNT(*) AS n FROM grants WHERE {} AND permission >= {}",
        pairs.condition(conn),
        at_least.code(),
    );
    let counted: Number = about!(sql, pairs, conn).get_result(conn)?;
    Ok(u64::try_from(counted.n).unwrap_or(0))
}

/// A grant of one of the pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Held {
    pub(in crate::store) secret: SecretId,
    pub(in crate::store) principal: PrincipalId,
    pub(in crate::store) permission: Permission,
}

#[derive(QueryableByName)]
struct HeldRow {
    #[diesel(sql_type = BigInt)]
    secret_id: i64,
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
    #[diesel(sql_type = SmallInt)]
    permission: i16,
}

/// Reads the grants of these pairs.
pub(in crate::store) fn held(conn: &mut Conn, pairs: &Rectangle<'_>) -> Result<Vec<Held>, DbError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let sql =
        format!("SELECT secret_id, principal_id, permission FROM grants WHERE {}", pairs.condition(conn),);
    let rows: Vec<HeldRow> = about!(sql, pairs, conn).load(conn)?;
    let held = |row: HeldRow| {
        let strange = || DbError::Corrupt(format!("grants.permission is {}", row.permission));
        Ok(Held {
            secret: id(row.secret_id)?,
            principal: id(row.principal_id)?,
            permission: Permission::from_code(row.permission).ok_or_else(strange)?,
        })
    };
    rows.into_iter().map(held).collect()
}

/// Deletes these grants, which the caller has read after it locked them.
pub(in crate::store) fn revoke_each(conn: &mut Conn, held: &[Held]) -> Result<(), DbError> {
    each(conn, held, "DELETE FROM grants")
}

/// Lowers these grants of edit, likewise.
pub(in crate::store) fn lower_each(conn: &mut Conn, held: &[Held]) -> Result<(), DbError> {
    each(conn, held, &format!("UPDATE grants SET {LOWERED}"))
}

fn each(conn: &mut Conn, held: &[Held], change: &str) -> Result<(), DbError> {
    if held.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "{change} WHERE (secret_id, principal_id) IN (SELECT c.secret_id, c.principal_id FROM ({}) AS c)",
        conn.each_row("$1", &[("secret_id", "bigint"), ("principal_id", "bigint")]),
    );
    let list: Vec<Value> = held.iter().map(|of| json!([of.secret, of.principal])).collect();
    statement(sql).bind::<Text, _>(Value::from(list).to_string()).execute(conn)?;
    Ok(())
}
