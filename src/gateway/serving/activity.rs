//! What a connection is doing at the moment. Its stream and its service note it here, and its task reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;

/// What a connection is doing. A time is in milliseconds since the connection began, plus one, because 0 stands for
/// "never".
pub(super) struct Activity {
    began: Instant,
    /// Whether a request is in hand: its whole head has arrived, and its answer has not been written to the end.
    busy: AtomicBool,
    /// When the first byte of a head arrived whose rest is still missing.
    head_since: AtomicU64,
    /// When the last request was answered, or when the client took the last byte of the answer.
    idle_since: AtomicU64,
    /// Since when the client has taken nothing of an answer.
    stuck_since: AtomicU64,
    evicted: Notify,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            busy: AtomicBool::new(false),
            // A client that connects is expected to send a request at once.
            head_since: AtomicU64::new(1),
            idle_since: AtomicU64::new(1),
            stuck_since: AtomicU64::new(0),
            evicted: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).map_or(u64::MAX, |since| since.saturating_add(1))
    }

    fn longer_than(&self, since: u64, patience: Duration) -> bool {
        u128::from(self.now().saturating_sub(since)) >= patience.as_millis()
    }

    /// Notes that bytes have arrived.
    pub(super) fn has_read(&self) {
        if !self.busy.load(Ordering::Relaxed) && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Notes that the client has taken bytes.
    pub(super) fn has_written(&self) {
        self.stuck_since.store(0, Ordering::Relaxed);
        if !self.busy.load(Ordering::Relaxed) {
            self.idle_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Notes that the client takes nothing at the moment.
    pub(super) fn cannot_write(&self) {
        let _ = self.stuck_since.compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether there is neither a request in hand nor an answer on its way out.
    pub(super) fn has_nothing_in_hand(&self) -> bool {
        !self.busy.load(Ordering::Relaxed) && self.stuck_since.load(Ordering::Relaxed) == 0
    }

    /// Whether the client has taken too long to send a head, or the next request.
    pub(super) fn keeps_us_waiting(&self, header: Duration, idle: Duration) -> bool {
        if !self.has_nothing_in_hand() {
            return false;
        }
        match self.head_since.load(Ordering::Relaxed) {
            0 => self.longer_than(self.idle_since.load(Ordering::Relaxed), idle),
            since => self.longer_than(since, header),
        }
    }

    /// Since when nothing has been in hand; `None` where something is.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let since = match self.head_since.load(Ordering::Relaxed) {
            0 => self.idle_since.load(Ordering::Relaxed),
            since => since,
        };
        self.has_nothing_in_hand().then(|| self.began + Duration::from_millis(since))
    }

    /// Whether the client has taken nothing of an answer for so long.
    pub(super) fn is_stuck(&self, patience: Duration) -> bool {
        let since = self.stuck_since.load(Ordering::Relaxed);
        since != 0 && self.longer_than(since, patience)
    }

    /// Tells the connection's task to close the connection.
    pub(super) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Returns when the connection is to be closed.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// A request in hand. It is finished when this is dropped.
pub(super) struct InHand(Arc<Activity>);

impl InHand {
    pub(super) fn new(activity: Arc<Activity>) -> Self {
        activity.busy.store(true, Ordering::Relaxed);
        activity.head_since.store(0, Ordering::Relaxed);
        Self(activity)
    }

    /// Makes the request stay in hand until this body, which is its answer's, has been sent or given up.
    pub(super) fn until_the_end_of(self, body: Body) -> Guarded {
        Guarded { body, _in_hand: self }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// The body of an answer, whose request is in hand as long as the body is there.
pub(super) struct Guarded {
    body: Body,
    _in_hand: InHand,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_head_and_an_idle_connection_are_waited_for_and_a_request_in_hand_is_not() {
        let activity = Arc::new(Activity::new());
        assert!(activity.keeps_us_waiting(SHORT, LONG), "a new connection owes a head");
        let in_hand = InHand::new(Arc::clone(&activity));
        activity.has_read();
        assert!(!activity.keeps_us_waiting(SHORT, SHORT) && activity.waits_since().is_none());
        drop(in_hand);
        assert!(activity.keeps_us_waiting(LONG, SHORT) && !activity.keeps_us_waiting(SHORT, LONG));
        activity.has_read();
        assert!(activity.keeps_us_waiting(SHORT, LONG), "the next head has begun");
    }

    #[test]
    fn an_answer_that_nobody_takes_is_in_hand_and_stuck() {
        let activity = Activity::new();
        activity.cannot_write();
        assert!(!activity.has_nothing_in_hand() && activity.is_stuck(SHORT) && !activity.is_stuck(LONG));
        activity.has_written();
        assert!(activity.has_nothing_in_hand() && !activity.is_stuck(SHORT));
    }
}
