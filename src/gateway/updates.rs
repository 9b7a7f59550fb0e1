//! What the streams of this gateway are woken by, and whether anybody hears it.
//!
//! The broker is spared a copy of every event while no stream is open: the first stream asks for the
//! hearing and waits a moment until it has begun.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{self, Receiver};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::domain::{JobId, PrincipalId};

/// Something that streams may want to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// A job has moved.
    Job { id: JobId, requested_by: PrincipalId },
    /// Some updates were not heard.
    Missed,
    /// The gateway stops: streams end, so that it can.
    Stopping,
}

/// Whether events of the broker are heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// Not yet: somebody has to want it.
    Not,
    /// Every event from now on.
    All,
    /// The broker is away: streams look for themselves until it is back.
    Away,
}

/// Updates that a slow stream may be behind before it reads everything again.
const KEPT: usize = 1_024;

/// How long a stream waits for the hearing to begin before it goes on without.
const PATIENCE: Duration = Duration::from_secs(1);

/// From whoever hears the events to the streams. Clones are the same.
#[derive(Clone)]
pub struct Updates {
    sender: broadcast::Sender<Update>,
    hearing: watch::Sender<Hearing>,
    wanted: Arc<Notify>,
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(KEPT),
            hearing: watch::Sender::new(Hearing::Not),
            wanted: Arc::default(),
        }
    }
}

impl Updates {
    /// Every update from now on. What is read after this misses nothing while the broker is there.
    pub(super) async fn subscribe(&self) -> Receiver<Update> {
        let receiver = self.sender.subscribe();
        self.wanted.notify_one();
        let mut hearing = self.hearing.subscribe();
        let begun = hearing.wait_for(|hearing| *hearing != Hearing::Not);
        // Where it takes longer (or nobody hears at all), `Missed` or the stream's own look tells the rest.
        let _ = timeout(PATIENCE, begun).await;
        receiver
    }

    /// Wakes the streams there are.
    pub fn tell(&self, update: Update) {
        // An error means that there are none.
        let _ = self.sender.send(update);
    }

    /// Whether any stream is open.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Returns when a stream is open. Safe to cancel.
    pub async fn wanted(&self) {
        while !self.has_streams() {
            self.wanted.notified().await;
        }
    }

    /// Says whether events are heard now.
    pub fn set_hearing(&self, hearing: Hearing) {
        self.hearing.send_replace(hearing);
    }
}
