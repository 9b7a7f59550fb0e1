//! What a grant allows, who can hold one, and why a pair is rejected.

use serde::Serialize;

use crate::domain::names::names;

/// What a grant allows. `Edit` includes `View`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    #[default]
    View,
    Edit,
}

names!(Permission { View = "view", Edit = "edit" });

impl Permission {
    /// The number in `grants.permission`.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::View => 1,
            Self::Edit => 2,
        }
    }

    /// The permission of that number.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::View),
            2 => Some(Self::Edit),
            _ => None,
        }
    }
}

/// The kinds of principals, in the order of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    User,
    UserGroup,
    PersonalGroup,
}

names!(PrincipalKind { User = "user", UserGroup = "user_group", PersonalGroup = "personal_group" });

impl PrincipalKind {
    /// The number in `principals.kind`.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::User => 1,
            Self::UserGroup => 2,
            Self::PersonalGroup => 3,
        }
    }

    /// The kind of that number.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

/// Why pairs of a secret or a recipient were not shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// It does not exist, or the requester may not know that it does.
    NotFound,
    /// The requester may view the secret and may not share it.
    NotAllowed,
    /// The secret is disabled.
    Disabled,
    /// The user or group is not active.
    Inactive,
    /// The user has no MySafe account.
    NoAccount,
}

names!(RejectReason {
    NotFound = "not_found",
    NotAllowed = "not_allowed",
    Disabled = "disabled",
    Inactive = "inactive",
    NoAccount = "no_account",
});
