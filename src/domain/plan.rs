//! The plan of a chunk: which pairs are applied, which are rejected, and why.
//!
//! Pure: the store reads the facts inside the chunk's transaction, this decides, the store applies.

use std::collections::HashMap;

use super::event::{Rejection, Subject};
use super::ids::{PrincipalId, SecretId};
use super::permission::{Permission, PrincipalKind, RejectReason};
use super::share::{Recipient, pairs_of};

/// What the requester can do with a secret, by owning it or by a grant (direct, or through an
/// active group).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    None,
    View,
    /// Edit, or owner: may share.
    Edit,
}

/// A secret that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFact {
    pub owner: PrincipalId,
    pub disabled: bool,
    pub access: Access,
}

/// A principal that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrincipalFact {
    pub kind: PrincipalKind,
    pub active: bool,
    /// Users; true for groups.
    pub has_account: bool,
    /// Personal groups: the requester owns it, or is a member of where members may see it. True for
    /// the others.
    pub visible: bool,
}

/// What the database says about a chunk, read in its transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The requester exists, is active and has an account.
    pub requester_valid: bool,
    pub secrets: HashMap<SecretId, SecretFact>,
    pub principals: HashMap<PrincipalId, PrincipalFact>,
}

/// What to do with a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    RequesterNotValid,
    Apply(ChunkPlan),
}

/// The pairs to apply: every secret with every recipient, but for the pairs of an owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkPlan {
    /// In ascending order.
    pub secrets: Vec<SecretId>,
    /// In ascending order of id (each id once: only the true kind of an id is valid).
    pub recipients: Vec<(PrincipalId, Permission)>,
    /// Recipients who own one of the secrets: they have everything already and get no row.
    pub owners: Vec<(SecretId, PrincipalId)>,
    /// Secrets by id, then recipients by (kind, id).
    pub rejections: Vec<Rejection>,
}

impl ChunkPlan {
    /// The pairs that get a row, or have one.
    #[must_use]
    pub fn pairs_to_apply(&self) -> u64 {
        pairs_of(self.secrets.len(), self.recipients.len()) - self.owners.len() as u64
    }

    /// The pairs that are rejected.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejections.iter().map(|rejection| rejection.pairs).sum()
    }
}

/// Decides. `secrets` and `recipients` are in ascending order, each once.
#[must_use]
pub fn plan(secrets: &[SecretId], recipients: &[Recipient], facts: &Facts) -> Plan {
    if !facts.requester_valid {
        return Plan::RequesterNotValid;
    }
    let mut chunk = ChunkPlan::default();
    for &secret in secrets {
        match secret_rejection(facts.secrets.get(&secret)) {
            None => chunk.secrets.push(secret),
            Some(reason) => chunk.rejections.push(Rejection {
                subject: Subject::Secret(secret),
                reason,
                pairs: recipients.len() as u64,
            }),
        }
    }
    for recipient in recipients {
        match recipient_rejection(recipient, facts.principals.get(&recipient.id)) {
            None => chunk.recipients.push((recipient.id, recipient.permission)),
            // A pair that is rejected on both sides counts for the secret.
            Some(reason) => chunk.rejections.push(Rejection {
                subject: Subject::Recipient(recipient.kind, recipient.id),
                reason,
                pairs: chunk.secrets.len() as u64,
            }),
        }
    }
    chunk.recipients.sort_unstable_by_key(|(id, _)| *id);
    for &secret in &chunk.secrets {
        let owner = facts.secrets.get(&secret).map(|fact| fact.owner);
        if let Some(owner) = owner
            && chunk.recipients.binary_search_by_key(&owner, |(id, _)| *id).is_ok()
        {
            chunk.owners.push((secret, owner));
        }
    }
    Plan::Apply(chunk)
}

/// Why a secret cannot be shared by the requester: the first reason that fits.
#[must_use]
pub fn secret_rejection(fact: Option<&SecretFact>) -> Option<RejectReason> {
    match fact {
        None | Some(SecretFact { access: Access::None, .. }) => Some(RejectReason::NotFound),
        Some(SecretFact { access: Access::View, .. }) => Some(RejectReason::NotAllowed),
        Some(SecretFact { disabled: true, .. }) => Some(RejectReason::Disabled),
        Some(_) => None,
    }
}

/// Why a recipient cannot be shared with: the first reason that fits.
#[must_use]
pub fn recipient_rejection(recipient: &Recipient, fact: Option<&PrincipalFact>) -> Option<RejectReason> {
    match fact {
        None => Some(RejectReason::NotFound),
        Some(fact) if fact.kind != recipient.kind || !fact.visible => Some(RejectReason::NotFound),
        Some(fact) if !fact.active => Some(RejectReason::Inactive),
        Some(fact) if !fact.has_account => Some(RejectReason::NoAccount),
        Some(_) => None,
    }
}
