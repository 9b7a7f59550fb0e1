//! Counts the secrets whose values somebody has read, for whoever takes access to them back.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::{AuditAction, PrincipalId, SecretId};

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    secrets: i64,
}

/// How many of these secrets had their value read at the time `since` (milliseconds) or later, by somebody who is
/// neither their owner nor `sharer`, the person who shared them.
pub(in crate::store) fn read_since(
    conn: &mut Conn,
    secrets: &[SecretId],
    since: i64,
    sharer: PrincipalId,
) -> Result<u64, DbError> {
    let sql = format!(
        "SELECT COUNT(DISTINCT a.secret_id) AS secrets FROM audit a JOIN secrets s ON s.id = a.secret_id \
         WHERE a.secret_id {} AND a.at >= $2 AND a.action = $3 AND a.actor <> s.owner_id AND a.actor <> $4",
        conn.is_in("$1"),
    );
    let count: Count = statement(sql)
        .bind::<Text, _>(conn.id_list(secrets.iter().copied()))
        .bind::<BigInt, _>(since)
        .bind::<Text, _>(AuditAction::SecretRead.as_str())
        .bind::<BigInt, _>(sharer.get())
        .get_result(conn)?;
    Ok(u64::try_from(count.secrets).unwrap_or(0))
}
