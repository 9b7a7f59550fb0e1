//! Takes back what one job gave: the statements over the table of grants, for the pairs of a chunk at once.
//!
//! The caller has locked the secrets ([`lock_secrets`]), so nobody else takes access to them away meanwhile, and nobody
//! confirms access to them. Others may still give access: a row of view may become one of edit at any moment, until it
//! is locked.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::undo::{Given, Giver};
use crate::domain::undo_outcome::UndoOutcome;
use crate::domain::unshare::Pair;
use crate::domain::{JobKey, Permission, PrincipalId, Recipient, SecretId, Taken};
use crate::store::clock::micros;
use crate::store::codes::id;

/// Locks these secrets in the order of their keys, and waits for everybody who confirms access to them. It is a
/// statement of its own: what is read after it has been committed by whoever held a lock before.
pub(in crate::store) fn lock_secrets(conn: &mut Conn, secrets: &[SecretId]) -> Result<(), DbError> {
    if conn.locks_rows() {
        let sql = format!(
            "SELECT id FROM secrets WHERE id {} ORDER BY id {}",
            conn.is_in("$1"),
            conn.for_update(),
        );
        let list = conn.id_list(secrets.iter().copied());
        statement(sql).bind::<Text, _>(list).execute(conn)?;
    }
    Ok(())
}

/// The pairs of a job that a statement is about.
#[derive(Clone, Copy)]
pub(in crate::store) struct Pairs<'a> {
    /// The job that gave, or did not give, the access.
    pub(in crate::store) job: JobKey,
    pub(in crate::store) secrets: &'a [SecretId],
    pub(in crate::store) recipients: &'a [Recipient],
}

impl Pairs<'_> {
    /// A condition on the table of grants: the row is of these pairs, and the job gave all or a part of it. It reads the
    /// values that `about!` binds, which are $1 to $5. Where the ids of the recipients are close to each other, one range
    /// of the index is read for each secret, and otherwise one place for each pair.
    fn condition(&self, conn: &Conn) -> String {
        let recipients = match self.range() {
            Some(_) => "principal_id BETWEEN $2 AND $3".to_owned(),
            None => format!("principal_id {}", conn.is_in("$4")),
        };
        format!("secret_id {} AND {recipients} AND (view_job = $5 OR edit_job = $5)", conn.is_in("$1"))
    }

    /// The lowest and the highest id of the recipients, if there are few other ids between them.
    fn range(&self) -> Option<(i64, i64)> {
        let ids = || self.recipients.iter().map(|recipient| recipient.id.get());
        let (first, last) = (ids().min()?, ids().max()?);
        let few = i64::try_from(self.recipients.len()).unwrap_or(i64::MAX / 2);
        (last - first < 2 * few).then_some((first, last))
    }
}

/// Binds the values of [`Pairs::condition`] to a statement.
macro_rules! about {
    ($sql:expr, $pairs:expr, $conn:expr) => {{
        let (first, last) = $pairs.range().unwrap_or_default();
        statement($sql)
            .bind::<Text, _>($conn.id_list($pairs.secrets.iter().copied()))
            .bind::<BigInt, _>(first)
            .bind::<BigInt, _>(last)
            .bind::<Text, _>($conn.id_list($pairs.recipients.iter().map(|recipient| recipient.id)))
            .bind::<BigInt, _>($pairs.job.get())
    }};
}

/// The row has nothing that anybody else gave.
const ONLY_OURS: &str = "(edit_job IS NULL OR edit_job = $5) AND (view_job IS NULL OR view_job = $5)";
/// The row gives edit by the job, over a view that it did not give.
const OVER_ANOTHER: &str = "edit_job = $5 AND view_job <> $5";
/// The row gives edit by another, over a view by the job.
const BELOW_ANOTHER: &str = "view_job = $5 AND edit_job <> $5";

/// Takes what the job gave out of a row that others have a part of.
const OURS_GOES: &str = "permission = CASE WHEN edit_job = $5 THEN 1 ELSE permission END, \
    view_job = CASE WHEN view_job = $5 THEN NULL ELSE view_job END, \
    edit_at = CASE WHEN edit_job = $5 THEN NULL ELSE edit_at END, \
    edit_job = CASE WHEN edit_job = $5 THEN NULL ELSE edit_job END";

#[derive(QueryableByName)]
struct Revoked {
    #[diesel(sql_type = BigInt)]
    secret_id: i64,
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
}

#[derive(QueryableByName)]
struct Changed {
    #[diesel(sql_type = SmallInt)]
    permission: i16,
    #[diesel(sql_type = BigInt)]
    secret_id: i64,
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
}

/// Takes back what the job gave on these pairs, except for those in `kept`, of which its heirs were named before. No other
/// pair has a claim by others that counts, or its row was written ([`hand_over`]). Returns what was done; the pairs that
/// are missing in it were untouched. `told` gets what became of each pair to which something was done, if it is wanted:
/// if all pairs come out alike, nobody needs to know, and not to ask is faster.
pub(in crate::store) fn take(
    conn: &mut Conn,
    pairs: &Pairs<'_>,
    kept: &[(SecretId, PrincipalId)],
    mut told: Option<&mut Vec<(Pair, UndoOutcome)>>,
) -> Result<Taken, DbError> {
    let mut kept_of: HashMap<SecretId, usize> = HashMap::new();
    for (secret, _) in kept {
        *kept_of.entry(*secret).or_default() += 1;
    }
    // A secret whose pairs are all kept need not be looked at.
    let is_left = |secret: &SecretId| kept_of.get(secret).is_none_or(|kept| *kept < pairs.recipients.len());
    let secrets: Vec<SecretId> = pairs.secrets.iter().copied().filter(is_left).collect();
    if secrets.is_empty() {
        return Ok(Taken::default());
    }
    let pairs = &Pairs { secrets: &secrets, ..*pairs };
    let spared: Vec<Value> =
        kept.iter().filter(|(secret, _)| is_left(secret)).map(|pair| json!(pair)).collect();
    let all = secrets.len() * pairs.recipients.len() - spared.len();
    let mut ours = pairs.condition(conn);
    if !spared.is_empty() {
        // The database reads this list once and looks each row up in it, whatever it expects of its length.
        ours.push_str(&format!(
            " AND (secret_id, principal_id) NOT IN (SELECT k.secret_id, k.principal_id FROM ({}) AS k)",
            conn.each_row("$6", &[("secret_id", "bigint"), ("principal_id", "bigint")]),
        ));
    }
    // SQLite takes no value that the statement does not name.
    let list = (!spared.is_empty()).then(|| Value::from(spared).to_string());
    let revoked = match &mut told {
        None => {
            let delete = about!(format!("DELETE FROM grants WHERE {ours} AND {ONLY_OURS}"), pairs, conn);
            match &list {
                Some(list) => delete.bind::<Text, _>(list).execute(conn)?,
                None => delete.execute(conn)?,
            }
        }
        Some(told) => {
            let sql =
                format!("DELETE FROM grants WHERE {ours} AND {ONLY_OURS} RETURNING secret_id, principal_id");
            let delete = about!(sql, pairs, conn);
            let revoked: Vec<Revoked> = match &list {
                Some(list) => delete.bind::<Text, _>(list).load(conn)?,
                None => delete.load(conn)?,
            };
            for row in &revoked {
                told.push(((id(row.secret_id)?, id(row.principal_id)?), UndoOutcome::Revoked));
            }
            revoked.len()
        }
    };
    let mut taken = Taken { revoked: revoked as u64, ..Taken::default() };
    if revoked < all {
        // A row that became one of edit while the statement above waited for it is found here.
        let sql = format!(
            "UPDATE grants SET {OURS_GOES} WHERE {ours} AND (({OVER_ANOTHER}) OR ({BELOW_ANOTHER})) \
             RETURNING permission, secret_id, principal_id"
        );
        let update = about!(sql, pairs, conn);
        let changed: Vec<Changed> = match &list {
            Some(list) => update.bind::<Text, _>(list).load(conn)?,
            None => update.load(conn)?,
        };
        for row in &changed {
            // Below the edit of another, the permission stays one of edit.
            let outcome = if row.permission == Permission::View.code() {
                taken.lowered += 1;
                UndoOutcome::Lowered
            } else {
                taken.kept += 1;
                UndoOutcome::Kept
            };
            if let Some(told) = &mut told {
                told.push(((id(row.secret_id)?, id(row.principal_id)?), outcome));
            }
        }
    }
    Ok(taken)
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    revoked: i64,
    #[diesel(sql_type = BigInt)]
    lowered: i64,
    #[diesel(sql_type = BigInt)]
    kept: i64,
}

/// What [`take`] would do if nothing was kept, without doing it. `grants` is the table, or a subquery in its place.
#[allow(clippy::cast_sign_loss)] // the database returns numbers of rows
pub(in crate::store) fn count(conn: &mut Conn, pairs: &Pairs<'_>, grants: &str) -> Result<Taken, DbError> {
    let sql = format!(
        "SELECT COUNT(*) FILTER (WHERE {ONLY_OURS}) AS revoked, COUNT(*) FILTER (WHERE {OVER_ANOTHER}) AS lowered, \
         COUNT(*) FILTER (WHERE {BELOW_ANOTHER}) AS kept FROM {grants} AS grants WHERE {}",
        pairs.condition(conn),
    );
    let counted: Counted = about!(sql, pairs, conn).get_result(conn)?;
    Ok(Taken {
        revoked: counted.revoked as u64,
        lowered: counted.lowered as u64,
        kept: counted.kept as u64,
        untouched: 0,
    })
}

/// A row of the table of grants.
#[derive(Clone, Copy)]
pub(in crate::store) struct Row {
    pub(in crate::store) secret: SecretId,
    pub(in crate::store) principal: PrincipalId,
    pub(in crate::store) given: Given,
}

#[derive(QueryableByName)]
struct RowColumns {
    #[diesel(sql_type = BigInt)]
    secret_id: i64,
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    view_job: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    edit_job: Option<i64>,
    #[diesel(sql_type = BigInt)]
    granted_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    edit_at: Option<i64>,
}

/// Who gave a permission, from its column.
fn giver(job: i64) -> Result<Giver, DbError> {
    if job == 0 { Ok(Giver::Nobody) } else { Ok(Giver::Job(id(job)?)) }
}

/// Who gave a permission, for its column.
fn stored_giver(giver: Giver) -> i64 {
    match giver {
        Giver::Nobody => 0,
        Giver::Job(job) => job.get(),
    }
}

impl TryFrom<RowColumns> for Row {
    type Error = DbError;

    fn try_from(row: RowColumns) -> Result<Self, DbError> {
        Ok(Self {
            secret: id(row.secret_id)?,
            principal: id(row.principal_id)?,
            given: Given {
                view: row.view_job.map(giver).transpose()?,
                edit: row.edit_job.map(giver).transpose()?,
                granted_at: micros(row.granted_at),
                edit_at: row.edit_at,
            },
        })
    }
}

/// Reads the rows of all these pairs that the job gave all or a part of. `grants` is the table, or a subquery in its
/// place.
pub(in crate::store) fn all_rows(
    conn: &mut Conn,
    pairs: &Pairs<'_>,
    grants: &str,
) -> Result<Vec<Row>, DbError> {
    let sql = format!(
        "SELECT secret_id, principal_id, view_job, edit_job, granted_at, edit_at FROM {grants} AS grants WHERE {}",
        pairs.condition(conn),
    );
    let rows: Vec<RowColumns> = about!(sql, pairs, conn).load(conn)?;
    rows.into_iter().map(Row::try_from).collect()
}

/// Reads the rows of some of the pairs, likewise. `locking` is the end of the statement that locks the rows `g` in the
/// order of their keys, or nothing.
pub(in crate::store) fn rows(
    conn: &mut Conn,
    job: JobKey,
    pairs: &[(SecretId, PrincipalId)],
    grants: &str,
    locking: &str,
) -> Result<Vec<Row>, DbError> {
    let sql = format!(
        "SELECT g.secret_id, g.principal_id, g.view_job, g.edit_job, g.granted_at, g.edit_at FROM ({}) AS c \
         JOIN {grants} g ON g.secret_id = c.secret_id AND g.principal_id = c.principal_id \
         WHERE g.view_job = $2 OR g.edit_job = $2 ORDER BY g.secret_id, g.principal_id {locking}",
        conn.each_row("$1", &[("secret_id", "bigint"), ("principal_id", "bigint")]),
    );
    let list: Vec<Value> = pairs.iter().map(|pair| json!(pair)).collect();
    let rows: Vec<RowColumns> = statement(sql)
        .bind::<Text, _>(Value::from(list).to_string())
        .bind::<BigInt, _>(job.get())
        .load(conn)?;
    rows.into_iter().map(Row::try_from).collect()
}

/// Writes who gives the access of these rows from now on, where no heir can stand in for the job that the row names. The
/// caller has locked the rows.
pub(in crate::store) fn hand_over(conn: &mut Conn, rows: &[Row]) -> Result<(), DbError> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = [
        ("secret_id", "bigint"),
        ("principal_id", "bigint"),
        ("permission", "smallint"),
        ("view_job", "bigint"),
        ("edit_job", "bigint"),
        ("edit_at", "bigint"),
    ];
    let sql = format!(
        "UPDATE grants SET permission = c.permission, view_job = c.view_job, edit_job = c.edit_job, edit_at = c.edit_at \
         FROM ({}) AS c WHERE grants.secret_id = c.secret_id AND grants.principal_id = c.principal_id",
        conn.each_row("$1", &columns),
    );
    let list: Vec<Value> = rows
        .iter()
        .map(|Row { secret, principal, given: Given { view, edit, edit_at, .. } }| {
            let permission = if edit.is_some() { Permission::Edit } else { Permission::View };
            let (view, edit) = (view.map(stored_giver), edit.map(stored_giver));
            json!([secret, principal, permission.code(), view, edit, edit_at])
        })
        .collect();
    statement(sql).bind::<Text, _>(Value::from(list).to_string()).execute(conn)?;
    Ok(())
}
