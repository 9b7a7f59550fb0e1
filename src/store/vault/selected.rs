//! Reads what "select all" takes: every secret in reach that matches, in ascending order and in parts.
//!
//! One statement reads a part, which is kept in memory as a few bytes for each secret. So the database's connection
//! is free again before the answer is sent, and a slow client does not hold it. And a part can be large, which
//! matters since each part costs one look at everything that is granted to the person.

use crate::db::DbError;
use crate::domain::{PrincipalId, RejectReason, SecretId};
use crate::store::transact::Store;
use crate::store::vault::access::some_reach;
use crate::store::vault::filter::SecretFilter;
use crate::store::vault::reach::{MatchRow, each_match, secret_id};
use crate::store::vault::secrets::Selectable;

/// A part of the secrets that match, as an iterator over them by id. A secret takes one to three bytes if ids are
/// close together, and eight bytes at most.
#[derive(Debug, Default)]
pub struct Selected {
    bytes: Vec<u8>,
    /// The position in `bytes` that is read next.
    at: usize,
    /// The id that was read last.
    last: i64,
    /// The id that was written last.
    written: i64,
    /// If it is set, there may be another part, which begins after this id. Otherwise this is the last part.
    pub more_after: Option<SecretId>,
}

impl Selected {
    /// An empty part, whose secrets have ids greater than this.
    fn after(id: i64) -> Self {
        Self { last: id, written: id, ..Self::default() }
    }

    /// Appends a secret: the distance from the id before, and the reason. They are one number in LEB128: seven bits in
    /// each byte, the lowest bits first, and the highest bit of a byte is set if another byte follows.
    fn push(&mut self, secret: Selectable) {
        let reason = match secret.reason {
            None => 0,
            Some(RejectReason::NotAllowed) => 1,
            Some(_) => 2,
        };
        // An id has at most 53 bits, so the distance has room for the two bits of the reason.
        let mut value = secret.id.get().abs_diff(self.written) << 2 | reason;
        self.written = secret.id.get();
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            self.bytes.push(if value == 0 { low } else { low | 0x80 });
            if value == 0 {
                return;
            }
        }
    }
}

impl Iterator for Selected {
    type Item = Selectable;

    fn next(&mut self) -> Option<Selectable> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        self.last = self.last.checked_add_unsigned(value >> 2)?;
        let reason = match value & 3 {
            0 => None,
            1 => Some(RejectReason::NotAllowed),
            _ => Some(RejectReason::Disabled),
        };
        Some(Selectable { id: SecretId::try_from(self.last).ok()?, reason })
    }
}

impl Store {
    /// A part of the secrets that the person can reach and that match, by id, and whether each can be shared. The
    /// part has at most `limit` secrets (which is at least 1) with ids greater than `after`. If the caller reads one
    /// part after the other, it gets no secret twice, and it gets every secret that matched during the whole time.
    pub async fn selectable_secrets(
        &self,
        user: PrincipalId,
        filter: SecretFilter,
        after: Option<SecretId>,
        limit: usize,
    ) -> Result<Selected, DbError> {
        let after = after.map_or(0, SecretId::get);
        self.db
            .read(move |conn| {
                let (mut part, mut count) = (Selected::after(after), 0);
                each_match(conn, user, &filter, after, limit, |row| {
                    count += 1;
                    part.push(selectable(&row)?);
                    Ok(())
                })?;
                if count == limit {
                    part.more_after = Some(secret_id(part.written)?);
                }
                Ok(part)
            })
            .await
    }
}

fn selectable(row: &MatchRow) -> Result<Selectable, DbError> {
    // If there are two reasons, this is the one that the report of a job gives.
    let reason = some_reach(row.level)?.share_refusal(row.disabled);
    Ok(Selectable { id: secret_id(row.id)?, reason })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REASONS: [Option<RejectReason>; 3] =
        [None, Some(RejectReason::NotAllowed), Some(RejectReason::Disabled)];
    const LARGEST: i64 = 9_007_199_254_740_991;

    proptest! {
        #[test]
        fn what_is_kept_is_what_was_read(
            ids in proptest::collection::btree_map(
                prop_oneof![1..=300_i64, 1..=LARGEST, Just(LARGEST)], 0..3_usize, 0..200,
            ),
        ) {
            let secrets: Vec<Selectable> = ids
                .into_iter()
                .map(|(id, reason)| Selectable { id: SecretId::try_from(id).expect("an id"), reason: REASONS[reason] })
                .collect();
            for cut in [0, secrets.len() / 2] {
                let after = cut.checked_sub(1).map_or(0, |last| secrets[last].id.get());
                let mut part = Selected::after(after);
                secrets[cut..].iter().for_each(|secret| part.push(*secret));
                prop_assert!(part.bytes.len() <= (secrets.len() - cut) * 8);
                prop_assert_eq!(part.collect::<Vec<_>>(), &secrets[cut..]);
            }
        }
    }

    #[test]
    fn dense_ids_take_a_byte_each() {
        let mut part = Selected::after(0);
        (1..=1_000).for_each(|id| {
            part.push(Selectable { id: SecretId::try_from(id).expect("an id"), reason: None })
        });
        assert_eq!(part.bytes.len(), 1_000);
    }
}
