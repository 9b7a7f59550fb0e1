//! How a message that can never be handled leaves its queue: published to the dead letters,
//! confirmed, and only then acknowledged by whoever took it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::broker::topology::{
    HEADER_DEAD_DETAIL, HEADER_DEAD_ID, HEADER_DEAD_QUEUE, HEADER_DEAD_REASON, KEY_DEAD,
};
use crate::broker::{Broker, BrokerError, Delivery, Exchange, Outgoing, Queue};
use crate::domain::{DeadReason, JobId};
use crate::metrics::Metrics;
use crate::take::Outage;

/// A message that can never be handled.
pub struct Burial<'a> {
    pub delivery: &'a Delivery,
    pub reason: DeadReason,
    /// What is wrong and where; never a value.
    pub detail: String,
    /// The job that it asks for, as far as it tells.
    pub job: Option<JobId>,
}

/// Sends copies of messages to the dead letters, with the reasons. They themselves stay unacknowledged.
/// Returns those that the broker will never take (larger than it allows by now): they are to be kept without
/// it.
///
/// # Errors
/// The broker did not take all: they come again.
pub async fn bury(
    broker: &Broker,
    metrics: &Metrics,
    from: Queue,
    dead: &[Burial<'_>],
) -> Result<Vec<Outgoing>, Outage> {
    let letters: Vec<Outgoing> = dead.iter().map(|burial| letter(from, burial)).collect();
    let (mut rejected, mut outage) = (Vec::new(), None);
    let answers = broker.publish(&letters).await;
    for (letter, answer) in letters.into_iter().zip(answers) {
        metrics.sent(Exchange::Internal.suffix(), answer.as_ref().err().map_or("", BrokerError::kind));
        match answer {
            Ok(()) => {}
            Err(BrokerError::Rejected(_)) => rejected.push(letter),
            Err(error) => outage = Some(Outage(error.to_string())),
        }
    }
    outage.map_or(Ok(rejected), Err)
}

fn letter(from: Queue, Burial { delivery, reason, detail, job }: &Burial<'_>) -> Outgoing {
    tracing::warn!(
        queue = from.suffix(),
        message_id = delivery.message_id,
        job_id = job.map(|job| job.to_string()),
        traceparent = delivery.traceparent(),
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
    Outgoing {
        exchange: Exchange::Internal,
        routing_key: KEY_DEAD.to_owned(),
        message_id: delivery.message_id.clone().unwrap_or_else(|| dead_id.clone()),
        kind: "batchshare.dead.v1".to_owned(),
        traceparent: delivery.traceparent().map(ToOwned::to_owned),
        mandatory: true,
        timestamp: i64::try_from(now.as_millis()).unwrap_or(0),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: delivery.body.clone(),
    }
}
