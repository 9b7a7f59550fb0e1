//! What one person may ask for in an hour. Without this limit, one person could fill the database.
//!
//! The jobs in the database are counted, so that all gateways have the same count. Counting them for each request
//! would cost too much: a count is used for a while, together with what was asked for at this gateway since. Several
//! gateways may therefore let a person pass the limit, by a sixteenth of what is left for each gateway at the most.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::db::DbError;
use crate::domain::PrincipalId;
use crate::store::{Allowance, Asked, Store};

const HOUR: Duration = Duration::from_secs(3_600);

/// How long a count of the database is used, and how long where little is left.
const FRESH: Duration = Duration::from_secs(60);
const FRESH_NEAR_THE_END: Duration = Duration::from_secs(5);

/// One part in so many of what is left may be asked for before the jobs are counted anew.
const PART: u64 = 16;

/// From so many remembered people on, old counts are forgotten.
const FORGET_AT: usize = 1_024;

/// The limits of one person. 0 means that there is no limit.
#[derive(Debug, Clone, Copy)]
pub struct Hourly {
    pub pairs: u64,
    pub bytes: u64,
}

pub(in crate::gateway) struct Growth {
    limits: Hourly,
    people: Mutex<HashMap<PrincipalId, Known>>,
}

struct Known {
    at: Instant,
    asked: Asked,
    /// What was asked for at this gateway since then.
    pairs: u64,
    bytes: u64,
}

impl Known {
    fn is_fresh(&self, limits: Hourly) -> bool {
        let one = |limit: u64, asked: u64, since: u64| {
            let left = limit.saturating_sub(asked);
            let patience = if left < limit / PART { FRESH_NEAR_THE_END } else { FRESH };
            limit == 0 || (self.at.elapsed() < patience && (since == 0 || since <= left / PART))
        };
        one(limits.pairs, self.asked.pairs, self.pairs) && one(limits.bytes, self.asked.bytes, self.bytes)
    }

    fn left(&self, limits: Hourly) -> Allowance {
        let one = |limit: u64, asked: u64, since: u64| match limit {
            0 => u64::MAX,
            limit => limit.saturating_sub(asked).saturating_sub(since),
        };
        Allowance {
            pairs: one(limits.pairs, self.asked.pairs, self.pairs),
            bytes: one(limits.bytes, self.asked.bytes, self.bytes),
        }
    }
}

impl Growth {
    pub(in crate::gateway) fn new(limits: Hourly) -> Self {
        Self { limits, people: Mutex::default() }
    }

    pub(in crate::gateway) fn limits(&self) -> Hourly {
        self.limits
    }

    fn people(&self) -> MutexGuard<'_, HashMap<PrincipalId, Known>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the person may still ask for in this hour.
    pub(in crate::gateway) async fn allowance(
        &self,
        store: &Store,
        person: PrincipalId,
    ) -> Result<Allowance, DbError> {
        if self.limits.pairs == 0 && self.limits.bytes == 0 {
            return Ok(Allowance::UNLIMITED);
        }
        if let Some(known) = self.people().get(&person).filter(|known| known.is_fresh(self.limits)) {
            return Ok(known.left(self.limits));
        }
        // A job that is committed while this is read may be counted twice, until the next reading.
        let known = Known { at: Instant::now(), asked: store.asked(person, HOUR).await?, pairs: 0, bytes: 0 };
        let left = known.left(self.limits);
        let mut people = self.people();
        if people.len() >= FORGET_AT && people.len().is_power_of_two() {
            people.retain(|_, known| known.at.elapsed() < FRESH);
        }
        people.insert(person, known);
        Ok(left)
    }

    /// Notes that a job of this person was accepted.
    pub(in crate::gateway) fn add(&self, person: PrincipalId, pairs: u64, bytes: u64) {
        if let Some(known) = self.people().get_mut(&person) {
            known.pairs = known.pairs.saturating_add(pairs);
            known.bytes = known.bytes.saturating_add(bytes);
        }
    }

    /// After how many seconds the oldest job of the person's hour is more than an hour old.
    pub(in crate::gateway) fn wait(&self, person: PrincipalId) -> u32 {
        let oldest = self.people().get(&person).and_then(|known| known.asked.oldest).unwrap_or_default();
        u32::try_from(HOUR.saturating_sub(oldest).as_secs()).unwrap_or(u32::MAX).max(1)
    }
}
