//! A trace of the sign-ins that were refused: each cause leaves a line in the log, and nobody can fill the log with
//! them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after a line the same cause from the same address leaves no other.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How many pairs of a cause and an address are remembered. Beyond that, all addresses of a cause are counted
/// together.
const REMEMBERED: usize = 1_000;

/// The refusals that were logged lately.
#[derive(Default)]
pub(in crate::gateway) struct Refusals(Mutex<HashMap<(Option<IpAddr>, String), Told>>);

struct Told {
    at: Instant,
    /// How many refusals since then have left no line.
    silent: u64,
}

impl Refusals {
    /// Logs a refusal, unless the same was logged within the last minute. `cause` is a text of this program and never
    /// the name that was given.
    pub(in crate::gateway) fn tell(&self, address: IpAddr, cause: &str) {
        if let Some(before) = self.note(Some(address), cause, Instant::now()) {
            tracing::warn!(%address, cause, since_last_line = before, "a sign-in was refused");
        }
    }

    /// How many refusals there were since the last line; `None` where it is too early for another line.
    fn note(&self, address: Option<IpAddr>, cause: &str, now: Instant) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (address, cause.to_owned());
        if all.len() >= REMEMBERED && !all.contains_key(&key) {
            all.retain(|_, told| now.saturating_duration_since(told.at) < TELL_EVERY);
            if all.len() >= REMEMBERED {
                // Those that do not fit any more are counted together, whatever their address.
                key.0 = None;
            }
        }
        match all.get_mut(&key) {
            Some(told) if now.saturating_duration_since(told.at) < TELL_EVERY => {
                told.silent += 1;
                None
            }
            Some(told) => Some(std::mem::replace(told, Told { at: now, silent: 0 }).silent),
            None => {
                all.insert(key, Told { at: now, silent: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_a_minute_and_cause_and_address_and_remembered_within_bounds() {
        let (refusals, began) = (Refusals::default(), Instant::now());
        let address = |last: u32| Some(IpAddr::from(last.to_be_bytes()));
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(refusals.note(address(1), "a", at(0)), Some(0));
        assert_eq!(refusals.note(address(1), "a", at(59)), None);
        assert_eq!(refusals.note(address(1), "b", at(59)), Some(0));
        assert_eq!(refusals.note(address(2), "a", at(59)), Some(0));
        assert_eq!(refusals.note(address(1), "a", at(60)), Some(1));
        let told = (0..100_000).filter(|last| refusals.note(address(*last), "c", at(61)).is_some()).count();
        assert!(told <= REMEMBERED, "{told}");
        assert!(refusals.0.lock().expect("all").len() <= REMEMBERED + 3);
    }
}
