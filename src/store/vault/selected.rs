//! What "select all" takes: every secret in reach that matches, in ascending order and in parts.
//!
//! A part is read by one statement and kept as a few bytes a secret, so that the connection is free again before
//! anybody waits for a slow reader, and so that a part can be large: each part costs a look at all that is granted
//! to the person.

use crate::db::DbError;
use crate::domain::{PrincipalId, RejectReason, SecretId};
use crate::store::transact::Store;
use crate::store::vault::filter::SecretFilter;
use crate::store::vault::reach::{MatchRow, each_match, reach, secret_id};
use crate::store::vault::secrets::Selectable;

/// Some of the secrets that match: an iterator over them, by id. It holds one to three bytes of each where ids are
/// close together, and eight at the most.
#[derive(Debug, Default)]
pub struct Selected {
    bytes: Vec<u8>,
    /// Where reading is, and the id that was read last.
    at: usize,
    last: i64,
    /// The id that was written last.
    written: i64,
    /// The part ends here, and there may be more behind this id.
    pub more_after: Option<SecretId>,
}

impl Selected {
    /// A part that comes after this id.
    fn after(id: i64) -> Self {
        Self { last: id, written: id, ..Self::default() }
    }

    /// The distance from the secret before and the reason, as LEB128: seven bits a byte, the lowest first, and
    /// the highest bit where more come.
    fn push(&mut self, secret: Selectable) {
        let reason = match secret.reason {
            None => 0,
            Some(RejectReason::NotAllowed) => 1,
            Some(_) => 2,
        };
        // Ids end at 2^53: a distance has room for two bits more.
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
    /// The secrets in reach that match, by id, and whether each can be shared: at most `limit` (1 at least) of
    /// those behind `after`. One after the other, the parts have each secret at most once, and all that matched
    /// the whole time.
    ///
    /// # Errors
    /// The database's.
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
    // The order of the reasons is that of a job's report.
    let reason = if !reach(row.level)?.may_edit() {
        Some(RejectReason::NotAllowed)
    } else {
        row.disabled.then_some(RejectReason::Disabled)
    };
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
