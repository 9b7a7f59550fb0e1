//! RabbitMQ's management API, read only: AMQP does not tell which policies apply to a queue, and this does.
//!
//! It is never on the way of a message. What it answers is bounded in bytes and in time, and a server that is away, or is
//! something else, is an error that whoever asks can live with.

mod api;
mod harm;
mod policies;
mod stream;

pub use api::ManagementError;
pub use harm::Harm;
pub use policies::{Finding, Look, Policies, Source};
