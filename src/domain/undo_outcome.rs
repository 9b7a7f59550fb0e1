//! What became of each pair of an undo, and the numbers under which that is kept.

use std::collections::HashMap;

use crate::domain::ids::{PrincipalId, SecretId};
use crate::domain::permission::PrincipalKind;
use crate::domain::share::Recipient;
use crate::domain::unshare::Pair;

/// What became of one pair of an undo, apart from rejected pairs: an undo rejects whole secrets, and its report has a
/// line for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UndoOutcome {
    Revoked,
    Lowered,
    Untouched,
    Kept,
}

impl UndoOutcome {
    const ALL: [Self; 4] = [Self::Revoked, Self::Lowered, Self::Untouched, Self::Kept];

    /// The number that a stored outcome has. It fits two bits.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Revoked => 0,
            Self::Lowered => 1,
            Self::Untouched => 2,
            Self::Kept => 3,
        }
    }

    /// The outcome that has this number. `None` if there is none.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// What became of each pair of a chunk: secret by secret, and for each the recipients of the job in their order. Pairs of
/// rejected secrets are among them, as untouched. `doubles` has the kinds of those principals that were asked for as
/// principals of two kinds: only one of the two pairs is the principal's.
#[must_use]
pub fn outcomes(
    secrets: &[SecretId],
    recipients: &[Recipient],
    doubles: &HashMap<PrincipalId, PrincipalKind>,
    changed: &HashMap<Pair, UndoOutcome>,
) -> Vec<UndoOutcome> {
    let is_own = |of: &Recipient| doubles.get(&of.id).is_none_or(|kind| *kind == of.kind);
    let mut outcomes = Vec::with_capacity(secrets.len() * recipients.len());
    for secret in secrets {
        outcomes.extend(recipients.iter().map(|of| {
            let changed = changed.get(&(*secret, of.id)).filter(|_| is_own(of));
            changed.copied().unwrap_or(UndoOutcome::Untouched)
        }));
    }
    outcomes
}
