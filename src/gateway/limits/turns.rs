//! What one person may have in hand at the same time: reads of the database, changes, and bytes of large bodies.
//! Without these limits, one person's requests could take every connection to the database, and everybody else would
//! wait behind them.
//!
//! A request without a turn waits for one in the order of arrival, and after a while it is told to come again. A
//! waiting request costs a few hundred bytes, because nothing of its body is read before its turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::PrincipalId;
use crate::gateway::auth::{Me, SignIns};
use crate::gateway::problem::Problem;
use crate::gateway::serving::Caller;
use crate::store::Person;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bodies of up to so many bytes need no turn.
pub(in crate::gateway) const SMALL_BODY: usize = 64 * 1024;

/// How many bytes of larger bodies are read and decoded at the same time, and into how many parts they are divided.
/// One person may have one part.
const BODIES: usize = 16 * 1024 * 1024;
const PARTS: usize = 4;

/// How many exports one person may read at a time. An export holds a connection to the database only while it reads a
/// part, and has a turn of the person's for that.
const EXPORTS: usize = 2;

/// From so many remembered people on, those who have nothing in hand are forgotten.
const FORGET_AT: usize = 256;

/// Everybody's turns.
pub(in crate::gateway) struct Turns {
    reads: usize,
    changes: usize,
    /// One person's part of `bodies`. Both are counted in KiB, because a semaphore counts no further than 2^29 on
    /// small machines.
    person_bodies: usize,
    bodies: Arc<Semaphore>,
    people: Mutex<HashMap<PrincipalId, Weak<Turn>>>,
}

/// One person's turns.
pub(in crate::gateway) struct Turn {
    reads: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    exports: Arc<Semaphore>,
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

impl Turns {
    /// The turns for a pool of so many connections, and for bodies of so many bytes at the most.
    pub(in crate::gateway) fn new(pool_size: usize, max_body_bytes: usize) -> Self {
        let bodies = kib(BODIES).max(kib(max_body_bytes) * PARTS);
        Self {
            reads: (pool_size / 4).max(1),
            // One person's changes may use the whole pool, so that they are as fast as they can be. The pool serves
            // its callers in order, so that somebody else waits for one of these changes at the most.
            changes: pool_size.max(1),
            person_bodies: bodies / PARTS,
            bodies: Arc::new(Semaphore::new(bodies)),
            people: Mutex::default(),
        }
    }

    fn of(&self, person: PrincipalId) -> Arc<Turn> {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = people.get(&person).and_then(Weak::upgrade) {
            return turn;
        }
        if people.len() >= FORGET_AT && people.len().is_power_of_two() {
            people.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn {
            reads: Arc::new(Semaphore::new(self.reads)),
            changes: Arc::new(Semaphore::new(self.changes)),
            bodies: Arc::new(Semaphore::new(self.person_bodies)),
            exports: Arc::new(Semaphore::new(EXPORTS)),
        });
        people.insert(person, Arc::downgrade(&turn));
        turn
    }

    /// Waits until a large body of so many bytes may be read.
    pub(in crate::gateway) async fn to_read_a_body(
        &self,
        turn: &Turn,
        bytes: usize,
    ) -> Result<BodyTurn, Problem> {
        let wanted = u32::try_from(kib(bytes).min(self.person_bodies)).unwrap_or(u32::MAX);
        let both = async {
            // The person's own part comes first, so that whoever waits for it takes nothing from others meanwhile.
            let own = Arc::clone(&turn.bodies).acquire_many_owned(wanted).await;
            let of_all = Arc::clone(&self.bodies).acquire_many_owned(wanted).await;
            // `ok()` loses nothing here: an error means that a semaphore was closed, and these never are.
            BodyTurn { _own: own.ok(), _of_all: of_all.ok() }
        };
        timeout(PATIENCE, both).await.map_err(|_| Problem::busy_with_bodies())
    }
}

/// The permission to hold a large body in memory. It is given back when this is dropped.
pub(crate) struct BodyTurn {
    _own: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

/// A place among the requests that a person has in hand. It is given back when this is dropped.
pub(crate) struct Held {
    _permit: Option<OwnedSemaphorePermit>,
    turn: Arc<Turn>,
    /// Who sent the request. `None` in unit tests.
    caller: Option<Caller>,
}

impl Held {
    /// Waits for a turn to read as well, for a change that looks at many rows first.
    pub(in crate::gateway) async fn to_read_too(&self) -> Result<Self, Problem> {
        wait_until_the_end(self.caller.clone(), Arc::clone(&self.turn), |turn| &turn.reads).await
    }
}

async fn wait(turn: Arc<Turn>, which: impl Fn(&Turn) -> &Arc<Semaphore>) -> Result<Held, Problem> {
    let permit = timeout(PATIENCE, Arc::clone(which(&turn)).acquire_owned()).await;
    let permit = permit.map_err(|_| Problem::too_many_at_once())?;
    Ok(Held { _permit: permit.ok(), turn, caller: None })
}

/// Waits for a turn as [`wait`] does, and gives up a moment after the gateway was told to stop.
async fn wait_until_the_end(
    caller: Option<Caller>,
    turn: Arc<Turn>,
    which: impl Fn(&Turn) -> &Arc<Semaphore>,
) -> Result<Held, Problem> {
    let Some(caller) = caller else { return wait(turn, which).await };
    let held = tokio::select! {
        biased;
        held = wait(turn, which) => held?,
        () = caller.stopped() => return Err(Problem::stopping()),
    };
    Ok(Held { caller: Some(caller), ..held })
}

fn caller(parts: &Parts) -> Option<Caller> {
    parts.extensions.get::<Caller>().cloned()
}

/// The person who asks for something that costs more than reading one row, and their turn to do so. It comes before the
/// body is read, if there is one.
pub(crate) struct Reading(pub(crate) Person, pub(crate) Held);

/// The person who changes something, and their turn to do so. The turn comes before the body is read.
pub(crate) struct Changing(pub(crate) Person, pub(crate) Held);

/// The person who sent the request, and what this person has in hand. A body of the request is read with that, too.
async fn of_person<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<(Person, Arc<Turn>), Problem>
where
    SignIns: FromRef<S>,
    Arc<Turns>: FromRef<S>,
{
    let Me(me) = Me::from_request_parts(parts, state).await?;
    let turn = Arc::<Turns>::from_ref(state).of(me.id);
    parts.extensions.insert(Arc::clone(&turn));
    Ok((me, turn))
}

impl<S: Send + Sync> FromRequestParts<S> for Reading
where
    SignIns: FromRef<S>,
    Arc<Turns>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (me, turn) = of_person(parts, state).await?;
        let held = wait_until_the_end(caller(parts), turn, |turn| &turn.reads).await?;
        Ok(Self(me, held))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Changing
where
    SignIns: FromRef<S>,
    Arc<Turns>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (me, turn) = of_person(parts, state).await?;
        let held = wait_until_the_end(caller(parts), turn, |turn| &turn.changes).await?;
        Ok(Self(me, held))
    }
}

/// The person who exports something, and a place among the exports of this person.
pub(crate) struct Exporting(pub(crate) Person, pub(crate) ExportTurn);

/// A place among the exports of a person. It is given back when this is dropped.
pub(crate) struct ExportTurn {
    _permit: OwnedSemaphorePermit,
    turn: Arc<Turn>,
}

impl ExportTurn {
    /// Waits for the person's turn to read a part, for as long as others of the person's requests take.
    pub(crate) async fn reading(&self) -> Held {
        let permit = Arc::clone(&self.turn.reads).acquire_owned().await;
        Held { _permit: permit.ok(), turn: Arc::clone(&self.turn), caller: None }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Exporting
where
    SignIns: FromRef<S>,
    Arc<Turns>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (me, turn) = of_person(parts, state).await?;
        let permit = Arc::clone(&turn.exports).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::too_many_exports(EXPORTS))?;
        Ok(Self(me, ExportTurn { _permit: permit, turn }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: i64) -> PrincipalId {
        PrincipalId::try_from(id).expect("an id")
    }

    #[tokio::test(start_paused = true)]
    async fn one_person_has_a_quarter_of_the_reads_and_others_theirs() {
        let turns = Turns::new(8, SMALL_BODY);
        let ana = turns.of(person(1));
        let reads = |turn: &Arc<Turn>| wait(Arc::clone(turn), |turn| &turn.reads);
        let (first, _second) = (reads(&ana).await.expect("a turn"), reads(&ana).await.expect("a turn"));
        assert!(reads(&turns.of(person(1))).await.is_err(), "a third has waited for its turn");
        assert!(reads(&turns.of(person(2))).await.is_ok());
        drop(first);
        assert!(reads(&ana).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_person_holds_a_part_of_the_bodies_in_memory() {
        let most = 2 * 1024 * 1024;
        let turns = Turns::new(8, most);
        let (ana, bruno) = (turns.of(person(1)), turns.of(person(2)));
        let mut held = Vec::new();
        while let Ok(turn) = turns.to_read_a_body(&ana, most).await {
            held.push(turn);
        }
        assert_eq!(held.len() * most, BODIES / PARTS);
        assert!(turns.to_read_a_body(&bruno, most).await.is_ok());
        // One that is larger than all of them together still has its turn, alone.
        held.clear();
        assert!(turns.to_read_a_body(&ana, usize::MAX).await.is_ok());
    }

    #[tokio::test]
    async fn who_has_nothing_in_hand_is_forgotten() {
        let turns = Turns::new(8, SMALL_BODY);
        for id in 1..=10_000 {
            turns.of(person(id));
        }
        assert!(turns.people.lock().expect("people").len() <= FORGET_AT);
    }
}
