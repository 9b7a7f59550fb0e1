//! How taking from a queue goes, from one consumer to the next.

use crate::broker::Queue;
use crate::consume::outage::Outage;
use crate::consume::schedule::Schedule;
use crate::telemetry::metrics::{Class, Metrics};

/// What the last sessions of a queue tell the next one.
pub(super) struct Health {
    /// A message was handled since the process started, and since a handler last failed. Until then one message at a
    /// time is held: what fails or crashes again and again must not use up the delivery limit of all the others.
    pub(super) proven: bool,
    /// A handler failed last. That the servers answer is not enough to say that they work, since a disk may be full:
    /// so the waits grow until a message is handled.
    failing: bool,
    /// It was logged that nothing is taken.
    away: bool,
    pub(super) schedule: Schedule,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { proven: false, failing: false, away: false, schedule: Schedule::reconnect() }
    }

    pub(super) fn handled(&mut self, queue: Queue) {
        (self.proven, self.failing) = (true, false);
        self.back(queue);
    }

    pub(super) fn consuming(&mut self, queue: Queue) {
        if !self.failing {
            self.back(queue);
        }
    }

    fn back(&mut self, queue: Queue) {
        self.schedule.reset();
        if std::mem::take(&mut self.away) {
            tracing::info!(queue = queue.suffix(), "taking messages again");
        }
    }

    pub(super) fn handler_failed(&mut self) {
        (self.proven, self.failing) = (false, true);
    }

    pub(super) fn outage(&mut self, queue: Queue, metrics: &Metrics, outage: &Outage) {
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(queue = queue.suffix(), reason = %outage, "taking no messages until the servers work");
            metrics.failures(Class::Outage, 1);
        }
    }
}
