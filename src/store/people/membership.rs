//! Who may act, and through whom: the one place that says what an account and a membership mean.

/// A subquery with the principals through which a user has access: the user, and every active group
/// that has the user as a member. Groups are resolved when access is checked, never copied.
///
/// `user` is a placeholder like `$1`, or a column. Owning a personal group gives nothing.
pub(in crate::store) fn acting_as(user: &str) -> String {
    format!(
        "SELECT CAST({user} AS BIGINT) AS principal_id UNION ALL \
         SELECT m.group_id FROM members m JOIN principals g ON g.id = m.group_id \
         WHERE m.user_id = {user} AND g.active AND g.kind IN (2, 3)"
    )
}

/// A condition on the principal `p`: the user may know of it. Everybody sees users and user groups;
/// a personal group is seen by its owner, and by its members where it says so.
pub(in crate::store) fn visible_to(user: &str) -> String {
    format!(
        "(p.kind <> 3 OR p.owner_id = {user} OR (p.visible_to_members AND EXISTS \
         (SELECT 1 FROM members v WHERE v.group_id = p.id AND v.user_id = {user})))"
    )
}

/// A condition on the principal of this alias: a person who may act, which is a user who is active and has an account.
pub(in crate::store) fn may_act(principal: &str) -> String {
    format!("({principal}.kind = 1 AND {principal}.active AND {principal}.has_account)")
}
