//! The clock behind SQLite's `now_ms()` and `now_us()`, and the rule that the readings of a process never go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock behind SQLite's `now_ms()` and `now_us()`. Tests move it. PostgreSQL uses its own clock, and this one only
/// remembers the latest reading of it.
#[derive(Clone, Default)]
pub struct Clock {
    ahead_ms: Arc<AtomicI64>,
    /// The latest reading in microseconds that this process has used.
    latest_us: Arc<AtomicI64>,
    /// Whether the clock stands still, except for what it is advanced.
    standing: bool,
}

impl Clock {
    /// A clock that stands at this time (milliseconds since 1970) until it is advanced.
    #[must_use]
    pub fn standing(at_ms: i64) -> Self {
        Self { ahead_ms: Arc::new(AtomicI64::new(at_ms)), standing: true, ..Self::default() }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let ahead = self.ahead_ms.load(Ordering::Relaxed);
        if self.standing {
            return ahead;
        }
        millis(since_1970()).saturating_add(ahead)
    }

    /// Microseconds since 1970. Each reading is later than the one before, also if the machine's clock was set back. A
    /// clock that stands still counts its readings in the microseconds of its millisecond, and repeats the last of
    /// them after a thousand readings.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        let ahead = self.ahead_ms.load(Ordering::Relaxed).saturating_mul(1_000);
        let (now, last) = if self.standing {
            (ahead, ahead.saturating_add(999))
        } else {
            (micros(since_1970()).saturating_add(ahead), i64::MAX)
        };
        let next = |latest: i64| now.max(latest.saturating_add(1).min(last)).max(latest);
        let before = self.latest_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |us| Some(next(us)));
        before.map_or(now, next)
    }

    /// The latest reading in microseconds that this process has used, or 0 if there was none.
    #[must_use]
    pub fn latest_us(&self) -> i64 {
        self.latest_us.load(Ordering::Relaxed)
    }

    /// Takes a reading in microseconds that a database returned. If it is earlier than one that this process has used
    /// before, that one is returned in its place: after a failover the clock of another server is read, which may be
    /// behind.
    #[must_use]
    pub fn no_earlier(&self, us: i64) -> i64 {
        self.latest_us.fetch_max(us, Ordering::Relaxed).max(us)
    }

    /// Moves this clock ahead of the machine's.
    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(millis(by), Ordering::Relaxed);
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(of: Duration) -> i64 {
    i64::try_from(of.as_millis()).unwrap_or(i64::MAX)
}

fn micros(of: Duration) -> i64 {
    i64::try_from(of.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_in_one_millisecond_differ_and_never_go_back() {
        for clock in [Clock::standing(1_700_000_000_000), Clock::default()] {
            let readings: Vec<i64> = (0..900).map(|_| clock.now_us()).collect();
            assert!(readings.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn a_standing_clock_stays_in_its_millisecond_however_often_it_is_read() {
        let clock = Clock::standing(1_700_000_000_000);
        let readings: Vec<i64> = (0..3_000).map(|_| clock.now_us()).collect();
        assert!(readings.is_sorted());
        assert!(readings.iter().all(|us| us / 1_000 == clock.now_ms()));
        clock.advance(Duration::from_millis(1));
        assert_eq!(clock.now_us(), 1_700_000_000_001_000);
    }

    #[test]
    fn a_reading_of_a_server_whose_clock_is_behind_does_not_count() {
        let clock = Clock::default();
        assert_eq!(clock.no_earlier(2_000), 2_000);
        assert_eq!(clock.no_earlier(1_000), 2_000);
        assert_eq!((clock.no_earlier(3_000), clock.latest_us()), (3_000, 3_000));
    }
}
