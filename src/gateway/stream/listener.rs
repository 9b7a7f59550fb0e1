//! What is new, for the streams of a gateway: while a stream is open, the gateway hears all events on a
//! queue of its own.
//!
//! A wake-up only. Whoever hears of a job reads its row; whoever may have missed something reads
//! everything.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Broker, Listener};
use crate::consume::schedule::Schedule;
use crate::contract;
use crate::gateway::{Hearing, Update, Updates};
use crate::shutdown::Stop;
use crate::store::Store;

/// How long events are still heard after the last stream has ended: people reload pages.
const LINGER: Duration = Duration::from_secs(30);

/// Tells updates until `stop`.
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
                // What happened while nobody listened is not told: the streams look for themselves.
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

/// Why the hearing has ended.
#[derive(PartialEq, Eq)]
enum Heard {
    /// No stream has been open for a while, or it is time to stop.
    Enough,
    /// The broker is away.
    Lost,
}

async fn hear(mut listener: Listener, store: &Store, updates: &Updates, stop: &Stop) -> Heard {
    let mut look = tokio::time::interval(LINGER);
    let mut alone = false;
    loop {
        // One wait for each event, however often the clock ticks meanwhile.
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

async fn pass_on(store: &Store, updates: &Updates, body: &Arc<[u8]>) {
    if !updates.has_streams() {
        return;
    }
    let Ok(event) = contract::decode_event(body) else { return };
    if !updates.has_streams_of(event.requested_by) {
        return;
    }
    if event.kind.is_terminal() {
        // So that the notice is there when the stream looks, whoever of the two is first. If it
        // cannot be made now, the shared queue makes it.
        if let Err(error) = store.make_notices(vec![(event.job_id, event.run)]).await {
            tracing::debug!(%error, job_id = %event.job_id, "a notice is late");
        }
    }
    updates.tell(Update::Job { id: event.job_id, requested_by: event.requested_by });
}
