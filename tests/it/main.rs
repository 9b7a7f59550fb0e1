//! The one integration target: everything on real parts. `./dev test` starts the servers.

mod broker;
mod lanes;
mod share;
mod support;
mod world;
