//! The validated share request: what a job is asked to do, normalised.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{PrincipalId, SecretId};
use super::permission::{Permission, PrincipalKind};

/// How large a job may be. Counted after duplicates are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub secrets: usize,
    pub recipients: usize,
    pub pairs: u64,
    /// Of one message, in bytes.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { secrets: 100_000, recipients: 10_000, pairs: 10_000_000, message_bytes: 2 * 1024 * 1024 }
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

/// Whom to share with, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient {
    pub kind: PrincipalKind,
    pub id: PrincipalId,
    pub permission: Permission,
}

/// "All that I may share and that match", with every option dropped that restricts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllFilter {
    /// Substring of name, identifier or URL, whatever the case.
    pub search: Option<String>,
    pub tag: Option<String>,
    pub shared: Option<bool>,
    /// Sorted and unique.
    pub except: Vec<SecretId>,
}

/// Which secrets a job shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Sorted and unique.
    Ids(Vec<SecretId>),
    All(AllFilter),
}

/// A batch share, normalised: the same request in another order, or with duplicates, is equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRequest {
    pub requested_by: PrincipalId,
    pub selection: Selection,
    /// Sorted by (kind, id), each once, with the higher of its permissions.
    pub recipients: Vec<Recipient>,
}

impl ShareRequest {
    /// Normalises. Neither list may be empty; whoever reads messages has checked that.
    #[must_use]
    pub fn new(
        requested_by: PrincipalId,
        selection: Selection,
        recipients: impl IntoIterator<Item = Recipient>,
    ) -> Self {
        let mut merged: BTreeMap<(PrincipalKind, PrincipalId), Permission> = BTreeMap::new();
        for recipient in recipients {
            let kept = merged.entry((recipient.kind, recipient.id)).or_default();
            *kept = (*kept).max(recipient.permission);
        }
        let selection = match selection {
            Selection::Ids(ids) => Selection::Ids(sorted(ids)),
            Selection::All(filter) => Selection::All(AllFilter {
                search: filter.search.filter(|text| !text.is_empty()),
                tag: filter.tag.filter(|text| !text.is_empty()),
                shared: filter.shared,
                except: sorted(filter.except),
            }),
        };
        let recipients =
            merged.into_iter().map(|((kind, id), permission)| Recipient { kind, id, permission }).collect();
        Self { requested_by, selection, recipients }
    }

    /// How many secrets were named; `None` for "all", until it is resolved.
    #[must_use]
    pub fn secrets_named(&self) -> Option<usize> {
        match &self.selection {
            Selection::Ids(ids) => Some(ids.len()),
            Selection::All(_) => None,
        }
    }

    /// The pairs as asked: N x M, `None` for "all".
    #[must_use]
    pub fn pairs(&self) -> Option<u64> {
        self.secrets_named().map(|secrets| pairs_of(secrets, self.recipients.len()))
    }

    /// Holds the request against the limits; for "all", call it again with the resolved number.
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

/// N x M. Both are counts of things in memory, so the product fits.
#[must_use]
pub fn pairs_of(secrets: usize, recipients: usize) -> u64 {
    (secrets as u64).saturating_mul(recipients as u64)
}

fn sorted(ids: Vec<SecretId>) -> Vec<SecretId> {
    ids.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Folds a text for comparing: Unicode lower case. Done by us, so that both databases agree.
#[must_use]
pub fn fold(text: &str) -> String {
    text.to_lowercase()
}
