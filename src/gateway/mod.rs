//! HTTP: what the page and programs ask, answered from the store.
//!
//! The gateway decides nothing about sharing and sends nothing to the broker: a job is a row and a message in the
//! outbox. One answer in the whole program shows a client secret, that of `api::secrets::client_secret`.
//!
//! A room uses only rooms that stand above it in this list (`tests/it/layers.rs` holds the list):
//! - `problem` has errors as answers, `serving` connections and their deadlines, `updates` those who are told of a
//!   change, `answers` rows of the store as answers of the contract, and `page` the files of the page.
//! - `probes` is what supervisors ask.
//! - `auth` says who asks.
//! - `limits` says what one person may use up.
//! - `layers` is what each request passes before its route.
//! - `state` brings these together for the routes.
//! - `api` has one file for each resource, and `stream` the event streams.
//! - `routes` says which path is answered by what.

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
