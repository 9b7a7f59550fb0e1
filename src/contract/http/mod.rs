//! Bodies and queries of HTTP requests (`person`, `query`, `secret`), and the answers to them (`answer`).

pub mod answer;
pub(super) mod person;
pub(super) mod query;
pub(super) mod secret;
