//! What one person may use up: requests at the same time, and rows of the database in an hour.

pub(super) mod growth;
pub(super) mod turns;
