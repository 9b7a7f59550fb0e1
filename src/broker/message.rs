//! A message as it is sent, and as it is taken.

use crate::broker::topology;
use crate::broker::topology::Exchange;

/// A message on its way to an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub exchange: Exchange,
    pub routing_key: String,
    pub message_id: String,
    /// The CloudEvents type. It is set as the `type` property.
    pub kind: String,
    pub traceparent: Option<String>,
    /// Whether a message that no queue takes is an error. It is not for events, to which nobody may be listening.
    pub mandatory: bool,
    /// Milliseconds since 1970; the broker keeps the seconds of it.
    pub timestamp: i64,
    /// Further headers. All values are texts.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A message that was taken and waits for `Acker::ack` or `Acker::requeue`.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names the delivery to its consumer, and to no other.
    pub tag: u64,
    /// It was delivered before, to somebody who lost it, perhaps by crashing over it.
    pub redelivered: bool,
    pub routing_key: String,
    pub content_type: Option<String>,
    pub message_id: Option<String>,
    /// The user who published it: RabbitMQ has checked the property `user_id` against the connection.
    pub user_id: Option<String>,
    /// The headers that the sender and the broker have set, as texts; what is nested is JSON. Whoever publishes can
    /// set any header.
    pub headers: Vec<(String, String)>,
    /// Why the broker gave the message up, if it is one of the broker's dead letters.
    pub death: Option<Death>,
    pub body: Vec<u8>,
}

/// What the broker says about the latest death of a message: the first entry of `x-death`.
///
/// RabbitMQ 3.10 writes queue and reason itself and puts their entry first, whatever the sender had set; count, time
/// and exchange may be the sender's. From 4.0 on RabbitMQ writes all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The queue's full name.
    pub queue: String,
    /// `expired`, `maxlen`, `rejected` or `delivery_limit`.
    pub reason: String,
    /// Seconds since 1970. On 3.10 the sender may have chosen it: it serves to tell letters apart, and nothing else.
    pub time: String,
}

impl Delivery {
    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The id of a check, if the message is a check and nothing else.
    #[must_use]
    pub fn check_id(&self) -> Option<&str> {
        let id = self.message_id.as_deref().filter(|id| id.starts_with(topology::CHECK_ID));
        id.filter(|_| self.body == topology::CHECK_BODY)
    }

    /// The W3C trace that the sender names. Only its length is checked, which is 55 characters.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.header(topology::HEADER_TRACEPARENT).filter(|trace| trace.len() == 55)
    }
}
