//! How a message that can never be handled leaves its queue: published to the dead letters,
//! confirmed, and only then acknowledged by whoever took it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::broker::topology::{
    HEADER_DEAD_DETAIL, HEADER_DEAD_ID, HEADER_DEAD_QUEUE, HEADER_DEAD_REASON, KEY_DEAD,
};
use crate::broker::{Broker, Delivery, Exchange, Outgoing, Queue};
use crate::domain::DeadReason;
use crate::take::Outage;

/// Sends a copy of a message to the dead letters, with the reason. Its own stays unacknowledged.
///
/// # Errors
/// The broker did not take it: the message comes again.
pub async fn bury(
    broker: &Broker,
    from: Queue,
    delivery: &Delivery,
    reason: DeadReason,
    detail: &str,
) -> Result<(), Outage> {
    tracing::warn!(
        queue = from.suffix(),
        message_id = delivery.message_id,
        %reason,
        detail,
        bytes = delivery.body.len(),
        "dead letter"
    );
    let dead_id = uuid::Uuid::now_v7().to_string();
    let headers = [
        (HEADER_DEAD_ID, dead_id.as_str()),
        (HEADER_DEAD_REASON, reason.as_str()),
        (HEADER_DEAD_DETAIL, detail),
        (HEADER_DEAD_QUEUE, from.suffix()),
    ];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let letter = Outgoing {
        exchange: Exchange::Internal,
        routing_key: KEY_DEAD.to_owned(),
        message_id: delivery.message_id.clone().unwrap_or_else(|| dead_id.clone()),
        kind: "batchshare.dead.v1".to_owned(),
        traceparent: None,
        mandatory: true,
        timestamp: i64::try_from(now.as_millis()).unwrap_or(0),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: delivery.body.clone(),
    };
    for result in broker.publish(&[letter]).await {
        result.map_err(|error| Outage(error.to_string()))?;
    }
    Ok(())
}
