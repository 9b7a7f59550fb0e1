//! The one integration target: everything on real parts. `./dev test` starts the servers.

mod cli;
mod import;
mod support;
