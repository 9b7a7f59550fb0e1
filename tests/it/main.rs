//! The one integration target: everything on real parts. `./dev test` starts the servers.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "what a test needs and does not get is a failed test"
)]

mod broker;
mod broker_rabbitmq;
mod cli;
mod embedded;
mod fixtures;
mod gateway;
mod import;
mod lanes;
mod model;
mod process;
mod production;
mod share;
mod startup;
mod support;
mod world;
