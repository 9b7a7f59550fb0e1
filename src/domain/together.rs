//! Which small jobs may be worked on together, in one transaction.
//!
//! The result is that of one after the other: jobs of one group name no secret twice, so none can see
//! what another changed (a right to share, or what a pair had before). Rights that come from groups
//! and people are no job's to change.

use std::collections::HashSet;

use super::ids::{JobId, SecretId};
use super::share::{Selection, ShareRequest};

/// Pairs that a job may have to be worked on with others: more would make the others wait.
pub const SMALL_JOB_PAIRS: u64 = 1_000;

/// Pairs of a group at most, and so of a transaction.
const GROUP_PAIRS: u64 = 10_000;

/// Whether a job is small enough to be worked on together with others. "All" is of unknown size.
#[must_use]
pub fn is_small(request: &ShareRequest, chunk_pairs: u64) -> bool {
    request.pairs().is_some_and(|pairs| pairs <= chunk_pairs.min(SMALL_JOB_PAIRS))
}

/// Cuts small jobs, in their order, into groups that may be worked on together one group after the
/// other. `of` tells a job's id and request.
pub fn groups<T>(jobs: Vec<T>, of: impl Fn(&T) -> (JobId, &ShareRequest)) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut taken = Taken::default();
    for job in jobs {
        let (id, request) = of(&job);
        if groups.is_empty() || !taken.admits(id, request) {
            groups.push(Vec::new());
            taken = Taken::default();
        }
        taken.add(id, request);
        if let Some(group) = groups.last_mut() {
            group.push(job);
        }
    }
    groups
}

/// What the jobs of a group name.
#[derive(Default)]
struct Taken {
    jobs: HashSet<JobId>,
    secrets: HashSet<SecretId>,
    pairs: u64,
}

impl Taken {
    fn admits(&self, id: JobId, request: &ShareRequest) -> bool {
        !self.jobs.contains(&id)
            && self.pairs + request.pairs().unwrap_or(u64::MAX / 2) <= GROUP_PAIRS
            && !named(request).iter().any(|secret| self.secrets.contains(secret))
    }

    fn add(&mut self, id: JobId, request: &ShareRequest) {
        self.jobs.insert(id);
        self.secrets.extend(named(request));
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
    use crate::domain::{Permission, PrincipalId, PrincipalKind, Recipient};

    fn job(id: u128) -> JobId {
        uuid::Uuid::from_u128(id).to_string().parse().expect("an id")
    }

    fn request(secrets: &[i64]) -> ShareRequest {
        let secret = |id: &i64| SecretId::new(*id).expect("an id");
        let person = |id: i64| PrincipalId::new(id).expect("an id");
        let recipient = Recipient { kind: PrincipalKind::User, id: person(2), permission: Permission::View };
        ShareRequest::new(person(1), Selection::Ids(secrets.iter().map(secret).collect()), [recipient])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn groups_keep_the_order_and_name_nothing_twice(
            jobs in prop::collection::vec((0..6_u128, prop::collection::vec(1..30_i64, 1..5)), 0..20),
        ) {
            let jobs: Vec<(JobId, ShareRequest)> = jobs
                .iter()
                .map(|(id, secrets)| (job(*id), request(secrets)))
                .collect();
            let groups = groups(jobs.clone(), |(id, request)| (*id, request));
            prop_assert_eq!(&groups.concat(), &jobs);
            for group in &groups {
                let mut ids = HashSet::new();
                let mut secrets = HashSet::new();
                for (id, request) in group {
                    prop_assert!(ids.insert(*id));
                    prop_assert!(named(request).iter().all(|secret| secrets.insert(*secret)));
                }
            }
            // No cut without a reason.
            for pair in groups.windows(2) {
                let (before, first) = (&pair[0], &pair[1][0]);
                let repeats = |(id, request): &(JobId, ShareRequest)| {
                    *id == first.0 || named(request).iter().any(|secret| named(&first.1).contains(secret))
                };
                prop_assert!(before.iter().any(repeats));
            }
        }
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
