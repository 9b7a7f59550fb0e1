//! The one integration target: everything on real parts. `./dev test` starts the servers.

// What a test needs and does not get is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod broker;
mod fixtures;
mod gateway;
mod import;
mod lanes;
mod share;
mod support;
mod world;
