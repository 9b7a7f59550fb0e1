//! Hearing the broker's events for the streams of this gateway. While a stream is open, the gateway has a queue of
//! its own on the broker, and every event comes to it.
//!
//! An event only wakes streams. Whoever hears of a job reads its row, and whoever may have missed an event reads
//! everything.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Broker, Listener};
use crate::consume::schedule::Schedule;
use crate::contract;
use crate::gateway::updates::hearing::{Hearing, Update, Updates};
use crate::shutdown::Stop;
use crate::store::Store;

/// How long events are still heard after the last stream has ended. A page that is reloaded opens another at once.
const LINGER: Duration = Duration::from_secs(30);

/// Hears events and passes updates on, until `stop`.
pub async fn run(store: Store, broker: Broker, updates: Updates, stop: Stop) {
    let mut schedule = Schedule::reconnect();
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => return,
            () = updates.wanted() => {}
        }
        match broker.listen().await {
            Ok(listener) => {
                schedule.reset();
                // No event tells what happened while nobody listened, so that the streams have to look for
                // themselves.
                updates.tell(Update::Missed);
                updates.set_hearing(Hearing::All);
                if hear(listener, &store, &updates, &stop).await == Heard::Enough {
                    updates.set_hearing(Hearing::Not);
                    continue;
                }
            }
            Err(error) => tracing::debug!(%error, "no events are heard"),
        }
        updates.set_hearing(Hearing::Away);
        stop.sleep(schedule.next_wait()).await;
    }
}

/// Why no more events are heard.
#[derive(PartialEq, Eq)]
enum Heard {
    /// No stream has been open for a while, or it is time to stop.
    Enough,
    /// The broker cannot be reached.
    Lost,
}

/// Hears events until there is a reason not to.
async fn hear(mut listener: Listener, store: &Store, updates: &Updates, stop: &Stop) -> Heard {
    let mut look = tokio::time::interval(LINGER);
    let mut alone = false;
    loop {
        // The future that waits for an event is kept while the clock ticks: dropping it could lose the event.
        let body = {
            let mut next = pin!(listener.next());
            loop {
                tokio::select! {
                    body = &mut next => break body,
                    _ = look.tick() => {
                        let now = !updates.has_streams();
                        if now && alone {
                            return Heard::Enough;
                        }
                        alone = now;
                    }
                    () = stop.wait() => return Heard::Enough,
                }
            }
        };
        match body {
            Ok(body) => pass_on(store, updates, &body).await,
            Err(error) => {
                tracing::debug!(%error, "no more events are heard");
                return Heard::Lost;
            }
        }
    }
}

/// Makes an event an update, where a stream of its person is open.
async fn pass_on(store: &Store, updates: &Updates, body: &Arc<[u8]>) {
    if !updates.has_streams() {
        return;
    }
    let Ok(event) = contract::decode_event(body) else { return };
    if !updates.has_streams_of(event.requested_by) {
        return;
    }
    if event.kind.is_terminal() {
        // The notice is made here, too, so that it is there when the stream looks for it. The notifier, which makes
        // all notices, may be later than the stream. Where it cannot be made now, the notifier makes it.
        if let Err(error) = store.make_notices(vec![(event.job_id, event.run)]).await {
            tracing::debug!(%error, job_id = %event.job_id, "a notice is late");
        }
    }
    updates.tell(Update::Job { id: event.job_id, requested_by: event.requested_by });
}
