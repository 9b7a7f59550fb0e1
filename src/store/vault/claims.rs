//! Keeps who else asked for access that was there already.
//!
//! A job whose pair came out unchanged gave nothing, but its requester was told that the secret is shared. A claim says
//! so: when the access is taken back from the job that gave it, the claim keeps it. A claim is never deleted. It counts
//! only as long as its job is not undone, and only for rows that are not younger than it.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::hex::hex;
use crate::domain::outcome::Claims;
use crate::domain::{JobKey, SecretId};

/// A condition on a job `k`: it is not undone. Any undo of it counts from the moment it is asked for, unless it failed or
/// was cancelled. `jobs.undone_by` names the latest, and an earlier one that was done counts all the same.
pub(in crate::store) const NOT_UNDONE: &str = "(k.undone_by IS NULL OR NOT EXISTS (SELECT 1 FROM jobs u \
    WHERE u.parent = k.job_id AND u.kind = 'undo' AND u.state NOT IN ('failed', 'cancelled')))";

/// Writes what these jobs claim as of the time `at` (microseconds). A claim of the same job on the same secret is
/// replaced: the job has come to the secret only now.
pub(in crate::store) fn write(conn: &mut Conn, claims: &[(JobKey, Claims)], at: i64) -> Result<(), DbError> {
    match claims {
        [(job, of)] if of.windows(2).all(|two| two[0].1 == two[1].1) => {
            let Some((_, among)) = of.first() else { return Ok(()) };
            let sql = format!(
                "INSERT INTO claims (secret_id, job, at, among) SELECT s.id, $2, $3, $4 FROM ({}) AS s WHERE true \
                 ORDER BY s.id {REPLACE}",
                conn.each_id("$1"),
            );
            statement(sql)
                .bind::<Text, _>(conn.id_list(of.iter().map(|(secret, _)| *secret)))
                .bind::<BigInt, _>(job.get())
                .bind::<BigInt, _>(at)
                .bind::<Nullable<Binary>, _>(among.as_deref())
                .execute(conn)?;
        }
        many => {
            let row = |job: &JobKey, (secret, among): &(SecretId, Option<Vec<u8>>)| {
                json!([secret, job.get(), among.as_deref().map(hex)])
            };
            let rows: Vec<Value> =
                many.iter().flat_map(|(job, of)| of.iter().map(move |claim| row(job, claim))).collect();
            if rows.is_empty() {
                return Ok(());
            }
            let columns = [("secret_id", "bigint"), ("job", "bigint"), ("among", "text")];
            let sql = format!(
                "INSERT INTO claims (secret_id, job, at, among) SELECT c.secret_id, c.job, $2, {} FROM ({}) AS c \
                 WHERE true ORDER BY c.secret_id, c.job {REPLACE}",
                conn.bytes_of("c.among"),
                conn.each_row("$1", &columns),
            );
            statement(sql)
                .bind::<Text, _>(Value::from(rows).to_string())
                .bind::<BigInt, _>(at)
                .execute(conn)?;
        }
    }
    Ok(())
}

const REPLACE: &str = "ON CONFLICT (secret_id, job) DO UPDATE SET at = excluded.at, among = excluded.among";

/// Writes that a job claims all its pairs of these secrets as of the time `at` (microseconds), where it has no claim
/// yet. It is for jobs of which nobody recorded what they found.
pub(in crate::store) fn write_all(
    conn: &mut Conn,
    job: JobKey,
    secrets: &[SecretId],
    at: i64,
) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO claims (secret_id, job, at, among) SELECT s.id, $2, $3, NULL FROM ({}) AS s WHERE true \
         ORDER BY s.id ON CONFLICT (secret_id, job) DO NOTHING",
        conn.each_id("$1"),
    );
    statement(sql)
        .bind::<Text, _>(conn.id_list(secrets.iter().copied()))
        .bind::<BigInt, _>(job.get())
        .bind::<BigInt, _>(at)
        .execute(conn)?;
    Ok(())
}
