//! The types of a listing of secrets: its filter, its order, its cursor and its items.

use crate::domain::{PrincipalId, Reach, SecretId};

/// Selects secrets among those that a person can reach. The default selects all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretFilter {
    /// Each of these words has to be in the name, identifier or URL, or be the id, as [`crate::domain::text`] compares
    /// them. An empty text restricts nothing.
    pub search: String,
    /// The secret has to have this tag, in whatever form its accents are composed. An empty text restricts nothing.
    pub tag: String,
    /// Whether somebody other than the person has to have a grant, or must not have one. `None` restricts nothing.
    pub shared: Option<bool>,
    /// Whether the person, or somebody else, has to own the secret. `None` restricts nothing.
    pub owner: Option<OwnedBy>,
    /// Only these secrets are selected. An empty list restricts nothing. It has at most [`SecretFilter::MAX_IDS`] ids.
    pub ids: Vec<SecretId>,
}

impl SecretFilter {
    /// The most ids that a filter may have, since the statement has each of them in its text.
    pub const MAX_IDS: usize = 200;
}

/// The owner of a secret, as the person who asks sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnedBy {
    Me,
    Others,
}

/// The order of a listing. Names are compared without case and accents, by their first 100 characters. If two are the
/// same, the identifier decides, and then the id.
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

/// The place where a page of a listing ended. The next page begins after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCursor {
    pub id: i64,
    /// The text that the last item was sorted by. It is empty if the listing is in the order of ids.
    pub key: String,
}

/// A secret as listings show it, without its client secret and its notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretItem {
    pub id: SecretId,
    pub name: String,
    pub url: String,
    pub identifier: Option<String>,
    pub tags: Vec<String>,
    pub shared: bool,
    pub owner: PrincipalId,
    /// The name of the owner. It is empty if the owner is unknown.
    pub owner_name: String,
    pub owner_username: Option<String>,
    pub disabled: bool,
    pub reach: Reach,
}
