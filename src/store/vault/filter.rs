//! What a listing of secrets is asked with, and what it answers: filter, order, cursor, item.

use crate::domain::{PrincipalId, Reach, SecretId};

/// Which secrets of those in reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretFilter {
    /// Words that are all in name, identifier or URL, or are the id, as [`crate::domain::text`] compares them;
    /// none restrict nothing.
    pub search: String,
    /// This tag, in whatever form its accents were composed; empty restricts nothing.
    pub tag: String,
    /// Whether somebody else than the person has a grant.
    pub shared: Option<bool>,
    /// Whose they are: the person's own, or what others share with the person.
    pub owner: Option<OwnedBy>,
    /// Only these, where there are any; at most [`SecretFilter::MAX_IDS`].
    pub ids: Vec<SecretId>,
}

impl SecretFilter {
    /// They stand in the query one by one.
    pub const MAX_IDS: usize = 200;
}

/// Who owns a secret, seen by the person who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnedBy {
    Me,
    Others,
}

/// The order of a listing. Names are compared without case and accents, by their first 100 characters; between
/// equals, identifier and id decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretSort {
    #[default]
    Name,
    NameDescending,
    Id,
    IdDescending,
}

impl SecretSort {
    pub(in crate::store) fn by_name(self) -> bool {
        matches!(self, Self::Name | Self::NameDescending)
    }

    pub(in crate::store) fn descending(self) -> bool {
        matches!(self, Self::NameDescending | Self::IdDescending)
    }
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCursor {
    pub id: i64,
    /// The start of the folded name; empty where the order is that of ids.
    pub key: String,
}

/// A secret as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretItem {
    pub id: SecretId,
    pub name: String,
    pub url: String,
    pub identifier: Option<String>,
    pub tags: Vec<String>,
    pub shared: bool,
    pub owner: PrincipalId,
    /// Empty where the owner is unknown.
    pub owner_name: String,
    pub owner_username: Option<String>,
    pub disabled: bool,
    pub reach: Reach,
}
