//! Writes the rule of what a person may do with a secret in SQL, for one secret and for all secrets of a person.
//!
//! The owner of a secret may do everything with it, whatever is granted. Everybody else has the highest permission
//! that is granted to them or to an active group that they are a member of. A level is a number, so that the database
//! can take the greatest: 0 is nothing, 1 is view, 2 is edit, 3 is owner. The levels 1 and 2 are the values of
//! `grants.permission`.

use crate::db::DbError;
use crate::domain::Reach;
use crate::store::people::membership::acting_as;

/// An expression for the level of `user` on the secret `s`. It costs a look-up by key for each principal through which
/// the user acts, however many grants the secret has.
///
/// `user` is a placeholder like `$1`, or a column. `acting` has the principals through which the user acts
/// ([`acting_as`]): it is a subquery in brackets, or a name from WITH. SQLite joins in the order of the text at a
/// CROSS JOIN, so that it does not read all grants of the secret first.
pub(in crate::store) fn level_on_secret(user: &str, acting: &str) -> String {
    format!(
        "CAST(CASE WHEN s.owner_id = {user} THEN 3 ELSE COALESCE((SELECT MAX(g.permission) FROM {acting} me \
         CROSS JOIN grants g WHERE g.secret_id = s.id AND g.principal_id = me.principal_id), 0) END AS BIGINT)"
    )
}

/// Subqueries for a WITH: `reach` has every secret on which `user` has a level above 0, with the columns `secret_id`
/// and `level`. If there is an `after`, only secrets with a greater id.
pub(in crate::store) fn all_in_reach(user: &str, after: Option<i64>) -> String {
    // The number is part of the text and not bound. It stands in the statement before the other placeholders, and
    // SQLite numbers these in the order in which it meets them.
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

/// A subquery with a row for each way to a secret that gives something: `user_id` and `level`. A person who cannot sign
/// in is among them, and a person with two ways is there twice. It reads the secret's grants and the members of their
/// groups.
///
/// `secret` is a placeholder like `$1`.
pub(in crate::store) fn everybody_on_secret(secret: &str) -> String {
    format!(
        "SELECT s.owner_id AS user_id, 3 AS level FROM secrets s WHERE s.id = {secret} UNION ALL \
         SELECT g.principal_id, g.permission FROM grants g WHERE g.secret_id = {secret} UNION ALL \
         SELECT m.user_id, g.permission FROM grants g JOIN principals q ON q.id = g.principal_id \
         JOIN members m ON m.group_id = q.id WHERE g.secret_id = {secret} AND q.active AND q.kind IN (2, 3)"
    )
}

/// The meaning of a level. `None` if the person may not even know of the secret.
pub(in crate::store) fn reach(level: i64) -> Result<Option<Reach>, DbError> {
    match level {
        0 => Ok(None),
        1 => Ok(Some(Reach::View)),
        2 => Ok(Some(Reach::Edit)),
        3 => Ok(Some(Reach::Owner)),
        _ => Err(DbError::Corrupt(format!("grants.permission is {level}"))),
    }
}

/// The meaning of a level that is above 0, because its row was found only through the person's access.
pub(in crate::store) fn some_reach(level: i64) -> Result<Reach, DbError> {
    reach(level)?.ok_or_else(|| DbError::Corrupt("grants.permission is 0".to_owned()))
}
