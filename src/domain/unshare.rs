//! The request to take access away, normalised.

use crate::domain::ids::PrincipalId;
use crate::domain::share::{Recipient, Selection};

/// Which secrets to take away from whom, normalised: a request with the same content in another order, or with
/// duplicates, is equal to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnshareRequest {
    pub requested_by: PrincipalId,
    pub selection: Selection,
    /// In order of kind and id. The permission says what is taken away: `view` takes all access, and `edit` lowers it
    /// to view. A recipient that was named twice is here once, with what takes more.
    pub recipients: Vec<Recipient>,
}

impl UnshareRequest {
    /// Normalises a request. Neither list may be empty; whoever reads messages has checked that.
    #[must_use]
    pub fn new(
        requested_by: PrincipalId,
        selection: Selection,
        recipients: impl IntoIterator<Item = Recipient>,
    ) -> Self {
        let mut recipients: Vec<Recipient> = recipients.into_iter().collect();
        // Of the two, `view` comes first and takes more. The first is kept.
        recipients.sort_unstable();
        recipients.dedup_by_key(|of| (of.kind, of.id));
        Self { requested_by, selection: selection.normalised(), recipients }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Permission, PrincipalKind, SecretId};

    #[test]
    fn a_recipient_that_is_named_twice_loses_the_more_of_both() {
        let of = |id, permission| Recipient {
            kind: PrincipalKind::User,
            id: PrincipalId::new(id).expect("an id"),
            permission,
        };
        let (view, edit) = (Permission::View, Permission::Edit);
        let id = |id| SecretId::new(id).expect("an id");
        let asked = UnshareRequest::new(
            PrincipalId::new(1).expect("an id"),
            Selection::Ids(vec![id(9), id(2), id(9)]),
            [of(3, edit), of(2, edit), of(3, view), of(3, edit)],
        );
        assert_eq!(asked.recipients, [of(2, edit), of(3, view)]);
        assert_eq!(asked.selection, Selection::Ids(vec![id(2), id(9)]));
    }
}
