//! Records refused sign-ins in the audit: one row a minute and cause, however many there are. No answer waits for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::store::{AuditEntry, Store};

/// How long after a row this process tries no other of its cause. The database makes sure of one row a minute and
/// cause for all processes together; this keeps their statements few.
const RECORD_EVERY: Duration = Duration::from_secs(60);

/// How long this process waits after a row could not be written.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// How many causes are told apart. Some causes name a character of what was sent, and there are thousands of these, so
/// whoever sends them could fill the table.
const CAUSES: usize = 32;

/// The cause of all that do not fit.
const OTHERS: &str = "one of many other causes";

/// How many rows may be on their way at a time, each with a call of the database.
const AT_A_TIME: usize = 2;

/// Writes the rows in tasks of its own. Cheap to clone: all clones are the same one.
#[derive(Clone)]
pub(in crate::gateway) struct Records(Arc<Inner>);

struct Inner {
    store: Store,
    causes: Causes,
    tasks: Arc<Semaphore>,
}

/// When the next row of each cause may be written.
#[derive(Default)]
struct Causes(Mutex<HashMap<String, Instant>>);

impl Records {
    pub(in crate::gateway) fn new(store: Store) -> Self {
        let tasks = Arc::new(Semaphore::new(AT_A_TIME));
        Self(Arc::new(Inner { store, causes: Causes::default(), tasks }))
    }

    /// Records a refusal soon, unless one of this cause was recorded within the last minute. `cause` is a text of this
    /// program and never the name that was given. A row that cannot be written is lost, and the log says so.
    pub(in crate::gateway) fn keep(&self, address: IpAddr, cause: &str) {
        // Without a task, the cause is not marked, so the next refusal tries again.
        let Ok(task) = Arc::clone(&self.0.tasks).try_acquire_owned() else { return };
        let Some(cause) = self.0.causes.due(cause, Instant::now()) else { return };
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let entry = AuditEntry::SignInRefused { cause: cause.clone(), address: address.to_string() };
            if let Err(error) = inner.store.record(entry).await {
                tracing::warn!(%error, cause, "a refused sign-in was not recorded");
                inner.causes.again(cause, Instant::now());
            }
            drop(task);
        });
    }
}

impl Causes {
    /// The cause to record, which is marked as recorded; `None` if it is too early for another row.
    fn due(&self, cause: &str, now: Instant) -> Option<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cause = cause;
        if all.len() >= CAUSES && !all.contains_key(cause) {
            all.retain(|_, next| *next > now);
            if all.len() >= CAUSES {
                cause = OTHERS;
            }
        }
        if all.get(cause).is_some_and(|next| *next > now) {
            return None;
        }
        all.insert(cause.to_owned(), now + RECORD_EVERY);
        Some(cause.to_owned())
    }

    /// Lets a cause be recorded again soon, because its row was not written.
    fn again(&self, cause: String, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(cause, now + TRY_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_recorded_once_a_minute_and_the_causes_are_bounded() {
        let (causes, began) = (Causes::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(causes.due("a", at(0)).as_deref(), Some("a"));
        assert_eq!(causes.due("a", at(59)), None);
        assert_eq!(causes.due("b", at(59)).as_deref(), Some("b"));
        assert_eq!(causes.due("a", at(60)).as_deref(), Some("a"));
        causes.again("a".to_owned(), at(60));
        assert_eq!(causes.due("a", at(64)), None);
        assert_eq!(causes.due("a", at(65)).as_deref(), Some("a"));
        let many = (0..10_000).filter_map(|n| causes.due(&format!("U+{n:04X}"), at(70)));
        let many: Vec<String> = many.collect();
        assert_eq!(many.len(), CAUSES - 2 + 1);
        assert_eq!(many.iter().filter(|cause| *cause == OTHERS).count(), 1);
        // A minute later there is room again.
        assert_eq!(causes.due("c", at(200)).as_deref(), Some("c"));
        assert_eq!(causes.0.lock().expect("all").len(), 1);
    }
}
