//! The one integration target: everything on real parts. `./dev test` starts the servers.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test says so and ends"
)]

mod broker;
mod broker_rabbitmq;
mod lanes;
mod share;
mod support;
mod world;
