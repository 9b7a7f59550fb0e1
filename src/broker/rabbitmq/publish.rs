//! Publishing with confirms, in windows that are awaited together.

use std::collections::HashSet;

use futures_util::future::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::broker::error::BrokerError;
use crate::broker::message::Outgoing;
use crate::broker::rabbitmq::link::{Cell, Link};
use crate::broker::rabbitmq::refusal::failed;
use crate::broker::rabbitmq::server::Server;
use crate::broker::topology::{CONTENT_TYPE, HEADER_TRACEPARENT, Topology};

/// So many messages are under way at a time. That is enough for the wait for a confirm to cost little, and few enough
/// to be sent again when the connection breaks.
const WINDOW: usize = 256;

/// Publishes a batch within one deadline. If the connection fails, `Unavailable` is the answer for what is not
/// confirmed yet and for all that follows.
pub(super) async fn batch(cell: &Cell, batch: &[Outgoing]) -> Vec<Result<(), BrokerError>> {
    let deadline = Instant::now() + cell.server().options.operation_timeout;
    let mut answers = Vec::with_capacity(batch.len());
    for window in batch.chunks(WINDOW) {
        let (mut results, mut stopped) = one_window(cell, window, deadline).await;
        if matches!(stopped, Some(BrokerError::Rejected(_))) {
            stopped = one_by_one(cell, window, &mut results, deadline).await;
        }
        answers.extend(results);
        if let Some(error) = stopped {
            answers.resize(batch.len(), Err(error));
            break;
        }
    }
    answers
}

/// One message has closed the channel of its window, and nobody knows which. So each is sent by itself, and only the
/// one message is rejected. Returns why no further window should follow, if none should.
async fn one_by_one(
    cell: &Cell,
    window: &[Outgoing],
    results: &mut [Result<(), BrokerError>],
    deadline: Instant,
) -> Option<BrokerError> {
    let mut stopped: Option<BrokerError> = None;
    for (message, result) in window.iter().zip(results) {
        if !matches!(result, Err(BrokerError::Rejected(_))) {
            continue;
        }
        if let Some(error) = &stopped {
            *result = Err(error.clone());
            continue;
        }
        let (alone, error) = one_window(cell, std::slice::from_ref(message), deadline).await;
        if let Some(answer) = alone.into_iter().next().or(error.clone().map(Err)) {
            *result = answer;
        }
        stopped = error.filter(|error| !matches!(error, BrokerError::Rejected(_)));
    }
    stopped
}

/// The answers for the window (none if nothing was sent), and why no further window should follow, if none should.
async fn one_window(
    cell: &Cell,
    window: &[Outgoing],
    deadline: Instant,
) -> (Vec<Result<(), BrokerError>>, Option<BrokerError>) {
    let link = match cell.get().await {
        Ok(link) => link,
        Err(error) => return (Vec::new(), Some(error)),
    };
    if let Some(error) = link.blocked_now() {
        return (Vec::new(), Some(error));
    }
    let late = || {
        let limit = cell.server().options.operation_timeout;
        BrokerError::Unavailable(format!("no confirm within {limit:?}"))
    };
    let channel = match timeout_at(deadline, link.confirming()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return (Vec::new(), Some(error)),
        Err(_) => {
            cell.forget(&link).await;
            return (Vec::new(), Some(late()));
        }
    };
    let topology = &cell.server().options.topology;
    let stop = async {
        tokio::select! {
            error = link.when_blocked() => (error, false),
            () = sleep_until(deadline) => (late(), true),
        }
    };
    let (outcomes, stopped) = confirms(&channel, cell.server(), window, stop).await;
    let error = stopped.as_ref().map(|(error, _)| error.clone());
    let mut results = judged(topology, window, outcomes, error.as_ref());
    let is_closed = results.iter().filter_map(|result| result.as_ref().err()).any(closes_the_channel);
    if let Some((_, true)) = stopped {
        // Nobody answers: the next call connects anew. A blocked connection is kept, because a new one would be
        // blocked, too. Either way the channel is dropped with what it still waits for.
        cell.forget(&link).await;
    } else if !is_closed {
        Link::give_back(&link, channel);
    } else {
        // One message can close the channel: all that were lost with it get the same reason.
        share_reason(&mut results);
    }
    let closed =
        results.iter().filter_map(|result| result.as_ref().err()).find(|error| closes_the_channel(error));
    let reason = error.or(closed.cloned());
    (results, reason)
}

fn closes_the_channel(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Unavailable(_) | BrokerError::Refused(_) | BrokerError::Rejected(_))
}

/// Sends all messages and waits for all confirms, until `stop` says why not to wait any longer.
async fn confirms<S>(
    channel: &Channel,
    server: &Server,
    window: &[Outgoing],
    stop: impl Future<Output = S>,
) -> (Vec<Option<Result<Confirmation, BrokerError>>>, Option<S>) {
    let mut outcomes: Vec<_> = window.iter().map(|_| None).collect();
    let mut pending: FuturesUnordered<_> = window
        .iter()
        .enumerate()
        .map(|(index, message)| async move { (index, one(channel, server, message).await) })
        .collect();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            biased;
            next = pending.next() => match next {
                Some((index, outcome)) => outcomes[index] = Some(outcome),
                None => return (outcomes, None),
            },
            reason = &mut stop => {
                // What has come already is still read, because a return may be attached to any of it.
                for _ in 0..2 * window.len() {
                    match pending.next().now_or_never() {
                        Some(Some((index, outcome))) => outcomes[index] = Some(outcome),
                        Some(None) => break,
                        None => {}
                    }
                }
                return (outcomes, Some(reason));
            }
        }
    }
}

async fn one(channel: &Channel, server: &Server, message: &Outgoing) -> Result<Confirmation, BrokerError> {
    // lapin panics on longer names, and the broker could not take them either.
    let short = |text: &str| ShortString::try_new(text).map_err(|_| BrokerError::NotTaken);
    let mut headers = FieldTable::default();
    let traceparent = message.traceparent.as_ref().map(|value| (HEADER_TRACEPARENT, value));
    let others = message.headers.iter().map(|(name, value)| (name.as_str(), value));
    for (name, value) in others.chain(traceparent) {
        headers.insert(short(name)?, AMQPValue::LongString(value.as_str().into()));
    }
    let mut properties = BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_delivery_mode(2)
        .with_message_id(short(&message.message_id)?)
        .with_type(short(&message.kind)?)
        .with_timestamp(u64::try_from(message.timestamp / 1_000).unwrap_or_default())
        .with_headers(headers);
    // The broker checks the user against the connection, so whoever reads it can rely on it.
    if let Some(user) = server.user() {
        properties = properties.with_user_id(short(user)?);
    }
    let exchange = short(&server.options.topology.exchange(message.exchange))?;
    let options = BasicPublishOptions { mandatory: message.mandatory, immediate: false };
    let key = short(&message.routing_key)?;
    let lost = |error: lapin::Error| match error.kind() {
        // 404 is NOT_FOUND: there is no such exchange.
        ErrorKind::ProtocolError(told) if told.get_id() == 404 => BrokerError::Unroutable {
            exchange: server.options.topology.exchange(message.exchange),
            routing_key: message.routing_key.clone(),
        },
        // 311 is CONTENT_TOO_LARGE, 406 is PRECONDITION_FAILED.
        ErrorKind::ProtocolError(told) if [311, 406].contains(&told.get_id()) => {
            BrokerError::Rejected(told.get_message().to_string())
        }
        _ => failed("publishing", &error),
    };
    let confirm =
        channel.basic_publish(exchange, key, options, &message.body, properties).await.map_err(lost)?;
    confirm.await.map_err(lost)
}

/// The answer for each message. lapin attaches a returned message to the next confirm of the channel, which need not
/// be its own confirm. So the returns are collected over the window, and compared by names and id.
fn judged(
    topology: &Topology,
    window: &[Outgoing],
    outcomes: Vec<Option<Result<Confirmation, BrokerError>>>,
    stopped: Option<&BrokerError>,
) -> Vec<Result<(), BrokerError>> {
    let identity = |returned: &BasicReturnMessage| {
        let id = returned.properties.message_id().as_ref().map(ToString::to_string);
        (returned.exchange.to_string(), returned.routing_key.to_string(), id.unwrap_or_default())
    };
    let returned: HashSet<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Some(Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)))) => {
                Some(identity(returned))
            }
            _ => None,
        })
        .collect();
    window
        .iter()
        .zip(outcomes)
        .map(|(message, outcome)| match outcome {
            Some(Ok(Confirmation::Ack(_))) => {
                let exchange = topology.exchange(message.exchange);
                let (key, id) = (message.routing_key.clone(), message.message_id.clone());
                let identity = (exchange, key, id);
                if message.mandatory && returned.contains(&identity) {
                    let (exchange, routing_key, _) = identity;
                    return Err(BrokerError::Unroutable { exchange, routing_key });
                }
                Ok(())
            }
            Some(Ok(Confirmation::Nack(_) | Confirmation::NotRequested)) => Err(BrokerError::NotTaken),
            Some(Err(error)) => Err(error),
            None => {
                Err(stopped.cloned().unwrap_or_else(|| BrokerError::Unavailable("no confirm".to_owned())))
            }
        })
        .collect()
}

/// A closed channel tells its reason to some messages and "invalid channel state" to others. If there is a refusal or
/// a rejection among them, it is the better answer for all.
fn share_reason(results: &mut [Result<(), BrokerError>]) {
    let told = |result: &&Result<(), BrokerError>| {
        matches!(result, Err(BrokerError::Refused(_) | BrokerError::Rejected(_)))
    };
    let is_lost = |result: &&Result<(), BrokerError>| matches!(result, Err(BrokerError::Unavailable(_)));
    let Some(reason) = results.iter().find(told).or_else(|| results.iter().find(is_lost)).cloned() else {
        return;
    };
    for result in results.iter_mut().filter(|result| matches!(result, Err(BrokerError::Unavailable(_)))) {
        *result = reason.clone();
    }
}
