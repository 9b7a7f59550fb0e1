//! Counts the people behind users and groups.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::foresight::People;
use crate::domain::{PrincipalKind, Recipient};
use crate::store::people::membership::may_act;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    members: i64,
    #[diesel(sql_type = BigInt)]
    named: i64,
}

/// The people who are these recipients or members of them. The recipients are active, and users among them have an
/// account; members of groups are looked at here.
pub(in crate::store) fn people(conn: &mut Conn, recipients: &[&Recipient]) -> Result<People, DbError> {
    let of = |user: bool| {
        recipients.iter().filter(move |of| (of.kind == PrincipalKind::User) == user).map(|of| of.id)
    };
    let direct = of(true).count() as u64;
    if of(false).next().is_none() {
        return Ok(People { direct, through_groups: 0, distinct: direct });
    }
    let sql = format!(
        "WITH m AS MATERIALIZED (SELECT DISTINCT m.user_id AS id FROM members m JOIN principals u ON u.id = m.user_id \
         WHERE m.group_id IN ({groups}) AND {may_act} AND {in_time}) \
         SELECT count(*) AS members, count(*) FILTER (WHERE id IN ({users})) AS named FROM m",
        groups = conn.each_id("$1"),
        may_act = may_act("u"),
        in_time = conn.in_time(),
        users = conn.each_id("$2"),
    );
    let (groups, users) = (conn.id_list(of(false)), conn.id_list(of(true)));
    let row: Row = statement(sql).bind::<Text, _>(groups).bind::<Text, _>(users).get_result(conn)?;
    let number = |of: i64| u64::try_from(of).unwrap_or(0);
    let through_groups = number(row.members);
    let distinct = (direct + through_groups).saturating_sub(number(row.named));
    Ok(People { direct, through_groups, distinct })
}
