//! What is new, for the streams of a gateway: every gateway hears all events on a queue of its own.
//!
//! A wake-up only. Whoever hears of a job reads its row; whoever may have missed something reads
//! everything.

use std::time::Duration;

use tokio::sync::broadcast;

use crate::broker::Broker;
use crate::gateway::Update;
use crate::retry::Schedule;
use crate::shutdown::Stop;
use crate::store::Store;
use crate::wire;

/// How often it is looked whether somebody has a stream open, while nobody has: until then the broker is
/// spared a copy of every event.
const LOOK: Duration = Duration::from_millis(200);

/// Tells updates until `stop`.
pub async fn run(store: Store, broker: Broker, updates: broadcast::Sender<Update>, stop: Stop) {
    let mut schedule = Schedule::reconnect();
    while !stop.is_set() {
        if updates.receiver_count() == 0 {
            stop.sleep(LOOK).await;
            continue;
        }
        match broker.listen().await {
            Ok(mut listener) => {
                schedule.reset();
                // What happened while nobody listened is not told: the streams look for themselves.
                let _ = updates.send(Update::Missed);
                while let Some(body) = next(&mut listener, &stop).await {
                    if updates.receiver_count() == 0 {
                        break;
                    }
                    hear(&store, &updates, &body).await;
                }
            }
            Err(error) => tracing::debug!(%error, "no events are heard"),
        }
        stop.sleep(schedule.next_wait()).await;
    }
}

async fn next(listener: &mut crate::broker::Listener, stop: &Stop) -> Option<std::sync::Arc<[u8]>> {
    tokio::select! {
        body = listener.next() => body.ok(),
        () = stop.wait() => None,
    }
}

async fn hear(store: &Store, updates: &broadcast::Sender<Update>, body: &[u8]) {
    let Ok(event) = wire::decode_event(body) else { return };
    if event.kind.is_terminal() {
        // So that the notice is there when the stream looks, whoever of the two is first. If it
        // cannot be made now, the shared queue makes it.
        if let Err(error) = store.make_notices(vec![(event.job_id, event.run)]).await {
            tracing::debug!(%error, job_id = %event.job_id, "a notice is late");
        }
    }
    // An error means that no stream is open.
    let _ = updates.send(Update::Job { id: event.job_id, requested_by: event.requested_by });
}
