//! The clock behind SQLite's `now_ms()`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock behind SQLite's `now_ms()`. Tests move it; PostgreSQL uses its own clock.
#[derive(Clone, Default)]
pub struct Clock {
    ahead_ms: Arc<AtomicI64>,
    /// Whether the clock stands still, except for what it is advanced.
    standing: bool,
}

impl Clock {
    /// A clock that stands at this time (milliseconds since 1970) until it is advanced.
    #[must_use]
    pub fn standing(at_ms: i64) -> Self {
        Self { ahead_ms: Arc::new(AtomicI64::new(at_ms)), standing: true }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let ahead = self.ahead_ms.load(Ordering::Relaxed);
        if self.standing {
            return ahead;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX) + ahead
    }

    /// Moves this clock ahead of the machine's.
    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }
}
