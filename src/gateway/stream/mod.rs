//! The event streams: what each person is told as it happens, and how this gateway hears of it.

pub(super) mod events;
pub mod listener;
mod teller;
