//! People, groups and secrets as they come into the database: the lines of an import.

use std::fmt;

use secrecy::SecretString;

use crate::domain::ids::{PrincipalId, SecretId};

/// One line of an import.
#[derive(Debug, Clone)]
pub enum ImportLine {
    User(User),
    UserGroup(UserGroup),
    PersonalGroup(PersonalGroup),
    Secret(Secret),
}

/// A person. Nothing can be shared with a person who has no account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: PrincipalId,
    pub username: String,
    pub name: String,
    pub email: String,
    pub active: bool,
    pub has_account: bool,
}

/// A group made by administrators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserGroup {
    pub id: PrincipalId,
    pub name: String,
    pub members: Vec<PrincipalId>,
    pub active: bool,
}

/// A group that a user made inside MySafe. The owner is a member only if the list of members names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonalGroup {
    pub id: PrincipalId,
    pub name: String,
    pub owner: PrincipalId,
    pub members: Vec<PrincipalId>,
    /// Whether members see the group, and so may choose it as a recipient.
    pub visible_to_members: bool,
    pub active: bool,
}

/// An API secret. `Debug` prints no client secret.
#[derive(Clone)]
pub struct Secret {
    pub id: SecretId,
    pub owner: PrincipalId,
    pub name: String,
    pub url: String,
    pub client_id: String,
    pub client_secret: Option<SecretString>,
    pub identifier: Option<String>,
    pub method: String,
    pub tags: Vec<String>,
    pub notes: String,
    pub disabled: bool,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).field("owner", &self.owner).finish_non_exhaustive()
    }
}
