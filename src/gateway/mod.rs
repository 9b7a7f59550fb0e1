//! HTTP: what the page and programs ask, answered from the store.
//!
//! The gateway decides nothing about sharing and sends nothing to the broker: a job is a row and a message in the outbox. One
//! answer in the whole program shows a client secret, that of `api::secrets::client_secret`.
//!
//! A room uses only rooms above it in this list:
//! - `problem`: errors as answers; `serving`: connections and their deadlines; `updates`: who is told of a change; `answers`:
//!   rows of the store as answers of the contract; `page`: the files of the page;
//! - `probes`: what supervisors ask;
//! - `auth`: who asks;
//! - `limits`: what one person may use up;
//! - `layers`: what each request passes before its route;
//! - `state`: all of these together, for the routes;
//! - `api`: one file for each resource; `stream`: the event streams;
//! - `routes`: which path is answered by what.

mod answers;
mod api;
mod auth;
mod layers;
mod limits;
mod page;
mod probes;
mod problem;
mod routes;
mod serving;
mod state;
pub mod stream;
mod updates;

pub use auth::{Auth, AuthError, ProxyAuth};
pub use layers::guard::HostList;
pub use limits::growth::Hourly;
pub use probes::look::BrokerCheck;
pub use probes::startup::{Stage, Startup};
pub use routes::{answer, serve, worker_health};
pub use serving::Serving;
pub use state::GatewayParts;
pub use updates::hearing::{Hearing, Update, Updates};
