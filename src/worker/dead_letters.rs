//! Empties the queue of dead letters into the table.
//!
//! Messages that `bury` sent and messages that the broker gave up come through the same queue. Each is written to the
//! table, in the transaction that does to its job what the reason says.
//!
//! Whoever may publish requests can send a message of any shape here: they let it expire, and the broker moves it with
//! all its headers. So only the routing key says that a letter is ours, which publishers cannot choose. Of all other
//! letters, only what the broker itself wrote counts.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::broker::topology::{
    HEADER_DEAD_DETAIL, HEADER_DEAD_HEADERS, HEADER_DEAD_ID, HEADER_DEAD_QUEUE, HEADER_DEAD_REASON,
    HEADER_DEAD_USER, KEY_DEAD_OWN,
};
use crate::broker::{Delivery, Outgoing, Queue};
use crate::consume::bury::{Burial, bury, kept_headers};
use crate::consume::{Deliveries, Handler, Outage, in_place, outage_or_words};
use crate::domain::DeadReason;
use crate::domain::Origin;
use crate::domain::hex::hex;
use crate::store::DeadLetter;

use crate::worker::ends::log_ended;
use crate::worker::state::{Worker, not_recorded};
use crate::worker::structured::structured;

impl Worker {
    /// Sends messages that can never be handled to the dead letters. A message that the broker does not take is kept at
    /// once, as if it had come back from there.
    pub(super) async fn bury(&self, from: Queue, dead: &[Burial<'_>]) -> Result<(), Outage> {
        for letter in bury(&self.broker, self.store.metrics(), from, dead).await? {
            let Outgoing { routing_key, message_id, headers, body, .. } = letter;
            let come_back = Delivery {
                tag: 0,
                redelivered: false,
                routing_key,
                content_type: None,
                message_id: Some(message_id),
                user_id: None,
                headers,
                death: None,
                body,
            };
            self.keep(&[come_back].into(), 0).await?;
        }
        Ok(())
    }

    /// Keeps one of the messages that were taken.
    async fn keep(&self, taken: &Deliveries, place: usize) -> Result<(), Outage> {
        let store = &self.store;
        let letter = self.letter_of(taken, place);
        match in_place(|| store.bury(letter.clone())).await {
            Ok(None) => Ok(()),
            Ok(Some(job)) => {
                let trace = taken[place].traceparent();
                let span = tracing::info_span!("dead letter", job_id = %job.job_id, traceparent = trace);
                span.in_scope(|| log_ended(&job));
                Ok(())
            }
            Err(error) => {
                // Nothing may block this queue for ever. So the letter is kept without its effect on the job.
                let words = outage_or_words(error)?;
                tracing::error!(
                    error = words,
                    dead_id = letter.dead_id,
                    "a dead letter is kept without its effect"
                );
                store.keep_letter(letter).await.map_err(not_recorded)
            }
        }
    }

    fn letter_of(&self, taken: &Deliveries, place: usize) -> DeadLetter {
        let delivery = &taken[place];
        let told = if delivery.routing_key == KEY_DEAD_OWN { own(delivery) } else { self.brokers(delivery) };
        DeadLetter {
            dead_id: told.dead_id,
            reason: told.reason,
            detail: told.detail,
            job_id: None,
            run: None,
            message_id: delivery.message_id.clone(),
            user_id: told.user_id,
            is_from_us: self.broker.is_from(delivery, &[]),
            origin: told.origin,
            headers: told.headers,
            body: Bytes::from_owner(Held { taken: Arc::clone(taken), place }),
            readable_bytes: self.options.begin.limits.message_bytes,
            received_at: self.store.db().clock().now_ms(),
        }
    }

    /// What is believed of a message that the broker gave up: only the queue and the reason, which the broker wrote.
    fn brokers(&self, delivery: &Delivery) -> Told {
        let death = delivery.death.as_ref();
        let queue = death.and_then(|death| self.broker.queue_named(&death.queue));
        // If it did not come from a queue of ours, it is treated as a request, which anybody can send.
        let origin = queue.map_or(Origin::Request, origin_of);
        let (reason, detail) = match (queue, death.map_or("", |death| death.reason.as_str())) {
            (Some(_), "delivery_limit") => (DeadReason::DeliveryLimit, "the broker gave up delivering it"),
            (Some(_), "expired") => {
                (DeadReason::Expired, "it waited longer than its sender or a policy allows")
            }
            (Some(_), "maxlen") => (DeadReason::QueueFull, "a policy keeps its queue shorter"),
            (Some(_), "rejected") => (DeadReason::Rejected, "a consumer that is not ours threw it away"),
            _ => {
                (DeadReason::Unexplained, "the broker does not say why it came, or from which queue of ours")
            }
        };
        // A publisher who is not allowed is refused, whichever way the message came: a replay would send it as ours.
        let (reason, detail) = if origin == Origin::Request && !self.may_publish(delivery) {
            let detail = format!("the publisher's user_id is not in worker.allowed_publishers ({detail})");
            (DeadReason::PublisherNotAllowed, detail)
        } else {
            (reason, detail.to_owned())
        };
        Told {
            dead_id: brokers_id(delivery),
            reason,
            detail,
            origin,
            user_id: delivery.user_id.clone(),
            headers: kept_headers(&delivery.headers),
        }
    }
}

/// Empties the dead queue into the table.
pub(super) struct DeadLetters(pub(super) Arc<Worker>);

impl Handler for DeadLetters {
    async fn handle(self: Arc<Self>, taken: Deliveries) -> Result<(), Outage> {
        let taken = structured(taken, self.0.options.begin.limits.message_bytes);
        for (place, delivery) in taken.iter().enumerate() {
            if !self.0.is_check(delivery).await.map_err(not_recorded)? {
                self.0.keep(&taken, place).await?;
            }
        }
        Ok(())
    }
}

/// The body of a message that was taken. It is not copied, because it may be as large as the broker takes.
struct Held {
    taken: Deliveries,
    place: usize,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.taken[self.place].body
    }
}

/// What is believed of a letter.
struct Told {
    dead_id: String,
    reason: DeadReason,
    detail: String,
    origin: Origin,
    user_id: Option<String>,
    headers: Map<String, Value>,
}

/// What is believed of a letter that `bury` sent: all of it.
fn own(delivery: &Delivery) -> Told {
    let header = |name: &str| delivery.header(name);
    let senders = header(HEADER_DEAD_HEADERS).and_then(|text| serde_json::from_str(text).ok());
    let suffix = header(HEADER_DEAD_QUEUE).unwrap_or_default();
    let queue = Queue::ALL.into_iter().find(|queue| queue.suffix() == suffix);
    Told {
        dead_id: header(HEADER_DEAD_ID).map_or_else(|| brokers_id(delivery), ToOwned::to_owned),
        // A newer release may have reasons that this one does not know.
        reason: header(HEADER_DEAD_REASON).and_then(DeadReason::from_name).unwrap_or(DeadReason::Unexplained),
        detail: header(HEADER_DEAD_DETAIL).unwrap_or_default().to_owned(),
        origin: queue.map_or(Origin::Unknown, origin_of),
        user_id: header(HEADER_DEAD_USER).map(ToOwned::to_owned),
        headers: senders.unwrap_or_default(),
    }
}

/// What a message was meant to be, which the queue tells that it came from.
fn origin_of(queue: Queue) -> Origin {
    match queue {
        Queue::Jobs => Origin::Request,
        Queue::Steps => Origin::Step,
        Queue::Notices => Origin::Event,
        Queue::Dead => Origin::Unknown,
    }
}

/// The id of a message that the broker gave up, which has none of its own. It is the same when the same message is
/// delivered again. It is the digest of body, sender, queue and reason, so that nobody can make another message pass
/// for a letter that is there.
fn brokers_id(delivery: &Delivery) -> String {
    let death = delivery.death.as_ref();
    let parts = [
        death.map(|death| death.queue.as_bytes()),
        death.map(|death| death.reason.as_bytes()),
        death.map(|death| death.time.as_bytes()),
        delivery.message_id.as_deref().map(str::as_bytes),
        delivery.user_id.as_deref().map(str::as_bytes),
        Some(&delivery.body),
    ];
    let mut hash = Sha256::new();
    for part in parts.map(Option::unwrap_or_default) {
        // Each part has its length before it, so that no two lists of parts have the same bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("broker/{}", hex(&hash.finalize()))
}
