//! The validated request of a share or an unshare: what a job is asked to do, normalised.

use std::cmp::Reverse;

use crate::domain::ids::{PrincipalId, SecretId};
use crate::domain::job::JobKind;
use crate::domain::permission::{Permission, PrincipalKind};

/// How large a job may be. Secrets, recipients and pairs are counted after duplicates are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub secrets: usize,
    pub recipients: usize,
    pub pairs: u64,
    /// The size of one message, in bytes.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { secrets: 100_000, recipients: 10_000, pairs: 10_000_000, message_bytes: 2 * 1024 * 1024 }
    }
}

impl Limits {
    /// Holds the size of a request's message against the limit: a worker does not read messages that are larger.
    ///
    /// # Errors
    /// That it is over the limit.
    pub fn check_message(&self, bytes: usize) -> Result<(), OverLimit> {
        let (count, limit) = (bytes as u64, self.message_bytes as u64);
        if count > limit { Err(OverLimit { what: "bytes", count, limit }) } else { Ok(()) }
    }
}

/// A limit that a job is over. `Display` says which, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} {what} are more than the {limit} that one job may have")]
pub struct OverLimit {
    /// `secrets`, `recipients`, `pairs` or `bytes`.
    pub what: &'static str,
    pub count: u64,
    pub limit: u64,
}

/// Whom to share with and how much, or from whom to take access and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient {
    pub kind: PrincipalKind,
    pub id: PrincipalId,
    /// What a share gives. Of an unshare, what is taken: view takes everything, and edit leaves view.
    pub permission: Permission,
}

/// All secrets that the requester may share and that match these options. An option that restricts nothing is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllFilter {
    /// Words, each of which is in the secret's name, identifier or URL, or is its id.
    pub search: Option<String>,
    pub tag: Option<String>,
    pub shared: Option<bool>,
    /// Sorted and unique.
    pub except: Vec<SecretId>,
}

/// Which secrets a job is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Sorted and unique.
    Ids(Vec<SecretId>),
    All(AllFilter),
}

impl Selection {
    /// The same selection with its lists in order and without duplicates, and without options that restrict nothing.
    fn normalised(self) -> Self {
        match self {
            Self::Ids(ids) => Self::Ids(sorted(ids)),
            Self::All(filter) => Self::All(AllFilter {
                search: filter.search.filter(|text| !text.is_empty()),
                tag: filter.tag.filter(|text| !text.is_empty()),
                shared: filter.shared,
                except: sorted(filter.except),
            }),
        }
    }
}

/// A batch share or unshare, normalised: a request with the same content in another order, or with duplicates, is equal
/// to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRequest {
    /// Share or unshare. An undo has no request like this one.
    pub kind: JobKind,
    pub requested_by: PrincipalId,
    pub selection: Selection,
    /// In order of kind and id. A recipient that was named twice is here once, with the higher permission, or, in an
    /// unshare, with the one that takes more, which is view.
    pub recipients: Vec<Recipient>,
    /// What the requester tells the recipients, in its normal form ([`crate::domain::text::note`]). `None` where there
    /// is nothing to tell, as always in an unshare.
    pub note: Option<String>,
}

impl ShareRequest {
    /// Normalises a share. Neither list may be empty; whoever reads messages has checked that.
    #[must_use]
    pub fn new(
        requested_by: PrincipalId,
        selection: Selection,
        recipients: impl IntoIterator<Item = Recipient>,
    ) -> Self {
        let mut recipients: Vec<Recipient> = recipients.into_iter().collect();
        // The highest permission of a recipient comes first, and the first is kept.
        recipients.sort_unstable_by_key(|of| (of.kind, of.id, Reverse(of.permission)));
        Self::of(JobKind::Share, requested_by, selection, recipients)
    }

    /// Normalises an unshare. Neither list may be empty.
    #[must_use]
    pub fn taking(
        requested_by: PrincipalId,
        selection: Selection,
        recipients: impl IntoIterator<Item = Recipient>,
    ) -> Self {
        let mut recipients: Vec<Recipient> = recipients.into_iter().collect();
        // The lowest permission of a recipient takes most. It comes first, and the first is kept.
        recipients.sort_unstable_by_key(|of| (of.kind, of.id, of.permission));
        Self::of(JobKind::Unshare, requested_by, selection, recipients)
    }

    /// A request with each recipient's first permission. The recipients are in order.
    fn of(
        kind: JobKind,
        requested_by: PrincipalId,
        selection: Selection,
        mut recipients: Vec<Recipient>,
    ) -> Self {
        recipients.dedup_by_key(|of| (of.kind, of.id));
        Self { kind, requested_by, selection: selection.normalised(), recipients, note: None }
    }

    /// The same share with this note, which has passed [`crate::domain::text::note`]. An empty note is none.
    #[must_use]
    pub fn with_note(self, note: Option<String>) -> Self {
        Self { note: note.filter(|note| !note.is_empty()), ..self }
    }

    /// How many secrets were named; `None` for "all", until it is resolved.
    #[must_use]
    pub fn secrets_named(&self) -> Option<usize> {
        match &self.selection {
            Selection::Ids(ids) => Some(ids.len()),
            Selection::All(_) => None,
        }
    }

    /// How many pairs were asked for. `None` for "all".
    #[must_use]
    pub fn pairs(&self) -> Option<u64> {
        self.secrets_named().map(|secrets| pairs_of(secrets, self.recipients.len()))
    }

    /// Holds the request against the limits. For "all", it is to be called again with the number that was found.
    ///
    /// # Errors
    /// The first limit that it is over.
    pub fn check_limits(&self, limits: &Limits, secrets: Option<usize>) -> Result<(), OverLimit> {
        let over = |what, count: u64, limit: u64| {
            if count > limit { Err(OverLimit { what, count, limit }) } else { Ok(()) }
        };
        let recipients = self.recipients.len();
        let secrets = secrets.or(self.secrets_named()).unwrap_or(0);
        over("secrets", secrets as u64, limits.secrets as u64)?;
        over("recipients", recipients as u64, limits.recipients as u64)?;
        over("pairs", pairs_of(secrets, recipients), limits.pairs)
    }
}

/// Secrets times recipients. Both count things in memory, so the product fits.
#[must_use]
pub fn pairs_of(secrets: usize, recipients: usize) -> u64 {
    (secrets as u64).saturating_mul(recipients as u64)
}

/// In order, and each once.
fn sorted(mut ids: Vec<SecretId>) -> Vec<SecretId> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets() -> impl Strategy<Value = Vec<SecretId>> {
        prop::collection::vec((1..40_i64).prop_map(|id| SecretId::new(id).expect("an id")), 1..30)
    }

    fn recipients() -> impl Strategy<Value = Vec<Recipient>> {
        let kind = prop::sample::select(PrincipalKind::ALL);
        let permission = prop::sample::select(Permission::ALL);
        let recipient = (kind, 1..8_i64, permission).prop_map(|(kind, id, permission)| Recipient {
            kind,
            id: PrincipalId::new(id).expect("an id"),
            permission,
        });
        prop::collection::vec(recipient, 1..20)
    }

    fn request(ids: Vec<SecretId>, recipients: Vec<Recipient>) -> ShareRequest {
        ShareRequest::new(PrincipalId::new(42).expect("an id"), Selection::Ids(ids), recipients)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn order_and_duplicates_do_not_matter(
            (ids, mixed_ids) in secrets().prop_flat_map(|ids| (Just(ids.clone()), Just(ids).prop_shuffle())),
            (to, mixed_to) in recipients().prop_flat_map(|to| (Just(to.clone()), Just(to).prop_shuffle())),
            again in 0..20_usize,
        ) {
            let once = request(ids.clone(), to.clone());
            let ids = mixed_ids.into_iter().chain(ids.into_iter().cycle().take(again)).collect();
            let to = mixed_to.into_iter().chain(to.into_iter().cycle().take(again)).collect();
            prop_assert_eq!(request(ids, to), once);
        }

        #[test]
        fn a_normalised_request_stays_as_it_is(ids in secrets(), to in recipients()) {
            let once = request(ids, to);
            let again = ShareRequest::new(once.requested_by, once.selection.clone(), once.recipients.clone());
            prop_assert_eq!(again, once);
        }

        #[test]
        fn a_recipient_named_twice_gets_the_higher_permission(ids in secrets(), to in recipients()) {
            let once = request(ids, to.clone());
            let named = |of: &Recipient| (of.kind, of.id);
            prop_assert!(once.recipients.is_sorted_by(|a, b| named(a) < named(b)));
            for asked in &to {
                let highest = to.iter().filter(|of| named(of) == named(asked)).map(|of| of.permission).max();
                let kept = once.recipients.iter().find(|of| named(of) == named(asked)).map(|of| of.permission);
                prop_assert_eq!(kept, highest);
            }
        }

        #[test]
        fn a_recipient_named_twice_loses_the_more(ids in secrets(), to in recipients()) {
            let by = PrincipalId::new(42).expect("an id");
            let once = ShareRequest::taking(by, Selection::Ids(ids), to.clone());
            let named = |of: &Recipient| (of.kind, of.id);
            prop_assert!(once.recipients.is_sorted_by(|a, b| named(a) < named(b)));
            for asked in &to {
                let lowest = to.iter().filter(|of| named(of) == named(asked)).map(|of| of.permission).min();
                let kept = once.recipients.iter().find(|of| named(of) == named(asked)).map(|of| of.permission);
                prop_assert_eq!(kept, lowest);
            }
        }

        #[test]
        fn options_that_restrict_nothing_are_dropped(ids in secrets(), to in recipients()) {
            let all = |search: Option<&str>, tag: Option<&str>, except: Vec<SecretId>| {
                let filter = AllFilter {
                    search: search.map(str::to_owned),
                    tag: tag.map(str::to_owned),
                    shared: None,
                    except,
                };
                ShareRequest::new(PrincipalId::new(42).expect("an id"), Selection::All(filter), to.clone())
            };
            prop_assert_eq!(all(Some(""), Some(""), Vec::new()), all(None, None, Vec::new()));
            let mut backwards = ids.clone();
            backwards.reverse();
            prop_assert_eq!(all(None, None, ids), all(None, None, backwards));
        }

        #[test]
        fn limits_count_after_duplicates_are_merged(ids in secrets(), to in recipients()) {
            let once = request(ids, to);
            let (secrets, recipients) = (once.secrets_named().unwrap_or(0), once.recipients.len());
            let limits = Limits { secrets, recipients, pairs: pairs_of(secrets, recipients), ..Limits::default() };
            prop_assert_eq!(once.check_limits(&limits, None), Ok(()));
            let over = |limits: Limits| once.check_limits(&limits, None).map_err(|over| over.what);
            prop_assert_eq!(over(Limits { secrets: secrets - 1, ..limits }), Err("secrets"));
            prop_assert_eq!(over(Limits { recipients: recipients - 1, ..limits }), Err("recipients"));
            prop_assert_eq!(over(Limits { pairs: limits.pairs - 1, ..limits }), Err("pairs"));
        }
    }
}
