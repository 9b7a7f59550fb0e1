//! A model of the delivery protocol, checked in every order of events (`stateright`).
//!
//! The model has the outbox and its relay (publish, confirm, delete); a broker that duplicates, reorders, redelivers
//! and loses messages; workers that die between any two transactions, lose their connection, or never learn of a
//! commit; the row of a job, lanes with turn and position, due work, the terminal event and the notice. What a
//! process hands to its relay in memory needs no state of its own. A row may be published at any time, or by nobody
//! while its process is dead, and a copy that is sent after its row was deleted is the same as a duplicate.
//!
//! That a job always ends is not checked by stateright's `eventually`, which does not see paths that end in a cycle.
//! The number of faults is limited, so that every path has an end, and [`every_path_ends`] proves it by looking for a
//! cycle. In every state where nothing can happen any more, everything must be done. Both together show that each job
//! reaches its end, whatever happens and in whatever order.
//!
//! In [`control`] is a second model, of what several transactions do to the same jobs and grants at the same time.

#![allow(clippy::print_stdout, reason = "how it went wrong is read when a test fails")]

mod control;
mod protocol;
mod steps;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use protocol::{Asked, Broken, Faults, Grant, Protocol, Shape, State};
use stateright::{Checker as _, Model as _, Property};

const LOSES_NOTHING: &str = "when nothing can happen any more, everything is done";
const GRANTS_ONCE: &str = "what was taken back is not given again";
const COUNTS: &str = "counts are exact";
const ENDS_ONCE: &str = "a job ends once";
const ONE_EVENT: &str = "one terminal event, whatever is sent again";
const ONE_NOTICE: &str = "one notice a job";

fn properties() -> Vec<Property<Protocol>> {
    vec![
        Property::always(LOSES_NOTHING, |protocol, state| {
            settled(state) || {
                let mut actions = Vec::new();
                protocol.actions(state, &mut actions);
                !actions.is_empty()
            }
        }),
        Property::always(GRANTS_ONCE, |_, state: &State| {
            state.jobs.iter().all(|job| !job.grants.contains(&Grant::Again))
        }),
        Property::always(COUNTS, |_, state: &State| {
            state.jobs.iter().all(|job| job.counted() == job.granted())
        }),
        Property::always(ENDS_ONCE, |_, state: &State| state.jobs.iter().all(|job| job.ends <= 1)),
        Property::always(ONE_EVENT, |_, state: &State| state.jobs.iter().all(|job| job.told.len() <= 1)),
        Property::always(ONE_NOTICE, |_, state: &State| state.jobs.iter().all(|job| job.notices <= 1)),
    ]
}

/// Whether every job has ended, its event was sent and its notice made, and nothing is under way.
fn settled(state: &State) -> bool {
    let quiet = state.outbox.is_empty() && state.queue.is_empty();
    let done = |job: &protocol::Job| job.ended() && job.told.len() == 1 && job.notices == 1 && !job.ordered;
    quiet && state.jobs.iter().all(done)
}

fn check(protocol: Protocol) -> Vec<&'static str> {
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    println!("{} states, {} different", checker.state_count(), checker.unique_state_count());
    for (name, path) in checker.discoveries() {
        println!("{name}:");
        path.into_actions().iter().for_each(|action| println!("  {action:?}"));
    }
    let mut found: Vec<&'static str> = checker.discoveries().into_keys().collect();
    found.sort_unstable();
    found
}

/// A large job of 2 lanes with 2 chunks each.
fn large() -> Protocol {
    Protocol {
        jobs: vec![(Shape::Large(2), Asked::OverHttp)],
        workers: 2,
        together: false,
        faults: Faults::default(),
        due_work: false,
        attempts: 2,
        broken: None,
    }
}

/// A small job that comes by message.
fn small() -> Protocol {
    Protocol { jobs: vec![(Shape::Small, Asked::ByMessage)], ..large() }
}

fn holds(protocol: Protocol) {
    assert_eq!(check(protocol), [""; 0]);
}

#[test]
fn crashes_and_duplicates_need_no_due_work() {
    let faults = Faults { crashes: 2, duplicates: 1, ..Faults::default() };
    holds(Protocol { faults, ..large() });
    let faults = Faults { disconnects: 1, duplicates: 1, revocations: 1, ..Faults::default() };
    holds(Protocol { faults, ..large() });
}

#[test]
fn a_relay_that_dies_sends_again() {
    let faults = Faults { relay_crashes: 1, ..Faults::default() };
    holds(Protocol { faults, ..large() });
    let faults = Faults { relay_crashes: 1, crashes: 1, ..Faults::default() };
    holds(Protocol { faults, jobs: vec![(Shape::Small, Asked::OverHttp); 2], ..large() });
}

#[test]
fn an_answer_that_is_lost_after_the_commit_needs_no_due_work() {
    let faults = Faults { crashes: 1, unknown: 2, ..Faults::default() };
    holds(Protocol { faults, ..large() });
}

/// Faults that only due work repairs: a message that was lost, and a message whose second delivery was acknowledged
/// because another worker had the first, before that worker died.
#[test]
fn due_work_finds_what_was_lost() {
    let faults = Faults { crashes: 1, disconnects: 1, losses: 1, ..Faults::default() };
    holds(Protocol { faults, due_work: true, ..large() });
    let without = Faults { losses: 0, ..faults };
    assert_eq!(check(Protocol { faults: without, ..large() }), [LOSES_NOTHING]);
}

#[test]
fn failures_are_tried_again_and_end_the_job_when_they_are_too_many() {
    let faults = Faults { failures: 3, crashes: 1, ..Faults::default() };
    holds(Protocol { faults, due_work: true, ..large() });
}

#[test]
fn jobs_beside_each_other_have_their_effect_once() {
    let faults =
        Faults { crashes: 1, duplicates: 1, revocations: 1, losses: 1, failures: 1, ..Faults::default() };
    let jobs = vec![(Shape::Small, Asked::ByMessage), (Shape::Small, Asked::OverHttp)];
    holds(Protocol { jobs, faults, due_work: true, ..large() });
    let faults = Faults { crashes: 1, duplicates: 1, ..Faults::default() };
    let jobs = vec![(Shape::Large(1), Asked::ByMessage), (Shape::Small, Asked::OverHttp)];
    holds(Protocol { jobs, faults, ..large() });
}

/// A cancel is one transaction, so what is sent again or comes late finds that the job has ended.
#[test]
fn a_cancelled_job_ends_once_and_is_told_once() {
    let faults = Faults { cancels: 1, crashes: 1, ..Faults::default() };
    holds(Protocol { faults, ..large() });
    let faults = Faults { cancels: 1, failures: 1, losses: 1, ..Faults::default() };
    holds(Protocol { faults, due_work: true, ..large() });
    holds(Protocol { faults, due_work: true, jobs: vec![(Shape::Small, Asked::OverHttp)], ..large() });
    let faults = Faults { cancels: 1, crashes: 1, duplicates: 1, ..Faults::default() };
    holds(Protocol { faults, due_work: true, ..small() });
}

/// Two small jobs, which are begun together if both messages are there.
fn together() -> Protocol {
    let jobs = vec![(Shape::Small, Asked::ByMessage), (Shape::Small, Asked::OverHttp)];
    Protocol { jobs, together: true, ..large() }
}

#[test]
fn jobs_begun_together_lose_nothing_and_double_nothing() {
    let faults = Faults { crashes: 1, duplicates: 1, disconnects: 1, unknown: 1, ..Faults::default() };
    holds(Protocol { faults, ..together() });
    let faults = Faults { failures: 2, crashes: 1, duplicates: 1, revocations: 1, ..Faults::default() };
    holds(Protocol { faults, due_work: true, ..together() });
}

/// Searches depth first and marks the states of the current path. An edge to a marked state would be a cycle.
#[test]
fn every_path_ends() {
    let faults = Faults { crashes: 1, duplicates: 1, ..Faults::default() };
    let with_due_work = Faults { failures: 2, losses: 1, ..Faults::default() };
    for protocol in
        [Protocol { faults, ..large() }, Protocol { faults: with_due_work, due_work: true, ..large() }]
    {
        let hasher = RandomState::new();
        let mut on_path: HashMap<u64, bool> = HashMap::new();
        let mut stack: Vec<(u64, Vec<State>)> = Vec::new();
        let mut next = protocol.init_states();
        loop {
            while let Some(state) = next.pop() {
                let key = hasher.hash_one(&state);
                match on_path.get(&key) {
                    Some(true) => panic!("a cycle through {state:#?}"),
                    Some(false) => {}
                    None => {
                        on_path.insert(key, true);
                        stack.push((key, std::mem::replace(&mut next, protocol.next_states(&state))));
                    }
                }
            }
            let Some((key, rest)) = stack.pop() else { break };
            on_path.insert(key, false);
            next = rest;
        }
        println!("{} states, no cycle", on_path.len());
    }
}

/// Each mistake must be found, by the property that it breaks.
#[test]
fn every_broken_protocol_is_caught() {
    let crash = Faults { crashes: 1, ..Faults::default() };
    let relay_crash = Faults { relay_crashes: 1, ..Faults::default() };
    let cancel = Faults { cancels: 1, ..Faults::default() };
    let cases = [
        (Broken::AcksBeforeCommit, Protocol { faults: crash, ..large() }, LOSES_NOTHING),
        (
            Broken::NoLedger,
            Protocol { faults: Faults { duplicates: 1, revocations: 1, ..Faults::default() }, ..small() },
            GRANTS_ONCE,
        ),
        (
            Broken::EventOutsideTheTransaction,
            Protocol { faults: crash, due_work: true, ..small() },
            LOSES_NOTHING,
        ),
        (Broken::TwoLanesFinishTheJob, large(), ENDS_ONCE),
        // Due work makes the notice, but the event is never sent, so nobody else learns of the end.
        (
            Broken::RelayDeletesBeforeTheConfirm,
            Protocol { faults: relay_crash, due_work: true, ..small() },
            LOSES_NOTHING,
        ),
        (Broken::AcknowledgesOverUnfinished, Protocol { faults: crash, ..together() }, LOSES_NOTHING),
        (
            Broken::ReportsABadJobAsDone,
            Protocol { faults: Faults { failures: 1, ..Faults::default() }, due_work: true, ..together() },
            LOSES_NOTHING,
        ),
        (
            Broken::RetriesAChunkBlindly,
            Protocol { faults: Faults { unknown: 1, ..Faults::default() }, ..large() },
            LOSES_NOTHING,
        ),
        (
            Broken::CancelForgetsTheEvent,
            Protocol { faults: cancel, due_work: true, ..large() },
            LOSES_NOTHING,
        ),
        (Broken::ForgetsAnEarlyCancel, Protocol { faults: cancel, due_work: true, ..small() }, LOSES_NOTHING),
        (
            Broken::BeginsACancelledJob,
            Protocol { faults: cancel, jobs: vec![(Shape::Small, Asked::OverHttp)], ..large() },
            ENDS_ONCE,
        ),
        (Broken::ChunkIgnoresACancel, Protocol { faults: cancel, ..large() }, COUNTS),
    ];
    for (broken, protocol, promise) in cases {
        println!("{broken:?}");
        holds(protocol.clone());
        let found = check(Protocol { broken: Some(broken), ..protocol });
        assert!(found.contains(&promise), "{broken:?} breaks {found:?}");
    }
}
