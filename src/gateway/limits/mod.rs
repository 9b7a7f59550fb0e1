//! What one person may use up: requests in hand, and growth in an hour.

pub(super) mod growth;
pub(super) mod turns;
