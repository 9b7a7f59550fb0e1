//! The bodies and queries of HTTP requests.

pub(super) mod person;
pub(super) mod query;
pub(super) mod secret;
