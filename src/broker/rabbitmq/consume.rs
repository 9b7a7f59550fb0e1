//! Taking messages of a queue, and acknowledging them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use tokio::time::timeout;

use crate::broker::error::{BrokerError, within};
use crate::broker::interface::{Acker, Acking, Listening, Taking};
use crate::broker::message::{Death, Delivery};
use crate::broker::rabbitmq::declare::short;
use crate::broker::rabbitmq::link::Link;
use crate::broker::rabbitmq::refusal::failed;

/// How often a consumer that receives nothing looks whether its channel is still there: consumers of lapin's have
/// been seen that never ended.
const LOOK: Duration = Duration::from_secs(1);

/// So many ids of rejected checks are kept until somebody asks.
const MOST_CHECKS: usize = 100;

/// A consumer on a channel of its own.
pub(super) struct RabbitConsumer {
    stream: lapin::Consumer,
    acker: RabbitAcker,
    /// Where the ids of rejected checks go, if this consumer rejects checks.
    checks: Option<Arc<Mutex<Vec<String>>>>,
    /// Why the consumer is of no use any more.
    ended: Option<BrokerError>,
}

/// Acknowledges the deliveries of one channel. It works for no other channel, because each has tags of its own.
#[derive(Clone)]
pub(super) struct RabbitAcker {
    channel: Channel,
    limit: Duration,
    /// The tags of messages that were taken and are not acknowledged or requeued yet.
    held: Arc<Mutex<BTreeSet<u64>>>,
    /// One task acknowledges at a time, since a tag that an acknowledgement of `multiple` has covered must not be
    /// sent again.
    sending: Arc<tokio::sync::Mutex<()>>,
}

impl RabbitConsumer {
    pub(super) async fn start(
        link: &Link,
        queue: &str,
        prefetch: u16,
        limit: Duration,
    ) -> Result<Self, BrokerError> {
        let channel = link.channel().await?;
        let what = |error| failed(&format!("consuming {queue}"), &error);
        // 0 would be without a limit, and lapin's buffer has no limit either.
        channel.basic_qos(prefetch.max(1), BasicQosOptions { global: false }).await.map_err(what)?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let stream = channel.basic_consume(short(queue)?, "".into(), options, none).await.map_err(what)?;
        let acker = RabbitAcker { channel, limit, held: Arc::default(), sending: Arc::default() };
        Ok(Self { stream, acker, checks: None, ended: None })
    }

    /// Rejects the checks instead of returning them, so that they become dead letters.
    pub(super) fn rejecting_checks(mut self, checks: Option<Arc<Mutex<Vec<String>>>>) -> Self {
        self.checks = checks;
        self
    }

    async fn next_delivery(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            if let Some(ended) = &self.ended {
                return Err(ended.clone());
            }
            // If the future is dropped while it waits, the stream loses nothing.
            match timeout(LOOK, self.stream.next()).await {
                Ok(Some(Ok(delivery))) => {
                    self.acker.held().insert(delivery.delivery_tag);
                    let delivery = read(delivery);
                    match (&self.checks, delivery.check_id()) {
                        (Some(checks), Some(id)) => reject(&self.acker, delivery.tag, id.to_owned(), checks),
                        _ => return Ok(delivery),
                    }
                }
                Ok(Some(Err(error))) => self.ended = Some(failed("consuming", &error)),
                Ok(None) => self.ended = Some(gone("the broker ended the consumer")),
                Err(_) if !self.acker.channel.status().connected() => {
                    self.ended = Some(gone("the consumer's channel is closed"));
                }
                Err(_) => {}
            }
        }
    }
}

impl Taking for RabbitConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, BrokerError>> {
        self.next_delivery().boxed()
    }

    fn acker(&self) -> Acker {
        Acker::new(self.acker.clone())
    }
}

impl Listening for RabbitConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Arc<[u8]>, BrokerError>> {
        async move {
            let delivery = self.next_delivery().await?;
            self.acker.acknowledge(&[delivery.tag]).await?;
            Ok(delivery.body.into())
        }
        .boxed()
    }
}

/// Rejects a check in a task of its own, because the caller of `next` may stop waiting at any time.
fn reject(acker: &RabbitAcker, tag: u64, id: String, checks: &Arc<Mutex<Vec<String>>>) {
    let (acker, checks) = (acker.clone(), Arc::clone(checks));
    tokio::spawn(async move {
        // If this fails, the channel is gone, and the check comes again.
        if acker.give_back(tag, false).await.is_ok() {
            let mut checks = checks.lock().unwrap_or_else(PoisonError::into_inner);
            // Perhaps nobody asks for the ids. A check that is forgotten is asked for again.
            if checks.len() < MOST_CHECKS {
                checks.push(id);
            }
        }
    });
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        // Ackers keep the channel open. It is closed here, so that what is held returns to the queue. Without a
        // runtime the process is ending, and the connection with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let RabbitAcker { channel, limit, .. } = self.acker.clone();
        runtime.spawn(async move {
            // This fails if the channel is closed already, and then there is nothing to do.
            let _ = timeout(limit, channel.close(200, "OK".into())).await;
        });
    }
}

impl RabbitAcker {
    async fn acknowledge(&self, tags: &[u64]) -> Result<(), BrokerError> {
        // We do not use lapin's own acker, because it answers Ok(false) after the channel was lost. Ok means here
        // that the bytes are sent: AMQP confirms no acknowledgement. When a channel closes, quorum queues of RabbitMQ
        // were seen to forget some of more than 32 acknowledgements that were under way; those messages come again.
        within(self.limit, "an acknowledgement", async {
            let _sending = self.sending.lock().await;
            let frames = acknowledgements(&mut self.held(), tags);
            for (tag, multiple) in frames {
                let acked = self.channel.basic_ack(tag, BasicAckOptions { multiple }).await;
                acked.map_err(|error| failed("acknowledging", &error))?;
            }
            Ok(())
        })
        .await
    }

    /// Gives a message back to its queue, or to the dead letters.
    async fn give_back(&self, tag: u64, requeue: bool) -> Result<(), BrokerError> {
        // This is a reject and not a nack, because RabbitMQ 4.3 counts only rejects towards the delivery limit.
        within(self.limit, "a rejection", async {
            let rejected = self.channel.basic_reject(tag, BasicRejectOptions { requeue }).await;
            rejected.map_err(|error| failed("rejecting", &error))
        })
        .await?;
        // The tag is removed only now: until the broker was told, an acknowledgement of `multiple` must not cover it.
        self.held().remove(&tag);
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acking for RabbitAcker {
    fn ack<'a>(&'a self, tags: &'a [u64]) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.acknowledge(tags).boxed()
    }

    fn requeue(&self, tag: u64) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.give_back(tag, true).boxed()
    }
}

/// The acknowledgements, each a tag and `multiple`, that tell the broker that `done` are done with, and nothing about
/// the others that are held. One acknowledgement covers everything before the first message in work, because it costs
/// RabbitMQ's queues far less than a hundred single ones.
fn acknowledgements(held: &mut BTreeSet<u64>, done: &[u64]) -> Vec<(u64, bool)> {
    for tag in done {
        held.remove(tag);
    }
    let in_work = held.first().copied().unwrap_or(u64::MAX);
    let covered = done.iter().copied().filter(|tag| *tag < in_work);
    let after = done.iter().copied().filter(|tag| *tag > in_work);
    covered.max().map(|tag| (tag, true)).into_iter().chain(after.map(|tag| (tag, false))).collect()
}

fn gone(text: &str) -> BrokerError {
    BrokerError::Unavailable(text.to_owned())
}

fn read(delivery: lapin::message::Delivery) -> Delivery {
    let properties = &delivery.properties;
    let (mut headers, mut death) = (Vec::new(), None);
    for (name, value) in properties.headers().iter().flatten() {
        if name.as_str() == "x-death" {
            death = latest(value);
        }
        headers.extend(as_text(value).map(|value| (name.to_string(), value)));
    }
    Delivery {
        tag: delivery.delivery_tag,
        redelivered: delivery.redelivered,
        routing_key: delivery.routing_key.to_string(),
        content_type: properties.content_type().as_ref().map(ToString::to_string),
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        user_id: properties.user_id().as_ref().map(ToString::to_string),
        headers,
        death,
        body: delivery.data,
    }
}

/// The latest death, which RabbitMQ puts first. If the header has any other shape, somebody else wrote it.
fn latest(value: &AMQPValue) -> Option<Death> {
    let AMQPValue::FieldArray(deaths) = value else { return None };
    let AMQPValue::FieldTable(latest) = deaths.as_slice().first()? else { return None };
    let text = |name: &str| match latest.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        _ => None,
    };
    let time = match latest.inner().get("time") {
        Some(AMQPValue::Timestamp(seconds)) => seconds.to_string(),
        _ => String::new(),
    };
    Some(Death { queue: text("queue")?, reason: text("reason")?, time })
}

/// How deep tables and lists in a header are read. Deeper ones become three dots.
const DEPTH: usize = 8;

/// The value as text: texts, numbers and times (seconds since 1970) as they are, tables and lists as JSON. Bytes are
/// left out, because they have no meaning of their own.
fn as_text(value: &AMQPValue) -> Option<String> {
    match json(value, DEPTH) {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn json(value: &AMQPValue, depth: usize) -> Value {
    match value {
        AMQPValue::LongString(text) => text.to_string().into(),
        AMQPValue::ShortString(text) => text.to_string().into(),
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortShortUInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::ShortUInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongUInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        AMQPValue::Timestamp(seconds) => (*seconds).into(),
        AMQPValue::Float(number) => (*number).into(),
        AMQPValue::Double(number) => (*number).into(),
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth == 0 => "...".into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(|of| json(of, depth - 1)).collect(),
        AMQPValue::FieldTable(table) => {
            table.inner().iter().map(|(name, of)| (name.to_string(), json(of, depth - 1))).collect()
        }
        AMQPValue::DecimalValue(_) | AMQPValue::ByteArray(_) | AMQPValue::Void => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against the broker's own rule: `multiple` acknowledges every tag up to its own.
        #[test]
        fn what_is_acknowledged_is_what_is_done_and_nothing_in_work(
            steps in prop::collection::vec(prop::collection::btree_set(1..40_u64, 1..12), 1..12),
        ) {
            let mut held: BTreeSet<u64> = (1..40).collect();
            let mut at_broker = held.clone();
            for done in steps {
                let done: Vec<u64> = done.into_iter().filter(|tag| held.contains(tag)).collect();
                for (tag, multiple) in acknowledgements(&mut held, &done) {
                    if multiple {
                        at_broker.retain(|other| *other > tag);
                    } else {
                        prop_assert!(at_broker.remove(&tag));
                    }
                }
                prop_assert_eq!(&at_broker, &held);
            }
        }
    }

    #[test]
    fn a_batch_in_order_is_one_acknowledgement() {
        let mut held: BTreeSet<u64> = (1..=300).collect();
        let done: Vec<u64> = (1..=200).collect();
        assert_eq!(acknowledgements(&mut held, &done), [(200, true)]);
        // 201 is in work: what comes after it is acknowledged by itself.
        assert_eq!(acknowledgements(&mut held, &[202, 203]), [(202, false), (203, false)]);
    }
}
