//! Writes the rules of people in SQL: who may act, through which groups, and who may know of whom.
//!
//! No other file has these rules.

/// A subquery with the principals through which a user has access: the user, and every active group that the user is
/// a member of. The members of a group are looked up each time that access is checked, so that a change of the group
/// takes effect at once.
///
/// `user` is a placeholder like `$1`, or a column. The owner of a personal group has no access through it, unless the
/// owner is also a member.
pub(in crate::store) fn acting_as(user: &str) -> String {
    format!(
        "SELECT CAST({user} AS BIGINT) AS principal_id UNION ALL \
         SELECT m.group_id FROM members m JOIN principals g ON g.id = m.group_id \
         WHERE m.user_id = {user} AND g.active AND g.kind IN (2, 3)"
    )
}

/// A subquery like [`acting_as`] that also has the groups through which the user would have access if they were active.
/// The column `gives` says whether the principal gives access now.
pub(in crate::store) fn every_way(user: &str) -> String {
    format!(
        "SELECT CAST({user} AS BIGINT) AS principal_id, true AS gives UNION ALL \
         SELECT m.group_id, g.active FROM members m JOIN principals g ON g.id = m.group_id \
         WHERE m.user_id = {user} AND g.kind IN (2, 3)"
    )
}

/// A condition on the principal `p`: the user may know of it. Everybody may know of users and user groups. Its owner
/// may know of a personal group, and so may its members if the group says so.
pub(in crate::store) fn visible_to(user: &str) -> String {
    format!(
        "(p.kind <> 3 OR p.owner_id = {user} OR (p.visible_to_members AND EXISTS \
         (SELECT 1 FROM members v WHERE v.group_id = p.id AND v.user_id = {user})))"
    )
}

/// A condition on the principal with this alias: it is a person who may act, which is a user who is active and has an
/// account.
pub(in crate::store) fn may_act(principal: &str) -> String {
    format!("({principal}.kind = 1 AND {principal}.active AND {principal}.has_account)")
}
