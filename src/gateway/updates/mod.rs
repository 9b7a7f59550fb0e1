//! Who is told that something has changed: the people whose event streams are open.

pub(super) mod hearing;
pub(super) mod hub;
