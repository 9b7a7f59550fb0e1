//! batchshare: sharing API secrets in batches, as a queued job.
//!
//! ARCHITECTURE.md has the picture and the walk of one job; start there.

pub mod app;
pub mod broker;
pub mod bury;
pub mod cli;
pub mod config;
pub mod db;
pub mod demo;
pub mod domain;
pub mod files;
pub mod gateway;
pub mod metrics;
pub mod notifier;
pub mod relay;
pub mod retry;
pub mod shutdown;
pub mod store;
pub mod take;
pub mod telemetry;
pub mod updates;
pub mod vault;
pub mod wire;
pub mod worker;
