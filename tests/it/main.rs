//! The one integration target: everything on real parts. `./dev test` starts the servers.

mod broker;
mod broker_rabbitmq;
mod support;
