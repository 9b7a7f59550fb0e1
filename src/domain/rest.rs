//! Which pairs a job left undone: those that it rejected, and those that it never came to.
//!
//! They are a set and no rectangle, since each secret may lack other recipients. A job that shares them has its secrets
//! in parts: the secrets of a part lack the same recipients, so a part is a rectangle.

use std::collections::HashMap;

use crate::domain::ids::SecretId;
use crate::domain::outcome::{Claims, is_among};
use crate::domain::share::{Recipient, pairs_of};

/// Secrets at the positions `from` up to `to`, which is not included, of a job's list, and their recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub from: usize,
    pub to: usize,
    /// A bit for each recipient of the job, in their order, as claims have it ([`is_among`]). `None`: all of them.
    pub among: Option<Vec<u8>>,
}

/// The pairs that a job left undone, as the job that shares them has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rest {
    /// Part by part, and in ascending order within each.
    pub secrets: Vec<SecretId>,
    /// Those who have a pair, in the order in which the job before had them.
    pub recipients: Vec<Recipient>,
    /// Without gaps.
    pub parts: Vec<Part>,
    pub pairs: u64,
}

/// Bits for so many recipients, none of them set.
#[must_use]
pub fn none_of(recipients: usize) -> Vec<u8> {
    vec![0; recipients.div_ceil(8)]
}

/// Sets the bit of the recipient at this place, or clears it.
pub fn put(bits: &mut [u8], place: usize, is_set: bool) {
    if let Some(byte) = bits.get_mut(place / 8) {
        let bit = 1 << (place % 8);
        *byte = if is_set { *byte | bit } else { *byte & !bit };
    }
}

/// The places of the recipients in a set of them, among so many.
#[must_use]
pub fn places(among: Option<&[u8]>, recipients: usize) -> Vec<usize> {
    (0..recipients).filter(|place| is_among(among, *place)).collect()
}

/// Puts the pairs that are left together. `left` has the secrets of the job before, each with a bit for each of the
/// `recipients` that it lacks.
#[must_use]
pub fn rest(left: Vec<(SecretId, Vec<u8>)>, recipients: &[Recipient]) -> Rest {
    let mut used = none_of(recipients.len());
    let mut groups: HashMap<Vec<u8>, Vec<SecretId>> = HashMap::new();
    for (secret, bits) in left {
        if bits.iter().all(|byte| *byte == 0) {
            continue;
        }
        for (sum, byte) in used.iter_mut().zip(&bits) {
            *sum |= byte;
        }
        groups.entry(bits).or_default().push(secret);
    }
    let mut groups: Vec<(Vec<u8>, Vec<SecretId>)> = groups.into_iter().collect();
    for (_, secrets) in &mut groups {
        secrets.sort_unstable();
    }
    // A secret is in one group, so no two groups begin with the same.
    groups.sort_unstable_by_key(|(_, secrets)| secrets.first().copied());
    let used = places(Some(&used), recipients.len());
    let mut rest = Rest {
        recipients: used.iter().filter_map(|place| recipients.get(*place).copied()).collect(),
        ..Rest::default()
    };
    for (bits, secrets) in groups {
        let mut among = none_of(used.len());
        let mut lacking = 0;
        for (place, before) in used.iter().enumerate() {
            if is_among(Some(&bits), *before) {
                put(&mut among, place, true);
                lacking += 1;
            }
        }
        let (from, to) = (rest.secrets.len(), rest.secrets.len() + secrets.len());
        rest.parts.push(Part { from, to, among: (lacking < used.len()).then_some(among) });
        rest.pairs += pairs_of(secrets.len(), lacking);
        rest.secrets.extend(secrets);
    }
    rest
}

/// What a part claims, told by places among all recipients of its job. In `claims` they are places among those of the
/// part, who have these `places` among the job's `recipients`.
#[must_use]
pub fn claims_of_job(claims: Claims, places: &[usize], recipients: usize) -> Claims {
    let of_job = |among: Option<Vec<u8>>| {
        if among.is_none() && places.len() == recipients {
            return None;
        }
        let mut bits = none_of(recipients);
        for (of_part, of_job) in places.iter().enumerate() {
            if is_among(among.as_deref(), of_part) {
                put(&mut bits, *of_job, true);
            }
        }
        Some(bits)
    };
    claims.into_iter().map(|(secret, among)| (secret, of_job(among))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::PrincipalId;
    use crate::domain::permission::{Permission, PrincipalKind};

    fn secret(id: i64) -> SecretId {
        SecretId::new(id).expect("an id")
    }

    fn recipients(many: usize) -> Vec<Recipient> {
        let recipient = |id: i64| Recipient {
            kind: PrincipalKind::User,
            id: PrincipalId::new(id).expect("an id"),
            permission: Permission::View,
        };
        (1..).take(many).map(recipient).collect()
    }

    type Pairs = BTreeSet<(SecretId, PrincipalId)>;

    fn pairs_in(rest: &Rest) -> Pairs {
        let of_part = |part: &Part| {
            let to: Vec<Recipient> = places(part.among.as_deref(), rest.recipients.len())
                .into_iter()
                .map(|place| rest.recipients[place])
                .collect();
            let secrets = rest.secrets[part.from..part.to].to_vec();
            secrets.into_iter().flat_map(move |secret| to.clone().into_iter().map(move |of| (secret, of.id)))
        };
        rest.parts.iter().flat_map(of_part).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_parts_have_exactly_the_pairs_that_are_left(
            many in 1..20_usize,
            wanted in proptest::collection::btree_map(1..30_i64, proptest::collection::btree_set(0..20_usize, 0..6), 0..20),
        ) {
            let recipients = recipients(many);
            let mut expected = Pairs::new();
            let mut left = Vec::new();
            for (id, lacking) in &wanted {
                let mut bits = none_of(many);
                for place in lacking.iter().filter(|place| **place < many) {
                    put(&mut bits, *place, true);
                    expected.insert((secret(*id), recipients[*place].id));
                }
                left.push((secret(*id), bits));
            }
            left.reverse();
            let rest = rest(left, &recipients);
            prop_assert_eq!(rest.pairs, expected.len() as u64);
            prop_assert_eq!(pairs_in(&rest), expected.clone());
            let used: BTreeSet<PrincipalId> = expected.iter().map(|(_, id)| *id).collect();
            prop_assert_eq!(rest.recipients.iter().map(|of| of.id).collect::<Vec<_>>(), used.into_iter().collect::<Vec<_>>());
            // No part could be joined with another, none is empty, and there are no gaps.
            let sets: BTreeSet<_> = rest.parts.iter().map(|part| &part.among).collect();
            prop_assert_eq!(sets.len(), rest.parts.len());
            let mut at = 0;
            for part in &rest.parts {
                prop_assert_eq!(part.from, at);
                prop_assert!(part.to > part.from);
                prop_assert!(rest.secrets[part.from..part.to].is_sorted());
                at = part.to;
            }
            prop_assert_eq!(at, rest.secrets.len());
        }

        #[test]
        fn claims_of_a_part_are_about_the_same_recipients_for_the_job(
            many in 1..20_usize,
            of_part in proptest::collection::btree_set(0..20_usize, 1..8),
            claimed in proptest::option::of(proptest::collection::btree_set(0..8_usize, 0..8)),
        ) {
            let of_part: Vec<usize> = of_part.into_iter().map(|place| place % many).collect::<BTreeSet<_>>().into_iter().collect();
            let among = claimed.as_ref().map(|claimed| {
                let mut bits = none_of(of_part.len());
                claimed.iter().filter(|place| **place < of_part.len()).for_each(|place| put(&mut bits, *place, true));
                bits
            });
            let expected: Vec<usize> = of_part.iter().enumerate().filter(|(place, _)| is_among(among.as_deref(), *place)).map(|(_, of)| *of).collect();
            let told: BTreeMap<_, _> = claims_of_job(vec![(secret(7), among)], &of_part, many).into_iter().collect();
            prop_assert_eq!(places(told[&secret(7)].as_deref(), many), expected);
        }
    }
}
