//! The one integration target: everything on real parts. `./dev test` starts the servers.

mod fixtures;
mod gateway;
mod support;
