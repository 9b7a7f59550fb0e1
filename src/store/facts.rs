//! What a plan needs to know, read inside the transaction that applies it.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, SmallInt, Text};

use crate::db::{Conn, DbError};
use crate::domain::plan::{Access, Facts, PrincipalFact, SecretFact};
use crate::domain::{PrincipalId, PrincipalKind, Recipient, SecretId};

use super::access::{acting_as, visible_to};

#[derive(QueryableByName)]
struct SecretRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    owner_id: i64,
    #[diesel(sql_type = Bool)]
    disabled: bool,
    /// 0 none, 1 view, 2 edit or owner.
    #[diesel(sql_type = Integer)]
    access: i32,
}

#[derive(QueryableByName)]
struct PrincipalRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = Bool)]
    active: bool,
    #[diesel(sql_type = Bool)]
    has_account: bool,
    #[diesel(sql_type = Bool)]
    visible: bool,
}

/// A stored id as its type.
pub(super) fn id<T: TryFrom<i64, Error = String>>(number: i64) -> Result<T, DbError> {
    T::try_from(number).map_err(DbError::Corrupt)
}

/// Whether the person exists, is active and has an account.
pub(super) fn requester_valid(conn: &mut Conn, requester: PrincipalId) -> Result<bool, DbError> {
    use super::schema::principals as p;
    let found = p::table
        .filter(p::id.eq(requester.get()))
        .filter(p::kind.eq(PrincipalKind::User.code()))
        .filter(p::active)
        .filter(p::has_account)
        .count()
        .get_result::<i64>(conn)?;
    Ok(found > 0)
}

/// Reads everything that the plan of these pairs needs.
pub(super) fn read(
    conn: &mut Conn,
    requester: PrincipalId,
    secrets: &[SecretId],
    recipients: &[Recipient],
) -> Result<Facts, DbError> {
    let mut facts = Facts { requester_valid: requester_valid(conn, requester)?, ..Facts::default() };
    if !facts.requester_valid {
        return Ok(facts);
    }
    let sql = format!(
        "WITH me AS MATERIALIZED ({}) \
         SELECT s.id, s.owner_id, s.disabled, CAST(CASE WHEN s.owner_id = $1 THEN 2 ELSE COALESCE( \
         (SELECT MAX(g.permission) FROM me JOIN grants g \
          ON g.secret_id = s.id AND g.principal_id = me.principal_id), 0) END AS INTEGER) AS access \
         FROM secrets s WHERE s.id IN ({})",
        acting_as("$1"),
        conn.each_id("$2"),
    );
    let list = conn.id_list(secrets.iter().copied());
    let rows: Vec<SecretRow> =
        diesel::sql_query(sql).bind::<BigInt, _>(requester.get()).bind::<Text, _>(list).load(conn)?;
    for row in rows {
        let access = match row.access {
            0 => Access::None,
            1 => Access::View,
            _ => Access::Edit,
        };
        facts
            .secrets
            .insert(id(row.id)?, SecretFact { owner: id(row.owner_id)?, disabled: row.disabled, access });
    }
    let sql = format!(
        "SELECT p.id, p.kind, p.active, p.has_account, {} AS visible FROM principals p WHERE p.id IN ({})",
        visible_to("$1"),
        conn.each_id("$2"),
    );
    let list = conn.id_list(recipients.iter().map(|recipient| recipient.id));
    let rows: Vec<PrincipalRow> =
        diesel::sql_query(sql).bind::<BigInt, _>(requester.get()).bind::<Text, _>(list).load(conn)?;
    for row in rows {
        let kind = PrincipalKind::from_code(row.kind)
            .ok_or_else(|| DbError::Corrupt(format!("principals.kind is {}", row.kind)))?;
        let has_account = row.has_account || kind != PrincipalKind::User;
        facts.principals.insert(
            id(row.id)?,
            PrincipalFact { kind, active: row.active, has_account, visible: row.visible },
        );
    }
    Ok(facts)
}
