//! Messages: one small interface, and two adapters for it (RabbitMQ, and rows in the SQLite file).
//!
//! Both adapters keep the same promises, which one suite of tests holds: a publish that returned `Ok` is durable; a
//! mandatory message that no queue takes is an error; what was taken and not acknowledged is delivered again after a
//! lost connection or a crash. Every wait has a deadline. Reconnecting is up to the caller: an operation fails with
//! [`BrokerError::Unavailable`], and the next one tries again.

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
pub use rabbitmq::{Rabbit, RabbitOptions, management};
pub use topology::{Exchange, Queue, Topology};
