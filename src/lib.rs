//! batchshare: sharing API secrets in batches, as a queued job.
//!
//! ARCHITECTURE.md has the picture and the walk of one job; start there.

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
