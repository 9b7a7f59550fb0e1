//! The relay sends messages from the outbox to the broker: it publishes them, waits for the confirms, and deletes the
//! rows.
//!
//! Rows of this process come through a channel right after their commit. For everything else the table decides: after
//! a crash, if the channel was full, if the broker was away, and for another process's rows whose lease has run out.
//! A row is deleted only after the broker has confirmed its message. So a message may be sent twice, with the same
//! id, but it is always sent.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::broker::topology::{HEADER_ASIDES, KEY_REQUESTED, KEY_STEP, event_key};
use crate::broker::{Broker, BrokerError, Exchange, Outgoing};
use crate::contract;
use crate::domain::JobId;
use crate::shutdown::Stop;
use crate::store::{Committed, MessageKind, OUTBOX_TRIES, OutboxRow, Store};

/// The settings of a relay.
#[derive(Debug, Clone, Copy)]
pub struct RelayOptions {
    pub lease: Duration,
    /// How often the table is searched.
    pub interval: Duration,
    /// So many messages are published and confirmed together.
    pub batch: usize,
}

/// Relays until `stop`, then sends what is at hand and returns.
pub async fn run(
    store: Store,
    broker: Broker,
    mut committed: mpsc::Receiver<Committed>,
    options: RelayOptions,
    stop: Stop,
) {
    let mut relay = Relay::new(store, broker, options);
    let mut tick = tokio::time::interval(options.interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // The order matters. The table has its turn however much is committed meanwhile (there are two ticks a
            // second at most), and then comes what was just committed.
            biased;
            _ = tick.tick() => relay.sweep().await,
            Some(first) = committed.recv() => {
                let mut taken = vec![first];
                while taken.len() < options.batch && let Ok(next) = committed.try_recv() {
                    taken.push(next);
                }
                relay.take(taken).await;
            }
            () = stop.wait() => break,
        }
    }
    committed.close();
    let mut taken = Vec::new();
    while let Some(next) = committed.recv().await {
        taken.push(next);
    }
    relay.take(taken).await;
    relay.sweep().await;
}

/// A relay whose steps are called one by one.
pub struct Relay {
    store: Store,
    broker: Broker,
    options: RelayOptions,
    /// The broker was away at the last try. That is logged once, and not at every try.
    away: bool,
}

impl Relay {
    #[must_use]
    pub fn new(store: Store, broker: Broker, options: RelayOptions) -> Self {
        Self { store, broker, options, away: false }
    }

    /// Sends what was just committed. Returns whether everything that was handed over was sent.
    pub async fn take(&mut self, committed: Vec<Committed>) -> bool {
        let taken = committed.len();
        let rows: Vec<OutboxRow> = committed
            .into_iter()
            .filter_map(|next| match next {
                Committed::Row(row) => Some(row),
                Committed::InTable => None,
            })
            .collect();
        let in_table = rows.len() < taken;
        let all = self.send(rows).await;
        if in_table {
            self.sweep().await;
        }
        all
    }

    /// Sends everything in the table that nobody else is about to send.
    pub async fn sweep(&mut self) {
        // While the broker is away, the rows stay where they are, instead of being leased and released again and
        // again.
        if self.away && self.broker.ping().await.is_err() {
            return;
        }
        loop {
            let rows = match self.store.take_unsent(self.options.batch, self.options.lease).await {
                Ok(rows) => rows,
                Err(error) => return tracing::debug!(%error, "could not read the outbox"),
            };
            if rows.is_empty() || !self.send(rows).await {
                return;
            }
        }
    }

    /// Publishes rows, waits for the confirms and deletes what was confirmed. Whether all were sent.
    pub async fn send(&mut self, rows: Vec<OutboxRow>) -> bool {
        if rows.is_empty() {
            return true;
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let batch: Vec<Outgoing> = rows.into_iter().map(outgoing).collect();
        let mut sent = Vec::with_capacity(ids.len());
        let (mut kept, mut not_taken) = (Vec::new(), HashMap::new());
        let began = Instant::now();
        let results = self.broker.publish(&batch).await;
        let (took, failed) = (began.elapsed(), results.iter().find_map(|result| result.as_ref().err()));
        let failed = failed.map_or("", BrokerError::kind);
        for exchange in Exchange::ALL.into_iter().filter(|one| batch.iter().any(|of| of.exchange == *one)) {
            self.store.metrics().waited("publish", exchange.suffix(), took, failed);
        }
        for (place, (id, result)) in ids.iter().zip(results).enumerate() {
            let message = &batch[place];
            let error = result.as_ref().err().map_or("", BrokerError::kind);
            self.store.metrics().sent(message.exchange.suffix(), error);
            match result {
                Ok(()) => sent.push(*id),
                // Others must not wait for this message, so it keeps its lease.
                Err(error) if is_its_own(&error) => {
                    not_taken.insert(*id, (place, error));
                }
                Err(error) => {
                    if !self.away {
                        tracing::warn!(job_id = job_of(message), message_id = message.message_id, traceparent = message.traceparent, %error, "a message stays in the outbox");
                    }
                    self.away = true;
                    kept.push(*id);
                }
            }
        }
        let all = kept.is_empty() && not_taken.is_empty();
        // An answer about one message shows that the broker is there.
        if kept.is_empty() && self.away {
            tracing::info!("messages leave the outbox again");
            self.away = false;
        }
        self.count_tries(&batch, not_taken).await;
        for outcome in [self.store.remove_sent(sent).await, self.store.release_unsent(kept).await] {
            if let Err(error) = outcome {
                // Leases run out by themselves. A message that was sent is then sent again with the same id.
                tracing::debug!(%error, "could not update the outbox");
            }
        }
        all
    }

    /// Counts one more try of the messages that the broker did not take. Each message is logged twice: at its first
    /// try, and when it is kept aside.
    async fn count_tries(&self, batch: &[Outgoing], not_taken: HashMap<i64, (usize, BrokerError)>) {
        let tried = match self.store.not_taken(not_taken.keys().copied().collect(), HOLD).await {
            Ok(tried) => tried,
            // Leases run out by themselves.
            Err(error) => return tracing::debug!(%error, "could not update the outbox"),
        };
        for (id, tries) in tried {
            let Some((place, error)) = not_taken.get(&id) else { continue };
            let message = &batch[*place];
            let (job_id, message_id, traceparent) =
                (job_of(message), &message.message_id, message.traceparent.as_deref());
            if tries == 1 {
                tracing::warn!(outbox = id, job_id, message_id, traceparent, %error, "the broker does not take a message: it stays in the outbox and is sent again");
            } else if tries == OUTBOX_TRIES {
                tracing::error!(outbox = id, job_id, message_id, traceparent, tries, %error, "the broker never takes a message: it is kept aside in the outbox, and tried again now and then without a word");
            }
        }
    }
}

/// How long a message that the broker has refused many times waits for its next try. Meanwhile an operator may have
/// made room for it, or bound a queue.
const HOLD: Duration = Duration::from_secs(5 * 60);

/// Whether the failure is this message's own, so that other messages may still be sent.
fn is_its_own(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Unroutable { .. } | BrokerError::NotTaken | BrokerError::Rejected(_))
}

/// The job of a message, for the log. A request may be a stranger's, of any size, so its body is not read.
fn job_of(message: &Outgoing) -> Option<String> {
    let id = &message.message_id;
    let job: Option<JobId> = match message.exchange {
        Exchange::Jobs => id.split('/').next().and_then(|id| id.parse().ok()),
        Exchange::Internal => contract::decode_step(&message.body).map(|step| step.job_id).ok(),
        Exchange::Events => contract::decode_event(&message.body).map(|event| event.job_id).ok(),
    };
    job.map(|job| job.to_string())
}

/// Where each message goes, and what it is called there.
fn outgoing(row: OutboxRow) -> Outgoing {
    let (exchange, key, kind, mandatory) = match row.kind {
        MessageKind::Request => (Exchange::Jobs, KEY_REQUESTED, contract::REQUEST_TYPE, true),
        MessageKind::Step => (Exchange::Internal, KEY_STEP, contract::STEP_TYPE, true),
        MessageKind::Event(of, event) => {
            let key = event_key(of, event);
            // Perhaps nobody is listening to progress. The end of a job always has the queue of notices.
            (Exchange::Events, key, contract::event_type(of, event), event.is_terminal())
        }
    };
    Outgoing {
        exchange,
        routing_key: key.to_owned(),
        message_id: row.message_id,
        kind: kind.to_owned(),
        traceparent: Some(row.traceparent),
        mandatory,
        timestamp: row.created_at,
        headers: match row.asides {
            0 => Vec::new(),
            times => vec![(HEADER_ASIDES.to_owned(), times.to_string())],
        },
        body: row.body,
    }
}
