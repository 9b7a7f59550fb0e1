//! What became of each pair of a job, and the compact form in which that is kept.
//!
//! A pair is one secret with one recipient of a job. Pairs are in order: secret by secret as the job lists them, and
//! for each secret the recipients as the job keeps them.

use std::collections::HashMap;

use crate::domain::event::Subject;
use crate::domain::ids::{PrincipalId, SecretId};
use crate::domain::job::Counts;
use crate::domain::plan::ChunkPlan;
use crate::domain::share::Recipient;

/// What became of one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairOutcome {
    /// The recipient had no grant of the secret and has one now.
    Granted,
    /// The recipient could view the secret and may edit it now.
    Upgraded,
    /// The recipient had at least what was asked already, or owns the secret.
    Unchanged,
    /// The pair was not shared.
    Rejected,
}

impl PairOutcome {
    const ALL: [Self; 4] = [Self::Granted, Self::Upgraded, Self::Unchanged, Self::Rejected];

    /// The number that a stored outcome has. It fits two bits.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Granted => 0,
            Self::Upgraded => 1,
            Self::Unchanged => 2,
            Self::Rejected => 3,
        }
    }

    /// The outcome that has this number. `None` if there is none.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl Counts {
    /// The counts of one pair.
    #[must_use]
    pub fn of(outcome: PairOutcome) -> Self {
        let mut counts = Self::default();
        match outcome {
            PairOutcome::Granted => counts.granted = 1,
            PairOutcome::Upgraded => counts.upgraded = 1,
            PairOutcome::Unchanged => counts.unchanged = 1,
            PairOutcome::Rejected => counts.rejected = 1,
        }
        counts
    }

    /// The outcome that all of these pairs have in common. `None` if they differ, or if there are no pairs.
    #[must_use]
    pub fn only(&self) -> Option<PairOutcome> {
        let each = [self.granted, self.upgraded, self.unchanged, self.rejected];
        let mut found = PairOutcome::ALL.into_iter().zip(each).filter(|(_, pairs)| *pairs > 0);
        match (found.next(), found.next()) {
            (Some((outcome, _)), None) => Some(outcome),
            _ => None,
        }
    }
}

/// The outcomes of pairs at two bits each: pair `n` has the bits `2n % 8` and the next of byte `n / 4`.
#[must_use]
pub fn packed(outcomes: impl IntoIterator<Item = PairOutcome>) -> Vec<u8> {
    packed_codes(outcomes.into_iter().map(PairOutcome::code))
}

/// Does what [`packed`] does for the numbers of outcomes, each of which fits two bits.
#[must_use]
pub fn packed_codes(codes: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (pair, code) in codes.into_iter().enumerate() {
        if pair % 4 == 0 {
            bytes.push(0);
        }
        if let Some(last) = bytes.last_mut() {
            *last |= (code & 3) << (2 * (pair % 4));
        }
    }
    bytes
}

/// The outcome of pair `n` in bytes that [`packed`] made. `None` if they end before it.
#[must_use]
pub fn unpacked(bytes: &[u8], n: usize) -> Option<PairOutcome> {
    PairOutcome::from_code(unpacked_code(bytes, n)?)
}

/// The number of the outcome of pair `n` in bytes that [`packed`] or [`packed_codes`] made. `None` if they end before it.
#[must_use]
pub fn unpacked_code(bytes: &[u8], n: usize) -> Option<u8> {
    bytes.get(n / 4).map(|byte| byte >> (2 * (n % 4)) & 3)
}

/// Whether a claim is about the recipient at this place of its job's recipients. `among` is as a claim keeps it: one
/// bit for each recipient, or `None` for all of them.
#[must_use]
pub fn is_among(among: Option<&[u8]>, recipient: usize) -> bool {
    among.is_none_or(|bits| bits.get(recipient / 8).is_some_and(|byte| byte >> (recipient % 8) & 1 == 1))
}

/// Whom a claim is still about when the recipients at these `places` are struck out, as it keeps them: `count` is the
/// number of its job's recipients. It is empty if nobody is left, and `None` if it was about none of these.
#[must_use]
pub fn all_but(among: Option<&[u8]>, count: usize, places: &[usize]) -> Option<Vec<u8>> {
    if !places.iter().any(|place| is_among(among, *place)) {
        return None;
    }
    let mut left = vec![0_u8; count.div_ceil(8)];
    let stays = |place: &usize| is_among(among, *place) && places.binary_search(place).is_err();
    for place in (0..count).filter(stays) {
        if let Some(byte) = left.get_mut(place / 8) {
            *byte |= 1 << (place % 8);
        }
    }
    if left.iter().all(|byte| *byte == 0) {
        left.clear();
    }
    Some(left)
}

/// Pairs that were granted or upgraded.
pub type PairsGiven = HashMap<(SecretId, PrincipalId), PairOutcome>;

/// What became of the pairs that a plan applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// All of them came out alike.
    Alike(PairOutcome),
    /// These were granted or upgraded. All others were unchanged.
    These(PairsGiven),
}

/// The secrets of which a job found pairs unchanged, each with the recipients of these pairs (see [`is_among`]). Pairs
/// of an owner are not among them, since an owner needs no grant.
pub type Claims = Vec<(SecretId, Option<Vec<u8>>)>;

/// The outcome of each pair of a chunk, packed, and what the chunk claims. `recipients` are those of the job, in their
/// stored order.
#[must_use]
pub fn told(recipients: &[Recipient], plan: &ChunkPlan, given: &Given) -> (Vec<u8>, Claims) {
    let refused = |recipient: &Recipient| {
        let subject = Subject::Recipient(recipient.kind, recipient.id);
        plan.rejections.iter().any(|rejection| rejection.subject == subject)
    };
    let refused: Vec<bool> = recipients.iter().map(refused).collect();
    let outcome = |secret: SecretId, recipient: PrincipalId| match given {
        Given::Alike(outcome) => *outcome,
        Given::These(these) => these.get(&(secret, recipient)).copied().unwrap_or(PairOutcome::Unchanged),
    };
    let secrets = plan.asked();
    let mut outcomes = Vec::with_capacity(secrets.len() * recipients.len());
    let mut claims = Claims::new();
    for secret in secrets {
        if plan.secrets.binary_search(&secret).is_err() {
            outcomes.extend(recipients.iter().map(|_| PairOutcome::Rejected));
            continue;
        }
        let owner = plan.owners.binary_search_by_key(&secret, |(secret, _)| *secret).ok();
        let owner = owner.and_then(|place| plan.owners.get(place)).map(|(_, owner)| *owner);
        let (mut bits, mut claimed) = (vec![0_u8; recipients.len().div_ceil(8)], 0);
        for (place, (recipient, refused)) in recipients.iter().zip(&refused).enumerate() {
            outcomes.push(if *refused {
                PairOutcome::Rejected
            } else if owner == Some(recipient.id) {
                PairOutcome::Unchanged
            } else {
                let outcome = outcome(secret, recipient.id);
                if let (PairOutcome::Unchanged, Some(byte)) = (outcome, bits.get_mut(place / 8)) {
                    *byte |= 1 << (place % 8);
                    claimed += 1;
                }
                outcome
            });
        }
        if claimed > 0 {
            claims.push((secret, (claimed < recipients.len()).then_some(bits)));
        }
    }
    (packed(outcomes), claims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(codes in proptest::collection::vec(0..4_u8, 0..40)) {
            let outcomes: Vec<_> = codes.iter().filter_map(|code| PairOutcome::from_code(*code)).collect();
            let bytes = packed(outcomes.iter().copied());
            prop_assert_eq!(bytes.len(), outcomes.len().div_ceil(4));
            let again: Vec<_> = (0..outcomes.len()).filter_map(|n| unpacked(&bytes, n)).collect();
            prop_assert_eq!(again, outcomes);
            prop_assert_eq!(unpacked_code(&bytes, bytes.len() * 4), None);
        }
    }

    #[test]
    fn counts_have_one_outcome_only_if_no_other_has_pairs() {
        let counts = |granted, unchanged| Counts { granted, unchanged, ..Counts::default() };
        assert_eq!(counts(0, 0).only(), None);
        assert_eq!(counts(3, 0).only(), Some(PairOutcome::Granted));
        assert_eq!(counts(0, 3).only(), Some(PairOutcome::Unchanged));
        assert_eq!(counts(1, 3).only(), None);
    }

    #[test]
    fn a_claim_without_bits_is_about_every_recipient() {
        assert!(is_among(None, 9_999));
        let bits = [0b0000_0010, 0b0000_0001];
        let among: Vec<usize> = (0..24).filter(|place| is_among(Some(&bits), *place)).collect();
        assert_eq!(among, [1, 8]);
    }

    #[test]
    fn who_is_struck_out_of_a_claim_is_not_in_it_and_all_others_are() {
        let left = |among: Option<&[u8]>, places: &[usize]| all_but(among, 10, places);
        assert_eq!(left(None, &[]), None);
        assert_eq!(left(Some(&[0b0000_0010, 0b0000_0001]), &[0, 2, 9]), None);
        assert_eq!(left(Some(&[0b0000_0010, 0b0000_0001]), &[1, 2]), Some(vec![0, 1]));
        assert_eq!(left(Some(&[0b0000_0010, 0]), &[1]), Some(Vec::new()));
        assert_eq!(left(None, &[0, 8]), Some(vec![0b1111_1110, 0b0000_0010]));
        assert_eq!(left(None, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Some(Vec::new()));
    }
}
