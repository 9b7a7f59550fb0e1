//! The gateway over real HTTP. Each test is named after the rule that it checks.

mod about;
mod access;
pub mod app;
mod audit;
mod editing;
mod export;
mod guards;
mod identity;
mod outages;
mod received;
mod recipients;
mod requests;
mod rest;
mod secrets;
mod share_jobs;
mod share_preview;
mod undo;
mod unshare_jobs;
