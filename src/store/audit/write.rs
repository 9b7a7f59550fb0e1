//! Writes rows of the audit.

use diesel::RunQueryDsl as _;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::{JobId, PrincipalId, SecretId};
use crate::store::audit::entry::{Columns, Entry};
use crate::store::transact::Store;

/// A row with the time of the database. Where the last value is not null, there is one row a minute with that value.
const INSERT: &str = "INSERT INTO audit (at, action, actor, secret_id, principal, job, other_job, detail, once) \
     SELECT now_ms(), $1, $2, $3, $4, $5, $6, $7, CAST(now_ms() / 60000 AS TEXT) || ' ' || $8 WHERE true \
     ON CONFLICT (once) WHERE once IS NOT NULL DO NOTHING";

/// Writes a row in the caller's transaction, so that it is there exactly if the change is. The caller has its locks
/// already, because the row has the time at which it is written. It costs one statement and waits for nobody, except
/// that an [`Entry::SignInRefused`] may wait for the same entry of another process.
pub(in crate::store) fn write(conn: &mut Conn, entry: &Entry) -> Result<(), DbError> {
    let row = Columns::of(entry);
    statement(INSERT)
        .bind::<Text, _>(row.action.as_str())
        .bind::<Nullable<BigInt>, _>(row.actor.code())
        .bind::<Nullable<BigInt>, _>(row.secret.map(SecretId::get))
        .bind::<Nullable<BigInt>, _>(row.principal.map(PrincipalId::get))
        .bind::<Nullable<Text>, _>(row.job.map(text))
        .bind::<Nullable<Text>, _>(row.other_job.map(text))
        .bind::<Text, _>(row.detail.to_string())
        .bind::<Nullable<Text>, _>(row.cause)
        .execute(conn)?;
    Ok(())
}

fn text(job: JobId) -> String {
    job.to_string()
}

impl Store {
    /// Records something that no transaction of the store does, such as a refused sign-in.
    pub async fn record(&self, entry: Entry) -> Result<(), DbError> {
        self.db.write(move |conn| write(conn, &entry)).await
    }
}
