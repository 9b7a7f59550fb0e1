//! The plan of a chunk: which pairs are applied, which are rejected, and why.
//!
//! The store reads the facts inside the chunk's transaction, the functions here decide, and the store applies the plan.

use std::collections::HashMap;

use crate::domain::event::{Rejection, Subject};
use crate::domain::ids::{PrincipalId, SecretId};
use crate::domain::job::Counts;
use crate::domain::permission::{Permission, PrincipalKind, RejectReason};
use crate::domain::secret::Reach;
use crate::domain::share::{Recipient, pairs_of};

/// A secret that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFact {
    pub owner: PrincipalId,
    pub disabled: bool,
    /// What the requester may do with it; `None` where they may not even know of it.
    pub reach: Option<Reach>,
}

/// A principal that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrincipalFact {
    pub kind: PrincipalKind,
    pub active: bool,
    /// Whether a user has an account. It is true for groups.
    pub has_account: bool,
    /// Whether the requester sees a personal group: they own it, or are a member and members may see it. It is true for
    /// users and user groups.
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
    /// In ascending order of id. Each id is there once, because an id is valid only with its true kind.
    pub recipients: Vec<(PrincipalId, Permission)>,
    /// The pairs whose recipient owns the secret. An owner may do everything already and gets no grant.
    pub owners: Vec<(SecretId, PrincipalId)>,
    /// Secrets by id, then recipients by (kind, id).
    pub rejections: Vec<Rejection>,
}

impl ChunkPlan {
    /// The pairs whose recipient gets a grant or has one already.
    #[must_use]
    pub fn pairs_to_apply(&self) -> u64 {
        pairs_of(self.secrets.len(), self.recipients.len()) - self.owners.len() as u64
    }

    /// The pairs to apply that are unchanged, if these counts are the plan's: those whose recipient has a grant already.
    /// Owners have no grant, so their pairs are not among them.
    #[must_use]
    pub fn confirmed(&self, counts: &Counts) -> u64 {
        counts.unchanged.saturating_sub(self.owners.len() as u64)
    }

    /// All secrets that the plan is about, the rejected ones included, in ascending order.
    #[must_use]
    pub fn asked(&self) -> Vec<SecretId> {
        let rejected = self.rejections.iter().filter_map(|rejection| match rejection.subject {
            Subject::Secret(secret) => Some(secret),
            Subject::Recipient(..) => None,
        });
        let mut asked: Vec<SecretId> = self.secrets.iter().copied().chain(rejected).collect();
        asked.sort_unstable();
        asked
    }

    /// The pairs that are rejected.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejections.iter().map(|rejection| rejection.pairs).sum()
    }
}

/// Decides what becomes of each pair. `secrets` and `recipients` are in ascending order and have no duplicates.
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
        Some(SecretFact { reach: Some(reach), disabled, .. }) => reach.share_refusal(*disabled),
        None | Some(SecretFact { reach: None, .. }) => Some(RejectReason::NotFound),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, btree_set};
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Selection, ShareRequest};

    type Grants = BTreeMap<(SecretId, PrincipalId), Permission>;

    /// A request and all that the database says about it.
    #[derive(Debug, Clone)]
    struct World {
        request: ShareRequest,
        facts: Facts,
        grants: Grants,
    }

    /// Ids of users are 1 to 4, of user groups 5 and 6, of personal groups 7 and 8; others are nobody.
    fn kind_of(id: i64) -> PrincipalKind {
        match id {
            ..=4 => PrincipalKind::User,
            5..=6 => PrincipalKind::UserGroup,
            _ => PrincipalKind::PersonalGroup,
        }
    }

    fn secret(id: i64) -> SecretId {
        SecretId::new(id).expect("an id")
    }

    fn principal(id: i64) -> PrincipalId {
        PrincipalId::new(id).expect("an id")
    }

    fn permission() -> impl Strategy<Value = Permission> {
        prop_oneof![Just(Permission::View), Just(Permission::Edit)]
    }

    fn recipients() -> impl Strategy<Value = Vec<Recipient>> {
        let kinds = prop::sample::select(PrincipalKind::ALL);
        // Mostly of the kind that the id has.
        let one = (1..=10_i64, prop::option::weighted(0.2, kinds), permission());
        let recipient = one.prop_map(|(id, kind, permission)| Recipient {
            kind: kind.unwrap_or(kind_of(id)),
            id: principal(id),
            permission,
        });
        prop::collection::vec(recipient, 1..10)
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let reach = prop_oneof![1 => Just(None), 1 => Just(Some(Reach::View)), 2 => Just(Some(Reach::Edit)), 2 => Just(Some(Reach::Owner))];
        let secret_fact = (1..=4_i64, prop::bool::weighted(0.2), reach);
        let principal_fact =
            (prop::bool::weighted(0.8), prop::bool::weighted(0.8), prop::bool::weighted(0.8));
        (btree_map(1..=9_i64, secret_fact, 0..9), btree_map(1..=8_i64, principal_fact, 0..9)).prop_map(
            |(secrets, principals)| Facts {
                requester_valid: true,
                secrets: secrets
                    .into_iter()
                    .map(|(id, (owner, disabled, reach))| {
                        (secret(id), SecretFact { owner: principal(owner), disabled, reach })
                    })
                    .collect(),
                principals: principals
                    .into_iter()
                    .map(|(id, (active, has_account, visible))| {
                        let kind = kind_of(id);
                        let has_account = has_account || kind != PrincipalKind::User;
                        let visible = visible || kind != PrincipalKind::PersonalGroup;
                        (principal(id), PrincipalFact { kind, active, has_account, visible })
                    })
                    .collect(),
            },
        )
    }

    fn world() -> impl Strategy<Value = World> {
        let grants = btree_map((1..=9_i64, 1..=8_i64), permission(), 0..20);
        (btree_set(1..=11_i64, 1..10), recipients(), facts(), grants).prop_map(
            |(ids, recipients, facts, grants)| World {
                request: ShareRequest::new(
                    principal(1),
                    Selection::Ids(ids.into_iter().map(secret).collect()),
                    recipients,
                ),
                facts,
                grants: grants
                    .into_iter()
                    .map(|((id, holder), permission)| ((secret(id), principal(holder)), permission))
                    .collect(),
            },
        )
    }

    fn ids(request: &ShareRequest) -> &[SecretId] {
        match &request.selection {
            Selection::Ids(ids) => ids,
            Selection::All(_) => &[],
        }
    }

    fn chunk(secrets: &[SecretId], world: &World) -> ChunkPlan {
        match plan(secrets, &world.request.recipients, &world.facts) {
            Plan::Apply(chunk) => chunk,
            Plan::RequesterNotValid => panic!("the requester is valid"),
        }
    }

    /// What the store does with a plan.
    fn apply(chunk: &ChunkPlan, grants: &mut Grants) -> Counts {
        let mut counts = Counts { rejected: chunk.rejected(), ..Counts::default() };
        for &secret in &chunk.secrets {
            for &(recipient, permission) in &chunk.recipients {
                if chunk.owners.contains(&(secret, recipient)) {
                    counts.unchanged += 1;
                    continue;
                }
                match grants.get(&(secret, recipient)) {
                    None => counts.granted += 1,
                    Some(old) if *old < permission => counts.upgraded += 1,
                    Some(_) => {
                        counts.unchanged += 1;
                        continue;
                    }
                }
                grants.insert((secret, recipient), permission);
            }
        }
        counts
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_four_counts_sum_to_the_pairs(world in world()) {
            let chunk = chunk(ids(&world.request), &world);
            let counts = apply(&chunk, &mut world.grants.clone());
            prop_assert_eq!(Some(counts.done()), world.request.pairs());
            prop_assert_eq!(counts.granted + counts.upgraded + counts.unchanged, chunk.pairs_to_apply() + chunk.owners.len() as u64);
        }

        #[test]
        fn rejected_are_all_pairs_but_the_valid_ones(world in world()) {
            let secrets = ids(&world.request);
            let recipients = &world.request.recipients;
            let valid = |id: &&SecretId| secret_rejection(world.facts.secrets.get(id)).is_none();
            let welcome = |of: &&Recipient| recipient_rejection(of, world.facts.principals.get(&of.id)).is_none();
            let valid = pairs_of(secrets.iter().filter(valid).count(), recipients.iter().filter(welcome).count());
            let rejected = chunk(secrets, &world).rejected();
            prop_assert_eq!(rejected, pairs_of(secrets.len(), recipients.len()) - valid);
        }

        #[test]
        fn rejections_are_sorted_and_each_is_told_once(world in world()) {
            let lines = chunk(ids(&world.request), &world).rejections;
            let subjects: Vec<Subject> = lines.iter().map(|line| line.subject).collect();
            prop_assert!(subjects.is_sorted_by(|a, b| a < b), "{:?}", subjects);
            let place = |subject: &Subject| match subject {
                Subject::Secret(id) => (0, 0, id.get()),
                Subject::Recipient(kind, id) => (1, kind.code(), id.get()),
            };
            prop_assert!(subjects.iter().map(place).is_sorted());
        }

        #[test]
        fn permissions_never_go_down_and_no_row_goes_away(world in world()) {
            let mut after = world.grants.clone();
            apply(&chunk(ids(&world.request), &world), &mut after);
            for (pair, before) in &world.grants {
                prop_assert!(after.get(pair) >= Some(before), "{:?}", pair);
            }
        }

        #[test]
        fn pairs_of_an_owner_get_no_row(world in world()) {
            let mut after = world.grants.clone();
            apply(&chunk(ids(&world.request), &world), &mut after);
            for (id, fact) in &world.facts.secrets {
                let pair = (*id, fact.owner);
                prop_assert_eq!(after.get(&pair), world.grants.get(&pair));
            }
        }

        #[test]
        fn what_was_applied_once_is_unchanged_the_second_time(world in world()) {
            let chunk = chunk(ids(&world.request), &world);
            let mut grants = world.grants.clone();
            let first = apply(&chunk, &mut grants);
            let after = grants.clone();
            let second = apply(&chunk, &mut grants);
            prop_assert_eq!(second, Counts { unchanged: first.shared(), rejected: first.rejected, ..Counts::default() });
            prop_assert_eq!(grants, after);
        }

        #[test]
        fn chunks_of_any_size_do_what_one_chunk_does(world in world(), size in 1..6_usize) {
            let (mut whole, mut parts) = (world.grants.clone(), world.grants.clone());
            let all = chunk(ids(&world.request), &world);
            let mut lines: BTreeMap<Subject, (RejectReason, u64)> = BTreeMap::new();
            let mut sum = Counts::default();
            for part in ids(&world.request).chunks(size) {
                let chunk = chunk(part, &world);
                sum = sum + apply(&chunk, &mut parts);
                for line in chunk.rejections {
                    lines.entry(line.subject).or_insert((line.reason, 0)).1 += line.pairs;
                }
            }
            prop_assert_eq!(sum, apply(&all, &mut whole));
            prop_assert_eq!(parts, whole);
            let expected: BTreeMap<_, _> = all.rejections.iter().map(|line| (line.subject, (line.reason, line.pairs))).collect();
            prop_assert_eq!(lines, expected);
        }

        #[test]
        fn an_invalid_requester_gets_no_plan(mut world in world()) {
            world.facts.requester_valid = false;
            prop_assert_eq!(plan(ids(&world.request), &world.request.recipients, &world.facts), Plan::RequesterNotValid);
        }
    }
}
