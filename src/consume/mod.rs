//! How messages are taken from a queue: the loop that takes them, how poison leaves the queue, and how long to wait
//! before the next attempt. Worker and notifier are built on it; it knows no message's meaning.

pub mod bury;
pub mod schedule;
pub mod take;
