//! How messages are taken from a queue: the loop that takes them, how a message that nobody can handle leaves the queue,
//! and how long to wait before the next attempt. Worker and notifier are built on it; it knows no message's meaning.

pub mod bury;
mod gather;
mod handler;
mod health;
mod hold;
mod many;
mod outage;
pub mod schedule;
mod take;
mod takes;

pub use handler::{Deliveries, Handler};
pub use outage::{Outage, in_place, outage_or_own, outage_or_words};
pub use take::take;
pub use takes::Takes;
