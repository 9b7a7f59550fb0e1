//! What a person may do with a secret: the one rule, in SQL, read from either side.
//!
//! The owner may do everything, for ever. Everybody else may do the most that is granted to them or to an active group
//! that they are a member of. Levels are numbers, so that the database can take the greatest: 0 nothing, 1 view, 2 edit,
//! 3 owner; 1 and 2 are those of `grants.permission`.

use crate::db::DbError;
use crate::domain::Reach;
use crate::store::people::membership::acting_as;

/// From the secret's side: the level of `user` on the secret `s`, by a few look-ups by key, however many grants it has.
///
/// `user` is a placeholder like `$1`, or a column. `acting` names what has the principals through which the user acts
/// (a subquery in brackets, or a name from WITH). CROSS JOIN keeps SQLite's planner from reading all grants first.
pub(in crate::store) fn level_on_secret(user: &str, acting: &str) -> String {
    format!(
        "CAST(CASE WHEN s.owner_id = {user} THEN 3 ELSE COALESCE((SELECT MAX(g.permission) FROM {acting} me \
         CROSS JOIN grants g WHERE g.secret_id = s.id AND g.principal_id = me.principal_id), 0) END AS BIGINT)"
    )
}

/// From the person's side, for WITH: `reach` has every secret on which `user` has a level above 0 (`secret_id`,
/// `level`). Only those behind the id `after`, where there is one.
pub(in crate::store) fn all_in_reach(user: &str, after: Option<i64>) -> String {
    // A number, and no parameter: SQLite counts those by where they stand first.
    let behind = |id: &str| after.map_or_else(String::new, |after| format!("AND {id} > {after}"));
    format!(
        "acting AS ({acting}), reach AS (SELECT secret_id, MAX(level) AS level FROM (\
         SELECT id AS secret_id, 3 AS level FROM secrets WHERE owner_id = {user} {owned} UNION ALL \
         SELECT g.secret_id, g.permission AS level FROM acting me CROSS JOIN grants g \
         WHERE g.principal_id = me.principal_id {granted}) ways GROUP BY secret_id)",
        acting = acting_as(user),
        owned = behind("id"),
        granted = behind("g.secret_id"),
    )
}

/// A level as what it means; `None` where the person may not even know of the secret.
pub(in crate::store) fn reach(level: i64) -> Result<Option<Reach>, DbError> {
    match level {
        0 => Ok(None),
        1 => Ok(Some(Reach::View)),
        2 => Ok(Some(Reach::Edit)),
        3 => Ok(Some(Reach::Owner)),
        _ => Err(DbError::Corrupt(format!("grants.permission is {level}"))),
    }
}

/// The same of a row that is there only because the person has a way to the secret.
pub(in crate::store) fn some_reach(level: i64) -> Result<Reach, DbError> {
    reach(level)?.ok_or_else(|| DbError::Corrupt("grants.permission is 0".to_owned()))
}
