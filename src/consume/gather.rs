//! Messages that wait to be handled together.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Delivery;
use crate::consume::handler::Deliveries;

/// Messages that were gathered are handled once the first of them has waited so long, even if others are in work. With
/// 5 ms the transactions were smaller, and small jobs were a fifth slower, when this was chosen.
const WINDOW: Duration = Duration::from_millis(10);
/// Bytes of messages that are handled together, unless one is larger by itself.
const TOGETHER_BYTES: usize = 1024 * 1024;

/// Messages that were taken and wait for a handler.
pub(super) struct Gathered {
    messages: Vec<Delivery>,
    bytes: usize,
    /// When they have waited long enough.
    pub(super) until: Instant,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { messages: Vec::new(), bytes: 0, until: Instant::now() }
    }
}

impl Gathered {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn add(&mut self, delivery: Delivery) {
        if self.messages.is_empty() {
            self.until = Instant::now() + WINDOW;
        }
        self.bytes += delivery.body.len();
        self.messages.push(delivery);
    }

    pub(super) fn is_full(&self, together: usize) -> bool {
        self.messages.len() >= together || self.bytes >= TOGETHER_BYTES
    }

    /// Whether the messages should be handled now, if there is a handler for them.
    pub(super) fn is_time(&self, idle: bool, together: usize) -> bool {
        !self.messages.is_empty() && (idle || self.is_full(together) || self.until <= Instant::now())
    }

    pub(super) fn take(&mut self) -> Deliveries {
        std::mem::take(self).messages.into()
    }
}
