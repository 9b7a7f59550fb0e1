//! Who gives a grant: the job that its row names or, if that job was undone since, the heir who stands in for it.
//!
//! An undo leaves a grant that somebody else keeps as it is, and writes one row of the table of heirs for its secret:
//! each grant of the secret that names the job is one of the heir now. Whoever reads the givers of grants reads them by
//! [`GRANTS`]. Whoever changes what a job or its heir gave writes the heirs into the grants first ([`settle`]), so that
//! the statements that follow need to know nothing of heirs.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::{JobKey, SecretId};
use crate::store::codes::id;

/// The table of grants as a subquery in which heirs stand in place of the jobs that they stand in for.
pub(in crate::store) const GRANTS: &str = "(SELECT x.secret_id, x.principal_id, x.permission, \
    COALESCE((SELECT h.heir FROM heirs h WHERE h.secret_id = x.secret_id AND h.job = x.view_job), x.view_job) AS view_job, \
    COALESCE((SELECT h.heir FROM heirs h WHERE h.secret_id = x.secret_id AND h.job = x.edit_job), x.edit_job) AS edit_job, \
    x.granted_at, x.edit_at FROM grants x)";

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Those of these secrets on which the job has an heir, or is one.
pub(in crate::store) fn concerned(
    conn: &mut Conn,
    job: JobKey,
    secrets: &[SecretId],
) -> Result<Vec<SecretId>, DbError> {
    let sql = format!(
        "SELECT DISTINCT secret_id AS id FROM heirs WHERE secret_id {} AND (job = $2 OR heir = $2) ORDER BY secret_id",
        conn.is_in("$1"),
    );
    let found: Vec<Found> = statement(sql)
        .bind::<Text, _>(conn.id_list(secrets.iter().copied()))
        .bind::<BigInt, _>(job.get())
        .load(conn)?;
    found.into_iter().map(|row| id(row.id)).collect()
}

/// Writes into the grants of these secrets who gives them, so that the secrets have no heirs any more. The caller holds
/// the secrets.
pub(in crate::store) fn settle(conn: &mut Conn, secrets: &[SecretId]) -> Result<(), DbError> {
    if secrets.is_empty() {
        return Ok(());
    }
    let list = conn.id_list(secrets.iter().copied());
    let heir = |column: &str| {
        format!(
            "{column} = COALESCE((SELECT h.heir FROM heirs h WHERE h.secret_id = grants.secret_id \
             AND h.job = grants.{column}), {column})"
        )
    };
    let sql = format!(
        "UPDATE grants SET {}, {} WHERE secret_id {} AND EXISTS (SELECT 1 FROM heirs h \
         WHERE h.secret_id = grants.secret_id AND (h.job = grants.view_job OR h.job = grants.edit_job))",
        heir("view_job"),
        heir("edit_job"),
        conn.is_in("$1"),
    );
    statement(sql).bind::<Text, _>(&list).execute(conn)?;
    let sql = format!("DELETE FROM heirs WHERE secret_id {}", conn.is_in("$1"));
    statement(sql).bind::<Text, _>(&list).execute(conn)?;
    Ok(())
}

/// Names the heirs of a job: on each of these secrets, this one stands in for it. The caller holds the secrets, on which
/// the job had no heir ([`settle`]).
pub(in crate::store) fn hand_over(
    conn: &mut Conn,
    job: JobKey,
    heirs: &[(SecretId, JobKey)],
) -> Result<(), DbError> {
    if heirs.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO heirs (secret_id, job, heir) SELECT c.secret_id, $2, c.heir FROM ({}) AS c",
        conn.each_row("$1", &[("secret_id", "bigint"), ("heir", "bigint")]),
    );
    let list: Vec<Value> = heirs.iter().map(|(secret, heir)| json!([secret, heir.get()])).collect();
    statement(sql)
        .bind::<Text, _>(Value::from(list).to_string())
        .bind::<BigInt, _>(job.get())
        .execute(conn)?;
    Ok(())
}

/// The job that gives what a row of this secret says that this job gave.
pub(in crate::store) fn giver(conn: &mut Conn, secret: SecretId, job: i64) -> Result<i64, DbError> {
    let sql = "SELECT heir AS id FROM heirs WHERE secret_id = $1 AND job = $2";
    let heir: Option<Found> =
        statement(sql).bind::<BigInt, _>(secret.get()).bind::<BigInt, _>(job).get_result(conn).optional()?;
    Ok(heir.map_or(job, |heir| heir.id))
}
