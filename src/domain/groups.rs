//! Which small jobs may be worked on together, in one transaction.
//!
//! The result has to be the same as if the jobs had been worked on one after the other. So no job of a group may depend
//! on what another one changes. No two of them have a pair in common. And nobody who asks for a job in the group gets,
//! from a job before it in the group, one of the secrets that they ask to share: neither by name nor possibly as a
//! member of a group. (No job changes who is a member of a group.)

use std::collections::{HashMap, HashSet};

use crate::domain::ids::{JobId, PrincipalId, SecretId};
use crate::domain::job::JobKind;
use crate::domain::permission::PrincipalKind;
use crate::domain::share::{Selection, ShareRequest};

/// How many pairs a job may have and still be worked on together with others. A larger one would make the others wait.
pub const SMALL_JOB_PAIRS: u64 = 1_000;

/// How many pairs a group may have, and with it a transaction.
const GROUP_PAIRS: u64 = 10_000;

/// Whether a job is small enough to be worked on together with others. A job for "all" is not, because its size is not
/// known yet. Neither is an unshare, which locks secrets for as long as its transaction takes.
#[must_use]
pub fn is_small(request: &ShareRequest, chunk_pairs: u64) -> bool {
    request.kind == JobKind::Share
        && request.pairs().is_some_and(|pairs| pairs <= chunk_pairs.min(SMALL_JOB_PAIRS))
}

/// Cuts small jobs, in their order, into groups. The jobs of a group may be worked on together, and the groups one
/// after the other. `of` tells a job's id and request.
pub fn groups<T>(jobs: Vec<T>, of: impl Fn(&T) -> (JobId, &ShareRequest)) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut group = Group::default();
    for job in jobs {
        let (id, request) = of(&job);
        if groups.is_empty() || !group.admits(id, request) {
            groups.push(Vec::new());
            group = Group::default();
        }
        group.add(id, request);
        if let Some(last) = groups.last_mut() {
            last.push(job);
        }
    }
    groups
}

/// What the jobs of a group are about.
#[derive(Default)]
struct Group {
    jobs: HashSet<JobId>,
    secrets: HashMap<SecretId, Receivers>,
    pairs: u64,
}

/// Who gets a secret from a group's jobs.
#[derive(Default)]
struct Receivers {
    ids: HashSet<PrincipalId>,
    /// At least one of them is a group, and anybody may be its member.
    groups: bool,
}

impl Receivers {
    fn touch(&self, request: &ShareRequest) -> bool {
        self.groups
            || self.ids.contains(&request.requested_by)
            || request.recipients.iter().any(|recipient| self.ids.contains(&recipient.id))
    }
}

impl Group {
    fn admits(&self, id: JobId, request: &ShareRequest) -> bool {
        let touched = |secret| self.secrets.get(secret).is_some_and(|receivers| receivers.touch(request));
        !self.jobs.contains(&id)
            && self.pairs + request.pairs().unwrap_or(u64::MAX / 2) <= GROUP_PAIRS
            && !named(request).iter().any(touched)
    }

    fn add(&mut self, id: JobId, request: &ShareRequest) {
        self.jobs.insert(id);
        for secret in named(request) {
            let receivers = self.secrets.entry(*secret).or_default();
            for recipient in &request.recipients {
                receivers.ids.insert(recipient.id);
                receivers.groups |= recipient.kind != PrincipalKind::User;
            }
        }
        self.pairs += request.pairs().unwrap_or(0);
    }
}

fn named(request: &ShareRequest) -> &[SecretId] {
    match &request.selection {
        Selection::Ids(ids) => ids,
        Selection::All(_) => &[],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Permission, Recipient};

    fn job(id: u128) -> JobId {
        uuid::Uuid::from_u128(id).to_string().parse().expect("an id")
    }

    fn person(id: i64) -> PrincipalId {
        PrincipalId::new(id).expect("an id")
    }

    fn asked(by: i64, secrets: &[i64], to: &[(PrincipalKind, i64)]) -> ShareRequest {
        let secret = |id: &i64| SecretId::new(*id).expect("an id");
        let to = to.iter().map(|(kind, id)| Recipient {
            kind: *kind,
            id: person(*id),
            permission: Permission::View,
        });
        ShareRequest::new(person(by), Selection::Ids(secrets.iter().map(secret).collect()), to)
    }

    fn request(secrets: &[i64]) -> ShareRequest {
        asked(1, secrets, &[(PrincipalKind::User, 2)])
    }

    /// Whether the later job could see what the earlier one changed.
    fn meets(before: &ShareRequest, after: &ShareRequest) -> bool {
        let receives = |to: &Recipient| {
            to.kind != PrincipalKind::User
                || to.id == after.requested_by
                || after.recipients.iter().any(|other| other.id == to.id)
        };
        named(before).iter().any(|secret| named(after).contains(secret))
            && before.recipients.iter().any(receives)
    }

    /// People have the ids 1 to 7, groups 11 and 12.
    fn anybody() -> impl Strategy<Value = (PrincipalKind, i64)> {
        let group = (11..13_i64).prop_map(|id| (PrincipalKind::UserGroup, id));
        prop_oneof![4 => (1..8_i64).prop_map(|id| (PrincipalKind::User, id)), 1 => group]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn groups_keep_the_order_and_none_sees_what_another_changed(
            jobs in prop::collection::vec(
                (
                    0..12_u128,
                    1..8_i64,
                    prop::collection::vec(1..12_i64, 1..4),
                    prop::collection::vec(anybody(), 1..3),
                ),
                0..20,
            ),
        ) {
            let jobs: Vec<(JobId, ShareRequest)> = jobs
                .iter()
                .map(|(id, by, secrets, to)| (job(*id), asked(*by, secrets, to)))
                .collect();
            let groups = groups(jobs.clone(), |(id, request)| (*id, request));
            prop_assert_eq!(&groups.concat(), &jobs);
            for group in &groups {
                for (place, (id, request)) in group.iter().enumerate() {
                    for (other, before) in &group[..place] {
                        prop_assert!(id != other && !meets(before, request));
                    }
                }
            }
            // No cut without a reason.
            for pair in groups.windows(2) {
                let (before, (id, first)) = (&pair[0], &pair[1][0]);
                prop_assert!(before.iter().any(|(other, request)| id == other || meets(request, first)));
            }
        }
    }

    #[test]
    fn one_secret_for_many_people_is_one_group() {
        let jobs = (2..=200).map(|to| (job(to), asked(1, &[7], &[(PrincipalKind::User, to as i64)])));
        assert_eq!(groups(jobs.collect(), |(id, request)| (*id, request)).len(), 1);
    }

    #[test]
    fn a_group_has_no_more_pairs_than_a_transaction_may() {
        let large: Vec<i64> = (1..=6_000).collect();
        let jobs = vec![
            (1, request(&large)),
            (2, request(&[7_000])),
            (3, request(&(8_000..13_000).collect::<Vec<_>>())),
        ];
        let jobs = jobs.into_iter().map(|(id, request)| (job(id), request)).collect();
        let sizes: Vec<usize> = groups(jobs, |(id, request)| (*id, request)).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1]);
    }

    #[test]
    fn more_than_a_thousand_pairs_or_all_is_not_small() {
        let of = |secrets: i64| request(&(1..=secrets).collect::<Vec<_>>());
        assert!(is_small(&of(1_000), 10_000));
        assert!(!is_small(&of(1_001), 10_000));
        assert!(!is_small(&of(5), 4), "what does not fit a chunk is worked on in lanes");
        let all = ShareRequest { selection: Selection::All(crate::domain::AllFilter::default()), ..of(1) };
        assert!(!is_small(&all, 10_000));
    }
}
