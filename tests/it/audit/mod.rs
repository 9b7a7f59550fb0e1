//! The audit: what is recorded, when, and how it is listed.

mod kept;
mod listed;
pub mod trail;
