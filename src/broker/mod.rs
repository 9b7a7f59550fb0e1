//! Messages: one small interface, two adapters (RabbitMQ and rows in the SQLite file).
//!
//! Both keep the same promises, held by one conformance suite: a publish that returned `Ok` is
//! durable; an unroutable mandatory message is an error; what was taken and not acknowledged comes
//! again after a lost connection or a crash. Every wait has a deadline. Reconnecting is the
//! caller's: an operation fails with [`BrokerError::Unavailable`], the next one tries again.

pub mod topology;

mod embedded;
mod error;
mod interface;
mod message;
mod rabbitmq;

pub use embedded::Embedded;
pub use error::BrokerError;
pub use interface::{Acker, Acking, Adapter, Broker, Consumer, Listener, Listening, Taking};
pub use message::{Death, Delivery, Outgoing};
pub use rabbitmq::{Rabbit, RabbitOptions};
pub use topology::{Exchange, Queue, Topology};
