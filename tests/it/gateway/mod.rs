//! The gateway over real HTTP, each rule as a fact.

pub mod app;
mod editing;
mod guards;
mod identity;
mod outages;
mod recipients;
mod secrets;
mod share_jobs;
