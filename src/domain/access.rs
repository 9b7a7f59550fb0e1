//! The ways on which a person comes to a secret, why a way gives nothing, and which requests keep access alive.

use serde::Serialize;

use crate::domain::ids::{JobId, PrincipalId};
use crate::domain::names::names;
use crate::domain::permission::{Permission, PrincipalKind, RejectReason};
use crate::domain::secret::Reach;

/// How a person comes to a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The person owns the secret.
    Owner,
    /// The person has a grant.
    Direct,
    /// A user group has a grant, and the person is a member of it.
    UserGroup,
    /// A personal group has a grant, and the person is a member of it.
    PersonalGroup,
}

names!(Way {
    Owner = "owner",
    Direct = "direct",
    UserGroup = "user_group",
    PersonalGroup = "personal_group",
});

/// Why a way gives nothing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Inactive {
    /// The person is not active and cannot sign in.
    PersonInactive,
    /// The person has no MySafe account and cannot sign in.
    PersonNoAccount,
    /// The group is not active.
    GroupInactive,
}

names!(Inactive {
    PersonInactive = "person_inactive",
    PersonNoAccount = "person_no_account",
    GroupInactive = "group_inactive",
});

impl Inactive {
    /// The cause of a way of a person who cannot be shared with for this reason, which is also why they cannot sign in.
    #[must_use]
    pub fn of_person(reason: RejectReason) -> Self {
        match reason {
            RejectReason::NoAccount => Self::PersonNoAccount,
            _ => Self::PersonInactive,
        }
    }
}

/// A grant as far as the age of a claim is held against it. Times are microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub permission: Permission,
    pub granted_at: i64,
    /// When its edit came. `None` if edit came with the row, or if there is no edit.
    pub edit_at: Option<i64>,
}

impl Standing {
    /// What a job that asked for `asked`, and found it there at the time `at`, keeps alive. `None` if the claim is older
    /// than the grant: what was asked for before was taken back since then. A claim of edit that is older than the edit
    /// is one of view.
    #[must_use]
    pub fn kept_by(self, asked: Permission, at: i64) -> Option<Permission> {
        if at < self.granted_at {
            return None;
        }
        let is_too_old_for_edit = self.edit_at.is_some_and(|edit_at| at < edit_at);
        let asked = if is_too_old_for_edit { Permission::View } else { asked };
        Some(asked.min(self.permission))
    }
}

/// What a person may do with a secret, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The most that one of the active ways gives. `None` if the person has no access.
    pub effective: Option<Reach>,
    /// The active ways come first, and those that give more before those that give less.
    pub because: Vec<Because>,
}

/// One way on which a person comes to a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because {
    pub way: Way,
    /// The person, or the group that they are a member of.
    pub principal: PrincipalId,
    pub kind: PrincipalKind,
    /// `None` if the reader may not know of the group.
    pub name: Option<String>,
    pub reach: Reach,
    /// Since when this way gives what it gives, in milliseconds since 1970. `None` for the owner.
    pub since: Option<i64>,
    /// The job that gave view, if one is known.
    pub view: Option<Asking>,
    /// The job that gave edit, if one is known.
    pub edit: Option<Asking>,
    /// Others that asked for access that was there already, the latest first.
    pub also_asked_by: Vec<AlsoAsked>,
    /// `None` if the way gives access now.
    pub inactive: Option<Inactive>,
}

/// A job, as the one who asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    pub job: JobId,
    pub requested_by: PrincipalId,
    /// `None` if nobody has this id any more.
    pub requester: Option<String>,
    /// Milliseconds since 1970.
    pub requested_at: i64,
    pub note: Option<String>,
}

/// A job that found the access there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlsoAsked {
    pub asking: Asking,
    /// What stays, at least, as long as this job counts.
    pub permission: Permission,
}

#[cfg(test)]
mod tests {
    use super::*;
    use Permission::{Edit, View};

    #[test]
    fn a_claim_counts_only_as_long_as_what_it_found_stands() {
        let fresh = Standing { permission: Edit, granted_at: 10, edit_at: None };
        let upgraded = Standing { edit_at: Some(20), ..fresh };
        let lowered = Standing { permission: View, ..fresh };
        for (standing, asked, at, kept) in [
            (fresh, View, 9, None),
            (fresh, Edit, 9, None),
            (fresh, Edit, 10, Some(Edit)),
            (fresh, View, 10, Some(View)),
            (upgraded, Edit, 19, Some(View)),
            (upgraded, Edit, 20, Some(Edit)),
            (upgraded, View, 30, Some(View)),
            (lowered, Edit, 30, Some(View)),
        ] {
            assert_eq!(standing.kept_by(asked, at), kept, "{standing:?} {asked} at {at}");
        }
    }
}
