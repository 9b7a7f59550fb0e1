//! What the recipients of a share were given.

use std::ops::Range;

use serde::Serialize;

use crate::domain::ids::{JobId, PrincipalId};
use crate::domain::names::names;
use crate::domain::outcome::{PairOutcome, unpacked};
use crate::domain::permission::{Permission, PrincipalKind};
use crate::domain::rest::{Part, places};

/// What became of a batch since it was shared, as far as its undos tell. It is about the whole batch: some of its
/// secrets may have been taken from one recipient in another way, or may be shared with them by others, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceivedState {
    /// Nobody has taken it back.
    Shared,
    /// An undo is at work, or has ended before its end after taking something back, or could not take everything back.
    PartlyUndone,
    /// An undo has taken everything back, except what others have shared or asked for, too.
    Undone,
}

names!(ReceivedState { Shared = "shared", PartlyUndone = "partly_undone", Undone = "undone" });

/// A batch that a person or one of their groups received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub id: i64,
    pub job: JobId,
    pub shared_by: PrincipalId,
    /// `None` where nobody has the id any more.
    pub sharer: Option<String>,
    /// When it was told, in milliseconds since 1970: right after the batch had ended.
    pub at: i64,
    /// The reader, or a group that they are a member of.
    pub to: PrincipalId,
    pub to_kind: PrincipalKind,
    /// `None` where the reader may not know of the group.
    pub to_name: Option<String>,
    pub permission: Permission,
    /// Of how many secrets access came, or more access than before.
    pub secrets: i32,
    pub note: Option<String>,
    pub state: ReceivedState,
    pub seen: bool,
}

/// The recorded outcomes of some secrets of a job, which are all in one of its parts.
pub struct Recorded {
    /// The position of the first of them in the job's list.
    pub from: usize,
    /// How many secrets these are.
    pub secrets: usize,
    pub outcomes: Outcomes,
}

pub enum Outcomes {
    /// All pairs of these secrets came out alike.
    Alike(PairOutcome),
    /// Two bits a pair, as [`crate::domain::outcome::packed`] writes them, secret by secret.
    Packed(Vec<u8>),
}

/// Of how many secrets each of a job's recipients, in their stored order, got access or more access than before.
///
/// `reached` are the positions of the secrets that the job came to. Those without a record were granted to everybody.
/// `parts` says which recipients each secret goes to; there are none if each goes to all of them. The records and the
/// parts are in the order of their positions.
///
/// `None` if a record is shorter than its secrets need.
#[must_use]
pub fn given(
    recipients: usize,
    reached: &[Range<usize>],
    parts: &[Part],
    records: Vec<Recorded>,
) -> Option<Vec<usize>> {
    let whole = [Part { from: 0, to: usize::MAX, among: None }];
    let parts = if parts.is_empty() { &whole[..] } else { parts };
    let mut records = records.into_iter().peekable();
    let mut given = vec![0; recipients];
    for part in parts {
        let places = places(part.among.as_deref(), recipients);
        let common = |of: &Range<usize>| of.end.min(part.to).saturating_sub(of.start.max(part.from));
        let came_to = reached.iter().map(common).sum();
        let own = std::iter::from_fn(|| records.next_if(|record| record.from < part.to));
        for (place, count) in places.iter().zip(given_in_part(places.len(), came_to, own)?) {
            *given.get_mut(*place)? += count;
        }
    }
    Some(given)
}

/// The same of one part, all of whose secrets go to the same recipients.
fn given_in_part(
    recipients: usize,
    came_to: usize,
    records: impl Iterator<Item = Recorded>,
) -> Option<Vec<usize>> {
    let is_given = |outcome| matches!(outcome, PairOutcome::Granted | PairOutcome::Upgraded);
    let mut to_all = came_to;
    let mut given = vec![0; recipients];
    for Recorded { secrets, outcomes, .. } in records {
        match outcomes {
            Outcomes::Alike(outcome) if is_given(outcome) => {}
            Outcomes::Alike(_) => to_all = to_all.checked_sub(secrets)?,
            Outcomes::Packed(bytes) => {
                to_all = to_all.checked_sub(secrets)?;
                for secret in 0..secrets {
                    for (recipient, given) in given.iter_mut().enumerate() {
                        let outcome = unpacked(&bytes, secret * recipients + recipient)?;
                        *given += usize::from(is_given(outcome));
                    }
                }
            }
        }
    }
    Some(given.into_iter().map(|given| given + to_all).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::outcome::packed;

    fn outcome() -> impl Strategy<Value = PairOutcome> {
        use PairOutcome::{Granted, Rejected, Unchanged, Upgraded};
        prop_oneof![Just(Granted), Just(Upgraded), Just(Unchanged), Just(Rejected)]
    }

    /// Chunks of secrets, each with the outcomes of its pairs, for three recipients.
    fn chunks() -> impl Strategy<Value = Vec<Vec<[PairOutcome; 3]>>> {
        let secret = [outcome(), outcome(), outcome()];
        prop::collection::vec(prop::collection::vec(secret, 1..5), 0..5)
    }

    /// The record that a chunk leaves: none if all were granted, one code if they are alike.
    fn recorded(from: usize, chunk: &[[PairOutcome; 3]]) -> Option<Recorded> {
        let pairs: Vec<PairOutcome> = chunk.iter().flatten().copied().collect();
        let alike = pairs.iter().all(|outcome| *outcome == pairs[0]);
        let outcomes = match pairs[0] {
            PairOutcome::Granted if alike => return None,
            outcome if alike => Outcomes::Alike(outcome),
            _ => Outcomes::Packed(packed(pairs)),
        };
        Some(Recorded { from, secrets: chunk.len(), outcomes })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_recipient_got_what_the_pairs_say(chunks in chunks()) {
            // Each chunk ends where a lane has stopped, and behind it is a secret that was not come to.
            let mut records = Vec::new();
            let mut reached = Vec::new();
            let mut from = 0;
            for chunk in &chunks {
                records.extend(recorded(from, chunk));
                reached.push(from..from + chunk.len());
                from += chunk.len() + 1;
            }
            let of = |recipient: usize| {
                let is_given = |pairs: &&[PairOutcome; 3]| {
                    matches!(pairs[recipient], PairOutcome::Granted | PairOutcome::Upgraded)
                };
                chunks.iter().flatten().filter(is_given).count()
            };
            prop_assert_eq!(given(3, &reached, &[], records), Some((0..3).map(of).collect()));
        }
    }

    #[test]
    fn the_recipients_of_a_part_get_what_its_secrets_have() {
        // Secrets 0 and 1 go to the first and the third recipient, secrets 2 to 4 to the second.
        let parts = [
            Part { from: 0, to: 2, among: Some(vec![0b101]) },
            Part { from: 2, to: 5, among: Some(vec![0b010]) },
        ];
        use PairOutcome::{Granted, Rejected, Unchanged, Upgraded};
        let first = Recorded {
            from: 0,
            secrets: 2,
            outcomes: Outcomes::Packed(packed([Granted, Rejected, Upgraded, Granted])),
        };
        let last = Recorded { from: 4, secrets: 1, outcomes: Outcomes::Alike(Unchanged) };
        let reached = [0..3, 3..5];
        assert_eq!(given(3, &reached, &parts, vec![first, last]), Some(vec![2, 2, 1]));
        assert_eq!(given(3, &[0..1, 3..5], &parts, Vec::new()), Some(vec![1, 2, 1]));
    }

    #[test]
    fn a_record_that_ends_early_tells_nothing() {
        let short = Recorded { from: 0, secrets: 3, outcomes: Outcomes::Packed(vec![0]) };
        assert_eq!(given(2, &[0..2, 2..3], &[], vec![short]), None);
        let long = Recorded { from: 0, secrets: 3, outcomes: Outcomes::Alike(PairOutcome::Rejected) };
        assert_eq!(given(2, &[0..1, 1..2], &[], vec![long]), None);
    }
}
