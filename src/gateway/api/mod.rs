//! The resources of the HTTP API, one file each.

mod array;
pub(super) mod input;
pub(super) mod me;
pub(super) mod notices;
pub(super) mod recipients;
pub(super) mod secrets;
pub(super) mod share_jobs;
