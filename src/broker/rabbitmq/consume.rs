//! Taking messages of a queue, and acknowledging them.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;

use super::declare::short;
use super::link::{Link, failed};
use crate::broker::topology::{HEADER_DEATH_COUNT, HEADER_DEATH_TIME};
use crate::broker::{BrokerError, Delivery, within};

/// How often a silent consumer looks whether its channel is still there: lapin has had consumers that
/// never ended.
const LOOK: Duration = Duration::from_secs(1);

/// A consumer on a channel of its own.
pub struct RabbitConsumer {
    stream: lapin::Consumer,
    acker: RabbitAcker,
    /// Why it is of no use any more.
    ended: Option<BrokerError>,
}

/// Acknowledges deliveries of one channel. Works for no other: tags are the channel's own.
#[derive(Clone)]
pub struct RabbitAcker {
    channel: Channel,
    limit: Duration,
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
        // 0 would be without limit, and lapin's buffer has none either.
        channel.basic_qos(prefetch.max(1), BasicQosOptions { global: false }).await.map_err(what)?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let stream = channel.basic_consume(short(queue)?, "".into(), options, none).await.map_err(what)?;
        Ok(Self { stream, acker: RabbitAcker { channel, limit }, ended: None })
    }

    pub(in crate::broker) async fn next(&mut self) -> Result<Delivery, BrokerError> {
        loop {
            if let Some(ended) = &self.ended {
                return Err(ended.clone());
            }
            // The stream gives up nothing when it is dropped while it waits.
            match timeout(LOOK, self.stream.next()).await {
                Ok(Some(Ok(delivery))) => return Ok(read(delivery)),
                Ok(Some(Err(error))) => self.ended = Some(failed("consuming", &error)),
                Ok(None) => self.ended = Some(gone("the broker ended the consumer")),
                Err(_) if !self.acker.channel.status().connected() => {
                    self.ended = Some(gone("the consumer's channel is closed"));
                }
                Err(_) => {}
            }
        }
    }

    pub(in crate::broker) fn acker(&self) -> RabbitAcker {
        self.acker.clone()
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        // Ackers keep the channel open: it is closed here, so that what is held returns to the queue.
        // Without a runtime the process is ending, and the connection with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let RabbitAcker { channel, limit } = self.acker.clone();
        runtime.spawn(async move {
            // A channel that is closed already says so: nothing to do.
            let _ = timeout(limit, channel.close(200, "OK".into())).await;
        });
    }
}

impl RabbitAcker {
    pub(in crate::broker) async fn ack(&self, tag: u64) -> Result<(), BrokerError> {
        // Not lapin's own acker: that answers Ok(false) after the channel was lost. Ok means that the
        // bytes are sent: AMQP confirms no acknowledgement, and RabbitMQ's quorum queues were seen to
        // forget some of more than 32 under way when the channel closes. Those messages come again.
        within(self.limit, "an acknowledgement", async {
            let acked = self.channel.basic_ack(tag, BasicAckOptions { multiple: false }).await;
            acked.map_err(|error| failed("acknowledging", &error))
        })
        .await
    }

    pub(in crate::broker) async fn requeue(&self, tag: u64) -> Result<(), BrokerError> {
        // reject, not nack: RabbitMQ 4.3 counts only rejects towards the delivery limit.
        within(self.limit, "a requeue", async {
            let rejected = self.channel.basic_reject(tag, BasicRejectOptions { requeue: true }).await;
            rejected.map_err(|error| failed("requeuing", &error))
        })
        .await
    }
}

fn gone(text: &str) -> BrokerError {
    BrokerError::Unavailable(text.to_owned())
}

fn read(delivery: lapin::message::Delivery) -> Delivery {
    let properties = &delivery.properties;
    let mut headers = Vec::new();
    for (name, value) in properties.headers().iter().flatten() {
        if name.as_str() == "x-death" {
            headers.extend(death(value));
        } else if let Some(value) = as_text(value) {
            headers.push((name.to_string(), value));
        }
    }
    Delivery {
        tag: delivery.delivery_tag,
        redelivered: delivery.redelivered,
        routing_key: delivery.routing_key.to_string(),
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        user_id: properties.user_id().as_ref().map(ToString::to_string),
        headers,
        body: delivery.data,
    }
}

/// Time and count of the latest death, which RabbitMQ puts first.
fn death(value: &AMQPValue) -> Vec<(String, String)> {
    let AMQPValue::FieldArray(deaths) = value else { return Vec::new() };
    let Some(AMQPValue::FieldTable(latest)) = deaths.as_slice().first() else { return Vec::new() };
    [("time", HEADER_DEATH_TIME), ("count", HEADER_DEATH_COUNT)]
        .into_iter()
        .filter_map(|(field, name)| Some((name.to_owned(), as_text(latest.inner().get(field)?)?)))
        .collect()
}

/// Texts, numbers and times (seconds since 1970) as text; nothing else is of use to us.
fn as_text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(number) => number.to_string(),
        AMQPValue::ShortShortUInt(number) => number.to_string(),
        AMQPValue::ShortInt(number) => number.to_string(),
        AMQPValue::ShortUInt(number) => number.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongUInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Timestamp(seconds) => seconds.to_string(),
        AMQPValue::Float(number) => number.to_string(),
        AMQPValue::Double(number) => number.to_string(),
        _ => return None,
    })
}
