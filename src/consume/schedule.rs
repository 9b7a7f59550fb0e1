//! How long to wait before another try: exponential backoff with full jitter.
//!
//! This is the only file that knows the crate `backoff` (unmaintained, RUSTSEC-2025-0012). The crate gives the
//! schedule, and tokio sleeps. Whoever replaces it changes this file alone.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// A schedule of waits that never ends.
pub struct Schedule {
    inner: ExponentialBackoff,
}

impl Schedule {
    /// The waits grow from `first` to `longest`, doubling. Each is drawn at random from zero to twice its size.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        let inner = ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            multiplier: 2.0,
            max_interval: longest,
            // With full jitter, each wait is anything from nothing to twice the interval.
            randomization_factor: 1.0,
            // Without this, the crate gives up after 15 minutes.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { inner }
    }

    /// For a server that is away: waits that grow from 100 ms to 3 s on average.
    #[must_use]
    pub fn reconnect() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(3))
    }

    /// For a statement that may work in a moment: waits that grow from 10 ms to 200 ms on average.
    #[must_use]
    pub fn in_place() -> Self {
        Self::new(Duration::from_millis(10), Duration::from_millis(200))
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        self.inner.next_backoff().unwrap_or(self.inner.max_interval)
    }

    /// Starts again from the first wait, after something worked.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_stay_bounded_and_never_end() {
        let longest = Duration::from_secs(3);
        let mut schedule = Schedule::reconnect();
        let waits: Vec<Duration> = (0..1_000).map(|_| schedule.next_wait()).collect();
        assert!(waits.iter().all(|wait| *wait <= longest * 2));
        let sum = |part: &[Duration]| part.iter().sum::<Duration>();
        assert!(sum(&waits[..3]) < Duration::from_secs(2));
        assert!(sum(&waits[900..]) > Duration::from_secs(100));
    }
}
