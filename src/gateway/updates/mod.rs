//! Who is told of a change: the people whose event streams are open. `hearing` knows all of them, and `hub` the
//! streams of one.

pub(super) mod hearing;
pub(super) mod hub;
