//! How the program waits for a server that is away when it starts, and what it says meanwhile.

use std::time::{Duration, Instant};

use crate::consume::schedule::Schedule;
use crate::shutdown::Stop;

/// How often the log says that a server is still waited for.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Waits for a server that is away. It logs one line at first, then one each minute, and one whenever the reason
/// changes.
pub(super) struct Patience {
    what: &'static str,
    schedule: Schedule,
    /// When it was told last, and the kind of reason.
    told: Option<(Instant, &'static str)>,
}

impl Patience {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, schedule: Schedule::reconnect(), told: None }
    }

    /// Says why it waits, unless it has just said so.
    pub(super) fn tell(&mut self, kind: &'static str, reason: &str) {
        let is_told = |(at, of): (Instant, &str)| of == kind && at.elapsed() < TELL_EVERY;
        if !self.told.is_some_and(is_told) {
            tracing::warn!(reason, "waiting for {}", self.what);
            self.told = Some((Instant::now(), kind));
        }
    }

    /// Says why it waits, and waits until the next try is due.
    pub(super) async fn wait(&mut self, reason: &str) {
        self.tell("", reason);
        tokio::time::sleep(self.schedule.next_wait()).await;
    }

    /// Waits until the next try is due. Returns false if the program was told to stop meanwhile.
    pub(super) async fn wait_or_stop(&mut self, stop: &Stop) -> bool {
        stop.sleep(self.schedule.next_wait()).await
    }
}
