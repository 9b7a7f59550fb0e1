//! batchshare: sharing API secrets in batches, as a queued job.
//!
//! ARCHITECTURE.md has the picture and the walk of one job; start there.

// A dependency that nothing of the library names is a warning here, and an error in `./dev test`. Unit tests see the
// dependencies of tests, too, so they do not ask.
#![cfg_attr(not(test), warn(unused_crate_dependencies))]

// Named for what they switch on in Diesel: SQLite and libpq are built from source.
use libsqlite3_sys as _;
use pq_sys as _;

pub mod app;
pub mod broker;
pub mod cli;
pub mod config;
pub mod consume;
pub mod contract;
pub mod db;
pub mod domain;
pub mod files;
pub mod gateway;
pub mod notifier;
pub mod relay;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod vault;
pub mod worker;
