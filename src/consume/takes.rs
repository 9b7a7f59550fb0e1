//! What is taken from a queue, and how much of it at a time.

use crate::broker::Queue;

/// What is taken, and how much at a time.
#[derive(Debug, Clone, Copy)]
pub struct Takes {
    pub queue: Queue,
    /// Messages that are held at most.
    pub prefetch: u16,
    /// Handlers that run at the same time.
    pub concurrency: usize,
    /// Messages that are handled together at most; with 1, each is handled by itself.
    pub together: usize,
}
