//! How a message that can never be handled leaves its queue: it is published to the dead letters and confirmed, and
//! only then whoever took it acknowledges it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::broker::topology::{
    HEADER_DEAD_DETAIL, HEADER_DEAD_HEADERS, HEADER_DEAD_ID, HEADER_DEAD_QUEUE, HEADER_DEAD_REASON,
    HEADER_DEAD_USER, KEY_DEAD_OWN,
};
use crate::broker::{Broker, BrokerError, Delivery, Exchange, Outgoing, Queue};
use crate::consume::outage::Outage;
use crate::domain::{DeadReason, JobId};
use crate::telemetry::metrics::Metrics;

/// A message that can never be handled.
pub struct Burial<'a> {
    pub delivery: &'a Delivery,
    pub reason: DeadReason,
    /// What is wrong and where. It never has a value of the message.
    pub detail: String,
    /// The job that it asks for, if it tells one.
    pub job: Option<JobId>,
}

/// Sends copies of messages to the dead letters, with the reasons. The messages themselves stay unacknowledged.
/// Returns the copies that the broker will never take, because it allows less than when the messages came: they are
/// to be stored without it.
///
/// # Errors
/// The broker did not take all of them. The messages will be delivered again.
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
            Err(error) => outage = Some(error.into()),
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
    let senders = Value::from(kept_headers(&delivery.headers)).to_string();
    let mut headers = vec![
        (HEADER_DEAD_ID, dead_id.as_str()),
        (HEADER_DEAD_REASON, reason.as_str()),
        (HEADER_DEAD_DETAIL, detail),
        (HEADER_DEAD_QUEUE, from.suffix()),
        (HEADER_DEAD_HEADERS, &senders),
    ];
    headers.extend(delivery.user_id.as_deref().map(|user| (HEADER_DEAD_USER, user)));
    // AMQP's timestamp is for people who look at the queue, so this process's own clock will do: no transaction is open
    // here that would bring the database's. Whoever stores the letter notes the database's time.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Outgoing {
        exchange: Exchange::Internal,
        routing_key: KEY_DEAD_OWN.to_owned(),
        message_id: delivery.message_id.clone().unwrap_or_else(|| dead_id.clone()),
        kind: "batchshare.dead.v1".to_owned(),
        traceparent: delivery.traceparent().map(ToOwned::to_owned),
        mandatory: true,
        timestamp: i64::try_from(now.as_millis()).unwrap_or(0),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: delivery.body.clone(),
    }
}

/// So many bytes of a sender's headers, as JSON, are kept with a dead letter. They travel in one header, and all
/// headers of a message must fit into one frame of AMQP, which has 128 KiB.
const HEADERS_KEPT: usize = 64 * 1024;

/// The name of the header that says how many headers were too large to be kept.
const LEFT_OUT: &str = "x-batchshare-headers-left-out";

/// A sender's headers as an object of texts, as many as fit into [`HEADERS_KEPT`].
pub fn kept_headers(headers: &[(String, String)]) -> Map<String, Value> {
    let mut kept = Map::new();
    let (mut bytes, mut left_out) = (0, 0);
    for (name, value) in headers {
        let (name, value) = (Value::from(name.as_str()), Value::from(value.as_str()));
        let size = name.to_string().len() + value.to_string().len() + 2;
        match name {
            Value::String(name) if bytes + size <= HEADERS_KEPT => {
                bytes += size;
                kept.insert(name, value);
            }
            _ => left_out += 1,
        }
    }
    if left_out > 0 {
        kept.insert(LEFT_OUT.to_owned(), left_out.to_string().into());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a sender sets, its headers fit where they are kept, with the envelope of JSON.
    #[test]
    fn headers_of_any_size_are_kept_within_their_bound() {
        let header = |name: &str, value: String| (name.to_owned(), value);
        for (headers, left_out) in [
            (
                vec![
                    header("a", "x".repeat(60_000)),
                    header("b", "y".repeat(60_000)),
                    header("c", "z".into()),
                ],
                1,
            ),
            (vec![header("a", "\u{1}".repeat(12_000))], 1),
            ((0..9_000).map(|n| header(&format!("header-{n}"), String::new())).collect(), 5_000),
            (vec![header("a", "é\"\\".to_owned())], 0),
        ] {
            let kept = kept_headers(&headers);
            assert!(Value::from(kept.clone()).to_string().len() <= HEADERS_KEPT + 64);
            let told: usize =
                kept.get(LEFT_OUT).map_or(0, |n| n.as_str().expect("a text").parse().expect("a number"));
            assert!(told >= left_out && (told > 0) == (left_out > 0), "{told}");
            assert_eq!(kept.len() - usize::from(told > 0) + told, headers.len());
        }
    }
}
