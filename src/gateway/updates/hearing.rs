//! Everybody's open streams, the updates that wake them, and whether this gateway hears the broker's events now.
//!
//! The gateway's queue on the broker is declared when the first stream opens, so that the broker copies no event
//! while no stream is open. The first stream waits a moment for this. An update goes to the streams of the person who
//! asked for the job.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::domain::{JobId, PrincipalId};
use crate::gateway::updates::hub::{Hub, Told};

/// A change that streams may have to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// A job has changed.
    Job { id: JobId, requested_by: PrincipalId },
    /// Some updates may have got lost, and every stream has to look for itself.
    Missed,
}

/// Whether this gateway hears the broker's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// It does not, because no stream is open.
    Not,
    /// It hears every event from now on.
    All,
    /// The broker cannot be reached. Streams look for themselves until it is back.
    Away,
}

/// How long a stream waits until events are heard. After that it goes on and looks for itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Passes updates from whoever hears the events to the streams. Cheap to clone: all clones are the same one.
#[derive(Clone)]
pub struct Updates {
    people: Arc<Mutex<HashMap<PrincipalId, Streams>>>,
    hearing: watch::Sender<Hearing>,
    wanted: Arc<Notify>,
}

/// The open streams of a person, of which there is at least one.
struct Streams {
    count: usize,
    hub: Arc<Hub>,
}

/// A place among a person's streams. It is given back when this is dropped.
pub(in crate::gateway) struct Subscription {
    pub(in crate::gateway) news: Receiver<Told>,
    /// `Some` for the person's first stream, which has to start the teller.
    pub(in crate::gateway) first: Option<Arc<Hub>>,
    person: PrincipalId,
    updates: Updates,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut people = self.updates.people();
        if let Some(streams) = people.get_mut(&self.person) {
            streams.count -= 1;
            if streams.count == 0 {
                streams.hub.end();
                people.remove(&self.person);
            }
        }
    }
}

impl Default for Updates {
    fn default() -> Self {
        Self { people: Arc::default(), hearing: watch::Sender::new(Hearing::Not), wanted: Arc::default() }
    }
}

impl Updates {
    fn people(&self) -> MutexGuard<'_, HashMap<PrincipalId, Streams>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens one more stream of a person, who may have `most` of them; `None` where that would be one too many. The
    /// stream gets every update of this person from now on. Whoever reads the store after this misses nothing while
    /// the broker is there.
    pub(in crate::gateway) async fn subscribe(
        &self,
        person: PrincipalId,
        most: usize,
    ) -> Option<Subscription> {
        let subscription = self.register(person, most)?;
        self.wanted.notify_one();
        let mut hearing = self.hearing.subscribe();
        let begun = hearing.wait_for(|hearing| *hearing != Hearing::Not);
        // It may take longer, or nobody may hear events at all. Then `Missed`, or the teller's own look, brings the
        // rest.
        let _ = timeout(PATIENCE, begun).await;
        Some(subscription)
    }

    fn register(&self, person: PrincipalId, most: usize) -> Option<Subscription> {
        let mut people = self.people();
        let streams = people.entry(person).or_insert_with(|| Streams { count: 0, hub: Arc::new(Hub::new()) });
        if streams.count >= most {
            return None;
        }
        streams.count += 1;
        let first = (streams.count == 1).then(|| Arc::clone(&streams.hub));
        Some(Subscription { news: streams.hub.subscribe(), first, person, updates: self.clone() })
    }

    /// Wakes the streams of the person whom the update is about.
    pub fn tell(&self, update: Update) {
        let people = self.people();
        match update {
            Update::Job { id, requested_by } => {
                if let Some(streams) = people.get(&requested_by) {
                    streams.hub.want(id);
                }
            }
            Update::Missed => people.values().for_each(|streams| streams.hub.want_everything()),
        }
    }

    /// Whether any stream is open.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        !self.people().is_empty()
    }

    /// Whether any stream of this person is open.
    #[must_use]
    pub fn has_streams_of(&self, person: PrincipalId) -> bool {
        self.people().contains_key(&person)
    }

    /// Returns when a stream is open. It can be cancelled at any time.
    pub async fn wanted(&self) {
        while !self.has_streams() {
            self.wanted.notified().await;
        }
    }

    /// Notes whether events are heard now.
    pub fn set_hearing(&self, hearing: Hearing) {
        self.hearing.send_replace(hearing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: i64) -> PrincipalId {
        PrincipalId::try_from(id).expect("an id")
    }

    #[test]
    fn a_person_has_so_many_streams_and_an_update_goes_to_whose_it_is() {
        let updates = Updates::default();
        let mut ana: Vec<Subscription> = (0..3).filter_map(|_| updates.register(person(1), 2)).collect();
        assert_eq!(ana.len(), 2);
        let (hub, second) = (ana[0].first.clone().expect("the first"), &ana[1]);
        assert!(second.first.is_none());
        let bruno = updates.register(person(2), 2).expect("a place");
        let job = JobId::generate();
        updates.tell(Update::Job { id: job, requested_by: person(1) });
        assert_eq!(hub.take().jobs, [job]);
        assert_eq!(bruno.first.as_ref().expect("the first").take().jobs, []);
        ana.pop();
        let again = updates.register(person(1), 2).expect("a place that was given back");
        assert!(again.first.is_none() && !hub.is_over());
        drop((again, ana, bruno));
        assert!(hub.is_over() && !updates.has_streams());
    }
}
