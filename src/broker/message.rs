//! A message as it is sent, and as it is taken.

use crate::broker::topology;
use crate::broker::topology::Exchange;

/// A message on its way to an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub exchange: Exchange,
    pub routing_key: String,
    pub message_id: String,
    /// The CloudEvents type, set as the `type` property.
    pub kind: String,
    pub traceparent: Option<String>,
    /// An unroutable message is an error (not so for events that nobody may be listening to).
    pub mandatory: bool,
    /// Milliseconds since 1970; the broker keeps seconds.
    pub timestamp: i64,
    /// Further headers, all texts.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A message that was taken and waits for `Acker::ack` or `Acker::requeue`.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names the delivery to its consumer.
    pub tag: u64,
    /// It was delivered before: somebody lost it, perhaps by crashing over it.
    pub redelivered: bool,
    pub routing_key: String,
    pub content_type: Option<String>,
    pub message_id: Option<String>,
    /// RabbitMQ's validated `user_id`.
    pub user_id: Option<String>,
    /// The sender's headers and the broker's, as texts; what is nested as JSON. Whoever publishes can set any.
    pub headers: Vec<(String, String)>,
    /// Why the broker gave it up, for one of its dead letters.
    pub death: Option<Death>,
    pub body: Vec<u8>,
}

/// What the broker says of the latest death of a message: the first entry of `x-death`.
///
/// RabbitMQ 3.10 writes queue and reason itself and puts their entry first, whatever the sender had set; count, time
/// and exchange may be the sender's. From 4.0 on nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The queue's full name.
    pub queue: String,
    /// `expired`, `maxlen`, `rejected` or `delivery_limit`.
    pub reason: String,
    /// Seconds since 1970. On 3.10 it may be the sender's: good to tell letters apart, and for nothing else.
    pub time: String,
}

impl Delivery {
    /// A text header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The id of a check, if that is all it is.
    #[must_use]
    pub fn check_id(&self) -> Option<&str> {
        let id = self.message_id.as_deref().filter(|id| id.starts_with(topology::CHECK_ID));
        id.filter(|_| self.body == topology::CHECK_BODY)
    }

    /// The W3C trace that its sender names: 55 characters, else unchecked.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.header(topology::HEADER_TRACEPARENT).filter(|trace| trace.len() == 55)
    }
}
