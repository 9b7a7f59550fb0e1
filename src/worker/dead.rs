//! The dead queue is emptied into the table.
//!
//! What `bury` sent and what the broker gave up come the same way. Both end in the table, in the
//! transaction that does to the job what the reason says.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::broker::topology::{
    HEADER_DEAD_DETAIL, HEADER_DEAD_ID, HEADER_DEAD_QUEUE, HEADER_DEAD_REASON, HEADER_DEATH_TIME,
    HEADER_FIRST_DEATH_QUEUE,
};
use crate::broker::{Delivery, Outgoing, Queue};
use crate::bury::{Burial, bury};
use crate::domain::DeadReason;
use crate::store::{DeadLetter, Origin};
use crate::take::{Handler, Outage, Taken, in_place, outage_or_words};

use super::handle::{log_ended, structured};
use super::{Worker, not_recorded};

impl Worker {
    /// Sends messages that can never be handled to the dead letters. What the broker will not take is kept
    /// at once, as it would have come back from there.
    pub(super) async fn bury(&self, from: Queue, dead: &[Burial<'_>]) -> Result<(), Outage> {
        for letter in bury(&self.broker, self.store.metrics(), from, dead).await? {
            let Outgoing { routing_key, message_id, headers, body, .. } = letter;
            let message_id = Some(message_id);
            let come_back = Delivery {
                tag: 0,
                redelivered: false,
                routing_key,
                content_type: None,
                message_id,
                user_id: None,
                headers,
                body,
            };
            self.keep(&come_back).await?;
        }
        Ok(())
    }

    async fn keep(&self, delivery: &Delivery) -> Result<(), Outage> {
        let store = &self.store;
        let letter = letter_of(delivery, store.db().clock().now_ms());
        match in_place(|| store.bury(letter.clone())).await {
            Ok(None) => Ok(()),
            Ok(Some(job)) => {
                let trace = delivery.traceparent();
                let span = tracing::info_span!("dead letter", job_id = %job.job_id, traceparent = trace);
                span.in_scope(|| log_ended(&job));
                Ok(())
            }
            Err(error) => {
                // Nothing may hold up this queue for ever: without its effect the letter is still kept.
                let words = outage_or_words(&error)?;
                tracing::error!(
                    error = words,
                    dead_id = letter.dead_id,
                    "a dead letter is kept without its effect"
                );
                store.keep_letter(letter).await.map_err(not_recorded)
            }
        }
    }
}

/// Empties the dead queue into the table.
pub(super) struct DeadLetters(pub(super) Arc<Worker>);

impl Handler for DeadLetters {
    async fn handle(self: Arc<Self>, taken: Taken) -> Result<(), Outage> {
        for delivery in structured(taken, self.0.options.begin.limits.message_bytes).iter() {
            self.0.keep(delivery).await?;
        }
        Ok(())
    }
}

fn letter_of(delivery: &Delivery, now: i64) -> DeadLetter {
    let header = |name: &str| delivery.header(name);
    let ours = header(HEADER_DEAD_ID).zip(header(HEADER_DEAD_REASON).and_then(DeadReason::from_name));
    let (dead_id, reason, detail, queue) = match ours {
        Some((dead_id, reason)) => (
            dead_id.to_owned(),
            reason,
            header(HEADER_DEAD_DETAIL).unwrap_or_default().to_owned(),
            header(HEADER_DEAD_QUEUE).unwrap_or_default(),
        ),
        // The broker's own has no id: what it is and when it died tell two of them apart.
        None => (
            format!("broker/{}/{}", digest(&delivery.body), header(HEADER_DEATH_TIME).unwrap_or("unknown")),
            DeadReason::DeliveryLimit,
            "the broker gave up delivering it".to_owned(),
            header(HEADER_FIRST_DEATH_QUEUE).unwrap_or_default(),
        ),
    };
    let origin = origin_of(queue);
    DeadLetter {
        dead_id,
        reason,
        detail,
        job_id: None,
        run: None,
        message_id: delivery.message_id.clone(),
        origin,
        headers: delivery.headers.clone(),
        body: delivery.body.clone(),
        received_at: now,
    }
}

/// What a message was to be, by the queue that it came from (with or without a prefix).
fn origin_of(queue: &str) -> Origin {
    match queue.rsplit('.').next().unwrap_or_default() {
        name if name == Queue::Jobs.suffix() => Origin::Request,
        name if name == Queue::Steps.suffix() => Origin::Step,
        name if name == Queue::Notices.suffix() => Origin::Event,
        _ => Origin::Unknown,
    }
}

fn digest(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}
