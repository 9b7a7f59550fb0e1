//! What a policy does to messages that were confirmed. This is pure code: from what RabbitMQ says about a queue to
//! what that means.
//!
//! The rules are those of a quorum queue (rabbit_quorum_queue.erl, the same from 3.10 to 4). Of two times or lengths,
//! one in a policy and one in an argument, the smaller one counts. The overflow of a policy wins over the argument.
//! The argument decides where dead letters go.

use serde_json::{Map, Value};

use crate::broker::topology::Queue;

/// One way in which messages disappear that nobody has worked on. The numbers are those of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// A message that waits longer than this, in milliseconds, is taken out.
    MessageTtl(i64),
    /// The queue itself is deleted if nobody has used it for so many milliseconds.
    Expires(i64),
    /// If more messages than this wait, the oldest are taken out.
    MaxLength(i64),
    /// If more bytes than this wait, the oldest messages are taken out.
    MaxLengthBytes(i64),
    /// The dead letters of the queue are sent without a confirm.
    Overflow,
    /// A message that came back so often is taken out. The second number is how often it may come back by our own
    /// argument.
    DeliveryLimit(i64, i32),
}

impl Harm {
    /// The key in the policy's definition.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::MessageTtl(_) => "message-ttl",
            Self::Expires(_) => "expires",
            Self::MaxLength(_) => "max-length",
            Self::MaxLengthBytes(_) => "max-length-bytes",
            Self::Overflow => "overflow",
            Self::DeliveryLimit(..) => "delivery-limit",
        }
    }

    /// What the effective definition of all its policies does to a queue.
    pub(super) fn all(queue: Queue, definition: &Map<String, Value>) -> Vec<Self> {
        let number = |key: &str| definition.get(key).and_then(Value::as_i64);
        let overflow = definition.get("overflow").and_then(Value::as_str);
        // Every queue except that of the dead letters is declared with it.
        let refuses = overflow.map_or(queue.dead_letters(), |overflow| overflow == "reject-publish");
        let drops = |key: &str| number(key).filter(|_| !refuses);
        let is_sooner = |limit: &i64| (0..i64::from(queue.delivery_limit())).contains(limit);
        let found = [
            number("message-ttl").map(Self::MessageTtl),
            number("expires").map(Self::Expires),
            drops("max-length").map(Self::MaxLength),
            drops("max-length-bytes").map(Self::MaxLengthBytes),
            (queue.dead_letters() && !refuses).then_some(Self::Overflow),
            number("delivery-limit")
                .filter(is_sooner)
                .map(|limit| Self::DeliveryLimit(limit, queue.delivery_limit())),
        ];
        found.into_iter().flatten().collect()
    }

    /// What it does, as a sentence without its full stop.
    pub(super) fn text(self, queue: Queue) -> String {
        let becomes = if queue.dead_letters() {
            "becomes a dead letter and is not worked on"
        } else {
            "is thrown away"
        };
        let key = self.key();
        match self {
            Self::MessageTtl(ms) => {
                format!("{key} = {ms}: a message that waits for more than {ms} ms {becomes}")
            }
            Self::Expires(ms) => format!(
                "{key} = {ms}: the queue is deleted, with all that waits in it, when nobody has used it for {ms} ms"
            ),
            Self::MaxLength(most) => {
                format!("{key} = {most}: when more than {most} messages wait, the oldest one {becomes}")
            }
            Self::MaxLengthBytes(most) => {
                format!("{key} = {most}: when more than {most} bytes wait, the oldest message {becomes}")
            }
            Self::Overflow => format!(
                "{key}: it is not reject-publish, so RabbitMQ sends the queue's dead letters without a confirm, and some \
                 can be lost"
            ),
            Self::DeliveryLimit(limit, ours) => format!(
                "{key} = {limit}: a message that has come back {limit} times {becomes} (batchshare lets it come back {ours} \
                 times)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(queue: Queue, definition: Value) -> Vec<&'static str> {
        let definition = definition.as_object().cloned().expect("an object");
        Harm::all(queue, &definition).into_iter().map(Harm::key).collect()
    }

    #[test]
    fn what_expires_or_drops_does_harm() {
        for queue in Queue::ALL {
            let all = json!({"message-ttl": 1, "expires": 2, "max-length": 3, "max-length-bytes": 4,
                             "overflow": "drop-head", "delivery-limit": 5});
            let mut expected = vec![
                "message-ttl",
                "expires",
                "max-length",
                "max-length-bytes",
                "overflow",
                "delivery-limit",
            ];
            expected.retain(|key| queue.dead_letters() || *key != "overflow");
            assert_eq!(keys(queue, all), expected, "{queue:?}");
            assert_eq!(keys(queue, json!({"message-ttl": 0})), ["message-ttl"]);
            assert_eq!(keys(queue, json!({"delivery-limit": 0})), ["delivery-limit"]);
        }
        assert_eq!(keys(Queue::Dead, json!({"max-length": 1_000_000})), ["max-length"]);
        // A quorum queue does not know it, and drops.
        let other = json!({"max-length": 5, "overflow": "reject-publish-dlx"});
        assert_eq!(keys(Queue::Jobs, other), ["max-length", "overflow"]);
    }

    #[test]
    fn what_refuses_or_only_steers_does_none() {
        for definition in [
            json!({}),
            // Our argument is that they refuse.
            json!({"max-length": 5, "max-length-bytes": 5}),
            json!({"max-length": 5, "overflow": "reject-publish"}),
            json!({"delivery-limit": 100}),
            json!({"delivery-limit": 1_000}),
            // RabbitMQ 4: without a limit, and ours counts.
            json!({"delivery-limit": -1}),
            json!({"dead-letter-exchange": "x", "dead-letter-strategy": "at-most-once"}),
            json!({"ha-mode": "all", "queue-leader-locator": "balanced", "consumer-timeout": 1}),
            json!({"message-ttl": "1", "max-length": null, "expires": []}),
        ] {
            assert_eq!(keys(Queue::Jobs, definition.clone()), [""; 0], "{definition}");
        }
        let refuses = json!({"max-length": 5, "overflow": "reject-publish"});
        assert_eq!(keys(Queue::Dead, refuses), [""; 0]);
        assert_eq!(keys(Queue::Dead, json!({"overflow": "drop-head"})), [""; 0]);
    }
}
