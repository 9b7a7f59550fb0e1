//! Declares exchanges, queues and bindings, with few arguments and always the same.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ErrorKind, ExchangeKind};

use crate::broker::error::BrokerError;
use crate::broker::rabbitmq::link::Link;
use crate::broker::rabbitmq::refusal::failed;
use crate::broker::topology::{Exchange, KEY_DEAD, KEYS_OF_ALL_EVENTS, Queue, Topology};

pub(super) async fn all(link: &Link, topology: &Topology) -> Result<(), BrokerError> {
    let channel = link.channel().await?;
    for exchange in Exchange::ALL {
        let name = topology.exchange(exchange);
        let kind = match exchange {
            Exchange::Jobs | Exchange::Internal => ExchangeKind::Direct,
            Exchange::Events => ExchangeKind::Topic,
        };
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declared = channel.exchange_declare(short(&name)?, kind, options, FieldTable::default()).await;
        declared.map_err(|error| contradicts(&format!("exchange {name}"), &error))?;
    }
    // The dead queue comes first, so that no other queue can have a dead letter before it is there.
    for queue in Queue::ALL.into_iter().rev() {
        declare(&channel, topology, queue).await?;
    }
    Ok(())
}

async fn declare(channel: &Channel, topology: &Topology, queue: Queue) -> Result<(), BrokerError> {
    let name = topology.queue(queue);
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let declared = channel.queue_declare(short(&name)?, options, arguments(topology, queue)).await;
    declared.map_err(|error| contradicts(&format!("queue {name}"), &error))?;
    for (exchange, key) in queue.bindings() {
        let exchange = short(&topology.exchange(*exchange))?;
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let bound = channel.queue_bind(short(&name)?, exchange, short(key)?, options, none).await;
        bound.map_err(|error| contradicts(&format!("queue {name}"), &error))?;
    }
    Ok(())
}

/// Declares a listener's own queue for all events. It is classic and exclusive, and gone with its connection. If the
/// listener does not keep up, the queue loses the oldest events, which the listener must expect.
pub(super) async fn listener(link: &Link, topology: &Topology, name: &str) -> Result<(), BrokerError> {
    let channel = link.channel().await?;
    let what = |error: lapin::Error| contradicts(&format!("queue {name}"), &error);
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(10_000));
    channel.queue_declare(short(name)?, options, arguments).await.map_err(what)?;
    let exchange = short(&topology.exchange(Exchange::Events))?;
    for key in KEYS_OF_ALL_EVENTS {
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(short(name)?, exchange.clone(), key.into(), options, none).await.map_err(what)?;
    }
    Ok(())
}

fn arguments(topology: &Topology, queue: Queue) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut table = FieldTable::default();
    let mut set = |name: &str, value| {
        table.insert(name.into(), value);
    };
    set("x-queue-type", text("quorum"));
    set("x-delivery-limit", AMQPValue::LongInt(queue.delivery_limit()));
    if queue.dead_letters() {
        set("x-dead-letter-exchange", text(&topology.exchange(Exchange::Internal)));
        set("x-dead-letter-routing-key", text(KEY_DEAD));
        // With this strategy a dead letter leaves its queue when the dead queue has confirmed it. It needs this
        // overflow.
        set("x-dead-letter-strategy", text("at-least-once"));
        set("x-overflow", text("reject-publish"));
    }
    table
}

/// AMQP's names have 255 bytes at most, and lapin panics on longer ones.
pub(super) fn short(text: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(text)
        .map_err(|_| BrokerError::Refused(format!("a name of {} bytes is too long for AMQP", text.len())))
}

fn contradicts(what: &str, error: &lapin::Error) -> BrokerError {
    match error.kind() {
        // 406 means that the arguments differ; 405 means that an exclusive queue of another connection has the name.
        ErrorKind::ProtocolError(told) if matches!(told.get_id(), 405 | 406) => {
            BrokerError::Topology(format!("{what}: {}", told.get_message()))
        }
        _ => failed(what, error),
    }
}
