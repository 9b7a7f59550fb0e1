//! The plan of a chunk of an unshare: on which pairs something may be taken, which pairs are rejected, and why.
//!
//! Access may be taken from secrets that are disabled, and from people and groups that are not active: whatever is
//! given may be taken away.

use std::collections::{BTreeSet, HashSet};

use crate::domain::event::{Rejection, Subject};
use crate::domain::ids::{PrincipalId, SecretId};
use crate::domain::permission::{Permission, RejectReason};
use crate::domain::plan::{Facts, PrincipalFact, SecretFact};
use crate::domain::share::{Recipient, pairs_of};

/// What to do with a chunk of an unshare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakePlan {
    /// The secrets from which access may be taken, in ascending order.
    pub secrets: Vec<SecretId>,
    /// The recipients who lose all of their own access, in ascending order.
    pub all: Vec<PrincipalId>,
    /// The recipients who lose edit and keep view, in ascending order.
    pub edit: Vec<PrincipalId>,
    /// The recipients whom the requester does not see. What such a recipient has of a secret can be taken, since who may
    /// edit a secret sees all of its grants. A pair without a grant is rejected: the requester must not learn whether
    /// there is such a recipient.
    pub hidden: Vec<Recipient>,
    /// Whether a recipient owns one of the secrets. What an owner may do comes from no grant, so nothing is taken.
    pub owners: bool,
    /// The pairs that are rejected whatever is granted: secrets by id, then recipients by kind and id.
    pub rejections: Vec<Rejection>,
}

impl TakePlan {
    /// The pairs that are not rejected, apart from those of hidden recipients.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        pairs_of(self.secrets.len(), self.all.len() + self.edit.len())
    }

    /// Whoever is to lose all of their own access, those whom the requester does not see among them.
    #[must_use]
    pub fn losing_all(&self) -> Vec<PrincipalId> {
        let hidden = self.hidden.iter().filter(|of| of.permission == Permission::View).map(|of| of.id);
        self.all.iter().copied().chain(hidden).collect()
    }

    /// Whether the same happens to all recipients, so that one statement is enough.
    #[must_use]
    pub fn is_alike(&self) -> bool {
        self.hidden.is_empty() && (self.all.is_empty() || self.edit.is_empty())
    }

    /// All rejections, those of hidden recipients included. `granted` says of how many of these secrets a hidden
    /// recipient has a grant.
    #[must_use]
    pub fn rejected(&self, granted: impl Fn(PrincipalId) -> u64) -> Vec<Rejection> {
        let secrets = self.secrets.len() as u64;
        let without = |of: &Recipient| Rejection {
            subject: Subject::Recipient(of.kind, of.id),
            reason: RejectReason::NotFound,
            pairs: secrets.saturating_sub(granted(of.id)),
        };
        let hidden = self.hidden.iter().map(without).filter(|line| line.pairs > 0);
        let mut lines: Vec<Rejection> = self.rejections.iter().copied().chain(hidden).collect();
        lines.sort_unstable_by_key(|line| line.subject);
        lines
    }
}

/// What became of one pair of an unshare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TakeOutcome {
    Revoked,
    Lowered,
    Untouched,
    Rejected,
}

impl TakeOutcome {
    const ALL: [Self; 4] = [Self::Revoked, Self::Lowered, Self::Untouched, Self::Rejected];

    /// The outcome that has this number. `None` if there is none.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The number that a stored outcome has. It fits two bits.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Revoked => 0,
            Self::Lowered => 1,
            Self::Untouched => 2,
            Self::Rejected => 3,
        }
    }
}

/// A secret and a recipient.
pub type Pair = (SecretId, PrincipalId);

/// What a chunk has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    pub revoked: HashSet<Pair>,
    pub lowered: HashSet<Pair>,
    /// The grants that hidden recipients had.
    pub hidden: HashSet<Pair>,
}

/// What became of each pair of a chunk: secret by secret, and for each the recipients in the order of the request.
pub fn outcomes<'a>(
    plan: &'a TakePlan,
    secrets: &'a [SecretId],
    recipients: &'a [Recipient],
    changed: &'a Changed,
) -> impl Iterator<Item = TakeOutcome> + 'a {
    let loses = |id: &PrincipalId| plan.all.binary_search(id).is_ok() || plan.edit.binary_search(id).is_ok();
    // A principal may be asked for as one of two kinds. Only one of the two pairs is its own.
    let refused: BTreeSet<Subject> = plan.rejections.iter().map(|line| line.subject).collect();
    let is_refused = |of: &Recipient| refused.contains(&Subject::Recipient(of.kind, of.id));
    let state = |of: &Recipient| (!is_refused(of)).then(|| loses(&of.id));
    let states: Vec<Option<bool>> = recipients.iter().map(state).collect();
    secrets.iter().flat_map(move |secret| {
        let may = plan.secrets.binary_search(secret).is_ok();
        let of = |(recipient, known): (&Recipient, &Option<bool>)| {
            let Some(known) = known else { return TakeOutcome::Rejected };
            let pair = (*secret, recipient.id);
            if changed.revoked.contains(&pair) {
                TakeOutcome::Revoked
            } else if changed.lowered.contains(&pair) {
                TakeOutcome::Lowered
            } else if may && (*known || changed.hidden.contains(&pair)) {
                TakeOutcome::Untouched
            } else {
                TakeOutcome::Rejected
            }
        };
        recipients.iter().zip(&states).map(of).collect::<Vec<_>>()
    })
}

/// Decides on which pairs of a chunk something may be taken. `secrets` and `recipients` are in ascending order and have
/// no duplicates. `None` if the requester may not act.
#[must_use]
pub fn plan(secrets: &[SecretId], recipients: &[Recipient], facts: &Facts) -> Option<TakePlan> {
    if !facts.requester_valid {
        return None;
    }
    let mut chunk = TakePlan::default();
    for &secret in secrets {
        match secret_refusal(facts.secrets.get(&secret)) {
            None => chunk.secrets.push(secret),
            Some(reason) => chunk.rejections.push(Rejection {
                subject: Subject::Secret(secret),
                reason,
                pairs: recipients.len() as u64,
            }),
        }
    }
    for recipient in recipients {
        match facts.principals.get(&recipient.id) {
            Some(PrincipalFact { kind, visible, .. }) if *kind == recipient.kind => {
                match (visible, recipient.permission) {
                    (false, _) => chunk.hidden.push(*recipient),
                    (true, Permission::View) => chunk.all.push(recipient.id),
                    (true, Permission::Edit) => chunk.edit.push(recipient.id),
                }
            }
            // A pair that is rejected on both sides counts for the secret.
            _ => chunk.rejections.push(Rejection {
                subject: Subject::Recipient(recipient.kind, recipient.id),
                reason: RejectReason::NotFound,
                pairs: chunk.secrets.len() as u64,
            }),
        }
    }
    chunk.all.sort_unstable();
    chunk.edit.sort_unstable();
    let loses =
        |id: &PrincipalId| chunk.all.binary_search(id).is_ok() || chunk.edit.binary_search(id).is_ok();
    let owner = |secret: &SecretId| facts.secrets.get(secret).map(|fact| fact.owner);
    chunk.owners = chunk.secrets.iter().filter_map(owner).any(|owner| loses(&owner));
    Some(chunk)
}

/// Why nothing can be taken from a secret by the requester. That it is disabled is no reason.
#[must_use]
pub fn secret_refusal(fact: Option<&SecretFact>) -> Option<RejectReason> {
    match fact.and_then(|fact| fact.reach) {
        Some(reach) if reach.may_edit() => None,
        Some(_) => Some(RejectReason::NotAllowed),
        None => Some(RejectReason::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::PrincipalKind;
    use crate::domain::secret::Reach;

    fn secret(id: i64) -> SecretId {
        SecretId::new(id).expect("an id")
    }

    fn principal(id: i64) -> PrincipalId {
        PrincipalId::new(id).expect("an id")
    }

    fn to(kind: PrincipalKind, id: i64, permission: Permission) -> Recipient {
        Recipient { kind, id: principal(id), permission }
    }

    fn facts() -> Facts {
        let of = |owner, disabled, reach| SecretFact { owner: principal(owner), disabled, reach };
        let who = |kind, active, visible| PrincipalFact { kind, active, has_account: active, visible };
        Facts {
            requester_valid: true,
            secrets: [
                (secret(1), of(1, true, Some(Reach::Owner))),
                (secret(2), of(3, false, Some(Reach::Edit))),
                (secret(3), of(3, false, Some(Reach::View))),
                (secret(4), of(3, false, None)),
            ]
            .into(),
            principals: [
                (principal(1), who(PrincipalKind::User, true, true)),
                (principal(2), who(PrincipalKind::User, false, true)),
                (principal(3), who(PrincipalKind::User, true, true)),
                (principal(7), who(PrincipalKind::PersonalGroup, true, false)),
            ]
            .into(),
        }
    }

    #[test]
    fn access_is_taken_from_disabled_secrets_and_inactive_people() {
        let people = [to(PrincipalKind::User, 2, Permission::View)];
        let plan = plan(&[secret(1)], &people, &facts()).expect("a plan");
        assert_eq!(
            (plan.secrets.as_slice(), plan.all.as_slice()),
            ([secret(1)].as_slice(), [principal(2)].as_slice())
        );
        assert_eq!((plan.owners, plan.rejected(|_| 0)), (false, Vec::new()));
    }

    #[test]
    fn what_may_not_be_touched_is_rejected_with_its_reason() {
        let (user, group) = (PrincipalKind::User, PrincipalKind::PersonalGroup);
        let people = [
            to(user, 3, Permission::Edit),
            to(user, 9, Permission::View),
            to(PrincipalKind::UserGroup, 2, Permission::View),
            to(group, 7, Permission::View),
        ];
        let secrets = [1, 2, 3, 4, 5].map(secret);
        let plan = plan(&secrets, &people, &facts()).expect("a plan");
        assert_eq!(
            (plan.secrets.len(), plan.edit.as_slice(), plan.owners),
            (2, [principal(3)].as_slice(), true)
        );
        let line = |subject, reason, pairs| Rejection { subject, reason, pairs };
        let expected = |hidden: u64| {
            let mut lines = vec![
                line(Subject::Secret(secret(3)), RejectReason::NotAllowed, 4),
                line(Subject::Secret(secret(4)), RejectReason::NotFound, 4),
                line(Subject::Secret(secret(5)), RejectReason::NotFound, 4),
                line(Subject::Recipient(user, principal(9)), RejectReason::NotFound, 2),
                line(Subject::Recipient(PrincipalKind::UserGroup, principal(2)), RejectReason::NotFound, 2),
                line(Subject::Recipient(group, principal(7)), RejectReason::NotFound, hidden),
            ];
            lines.retain(|line| line.pairs > 0);
            lines
        };
        assert_eq!(plan.rejected(|_| 0), expected(2));
        assert_eq!(plan.rejected(|_| 1), expected(1));
        assert_eq!(plan.rejected(|_| 2), expected(0));
        assert_eq!(plan.pairs(), 2);
    }

    #[test]
    fn an_invalid_requester_gets_no_plan() {
        let facts = Facts { requester_valid: false, ..facts() };
        assert_eq!(plan(&[secret(1)], &[to(PrincipalKind::User, 2, Permission::View)], &facts), None);
    }
}
