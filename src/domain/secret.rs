//! What a person may do with a secret, and how a secret is changed.

use std::fmt;

use secrecy::SecretString;

use crate::domain::names::names;
use crate::domain::permission::RejectReason;

/// What a person may do with a secret that they can see. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    View,
    /// They may change it, share it and take grants back.
    Edit,
    /// As `Edit`, and nobody can take it back.
    Owner,
}

names!(Reach { View = "view", Edit = "edit", Owner = "owner" });

impl Reach {
    #[must_use]
    pub fn may_edit(self) -> bool {
        self >= Self::Edit
    }

    /// Why a secret on which the person has this access cannot be shared by that person. `None` if it can.
    #[must_use]
    pub fn share_refusal(self, disabled: bool) -> Option<RejectReason> {
        if self.may_edit() {
            disabled.then_some(RejectReason::Disabled)
        } else {
            Some(RejectReason::NotAllowed)
        }
    }
}

/// A change of a secret. A field that is `None` stays as it is. `Debug` prints no value.
#[derive(Clone, Default)]
pub struct SecretPatch {
    pub name: Option<String>,
    pub url: Option<String>,
    pub client_id: Option<String>,
    /// `Some(None)` takes it away.
    pub client_secret: Option<Option<SecretString>>,
    /// `Some(None)` takes it away.
    pub identifier: Option<Option<String>>,
    pub method: Option<String>,
    /// In order and without duplicates. They replace all tags that the secret had.
    pub tags: Option<Vec<String>>,
    pub notes: Option<String>,
    pub disabled: Option<bool>,
}

impl fmt::Debug for SecretPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretPatch").finish_non_exhaustive()
    }
}
