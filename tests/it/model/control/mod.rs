//! A model of control over a batch (`stateright`): cancel, undo, unshare, claims and replay, in every order of their
//! transactions, statement by statement.
//!
//! The model of delivery shows that each transaction of a job takes effect once, whatever dies and whatever is sent
//! again. So nothing dies here and no message is lost: a transaction that is open when its process dies leaves
//! nothing, and it is the same as one that was not begun. What is here is what that model does not have: the locks that
//! each statement waits for, and what a statement sees under READ COMMITTED.
//!
//! The checker keeps a history of wishes: what each job asked for and was told to be there, without what somebody
//! took away afterwards. What a pair should have is read from it, pair by pair, and not from rows, claims or times. If
//! an undo of a job failed or was cancelled, its part may be taken back or not, so both are right.

mod broken;
mod rules;
mod steps;
mod world;

use rules::gives;
use stateright::{Checker as _, Model as _, Property};
use world::*;

const KEPT: &str = "nobody loses what a job that stands asked for";
const TAKEN: &str = "what only undone jobs asked for is gone";
const BY_HAND: &str = "what was asked before somebody took it away gives nothing";
const NOTHING_AFTER_CANCEL: &str = "no grant of a cancelled job is newer than its end";
const ENDS_ONCE: &str = "a run ends once";
const STAYS_CANCELLED: &str = "a job that is told to be cancelled does nothing more";
const NO_CIRCLE: &str = "no transactions wait in a circle";
const ONE_UNDO: &str = "one undo of a job at a time";
const NOT_REOPENED: &str = "no job runs that is undone";
const ENDS: &str = "when nothing can happen any more, every job has ended";

fn properties() -> Vec<Property<Control>> {
    vec![
        Property::always(KEPT, |_, state: &State| {
            !quiet(state) || state.pairs.iter().all(|pair| gives(pair.row) >= most(state, pair, LEFT, STANDS))
        }),
        Property::always(TAKEN, |_, state: &State| {
            !quiet(state)
                || state.pairs.iter().all(|pair| gives(pair.row) <= most(state, pair, ASKED, NOT_UNDONE))
        }),
        Property::always(BY_HAND, |_, state: &State| {
            let within = |pair: &Pair| gives(pair.row) <= most(state, pair, LEFT, NOT_UNDONE);
            !quiet(state) || state.pairs.iter().all(within)
        }),
        Property::always(NOTHING_AFTER_CANCEL, |_, state: &State| {
            let rows = || state.pairs.iter().filter_map(|pair| pair.row);
            (0_u8..).zip(&state.jobs).filter_map(|(id, job)| Some((id, job.finished_at?))).all(|(id, end)| {
                rows().all(|row| {
                    (row.view != Some(id) || row.granted_at <= end)
                        && (row.edit != Some(id) || row.edit_at.unwrap_or(row.granted_at) <= end)
                })
            })
        }),
        Property::always(ENDS_ONCE, |_, state: &State| state.jobs.iter().all(|job| job.ends <= 1)),
        Property::always(STAYS_CANCELLED, |_, state: &State| {
            let stays =
                |job: &Job| job.state == JobState::Cancelled && !job.lanes.iter().any(|lane| lane.open);
            state.jobs.iter().all(|job| !job.told_cancelled || stays(job))
        }),
        Property::always(NO_CIRCLE, |control: &Control, state: &State| !has_circle(control, state)),
        Property::always(ONE_UNDO, |_, state: &State| {
            (0_u8..).take(state.jobs.len()).all(|parent| {
                let undos = || state.jobs.iter().filter(|undo| undo.undoes(parent));
                let runs = undos().filter(|undo| !undo.ended()).count();
                let done = undos().any(|undo| undo.state == JobState::Completed && !undo.rejected);
                runs + usize::from(done) <= 1
            })
        }),
        Property::always(NOT_REOPENED, |control: &Control, state: &State| {
            (0_u8..).zip(&state.jobs).all(|(id, job)| job.ended() || !control.is_undone(state, id))
        }),
        Property::always(ENDS, |control: &Control, state: &State| {
            let ended = state.txs.is_empty() && state.jobs.iter().all(Job::ended);
            ended || {
                let mut actions = Vec::new();
                control.actions(state, &mut actions);
                !actions.is_empty()
            }
        }),
    ]
}

/// Whether nothing is open that takes away, so that each pair has what it should have. Shares may still run: what
/// they were told is a wish, and the rest is not there yet.
fn quiet(state: &State) -> bool {
    let undoes = |job: &Job| matches!(job.kind, Kind::Undo(_));
    state.txs.is_empty() && state.jobs.iter().all(|job| job.ended() || !undoes(job))
}

/// What is left of a wish, and what was asked in the first place.
const LEFT: fn(&Wish) -> Option<Level> = |wish| wish.left;
const ASKED: fn(&Wish) -> Option<Level> = |wish| Some(wish.asked);

/// The most that a pair has by the wishes that count.
fn most(
    state: &State,
    pair: &Pair,
    what: fn(&Wish) -> Option<Level>,
    counts: impl Fn(&State, &Wish) -> bool,
) -> Option<Level> {
    pair.wishes.iter().filter(|wish| counts(state, wish)).filter_map(what).max()
}

/// Whether no undo of the wish's job has begun.
const STANDS: fn(&State, &Wish) -> bool = |state, wish| !state.jobs.iter().any(|undo| undo.undoes(wish.job));

/// Whether the wish may still have its effect, since no undo of its job had its whole effect on it.
const NOT_UNDONE: fn(&State, &Wish) -> bool = |state, wish| {
    let done = |undo: &Job| undo.undoes(wish.job) && undo.state == JobState::Completed;
    wish.rejected || !state.jobs.iter().any(done)
};

fn has_circle(control: &Control, state: &State) -> bool {
    if state.txs.len() < 2 {
        return false;
    }
    let waits: Vec<Vec<usize>> = (0..state.txs.len()).map(|tx| control.blockers(state, tx)).collect();
    let mut free = vec![false; waits.len()];
    // Whoever waits for nobody goes on, and frees those that wait only for such. Who is left waits in a circle.
    loop {
        let next = (0..waits.len()).find(|tx| !free[*tx] && waits[*tx].iter().all(|other| free[*other]));
        match next {
            Some(tx) => free[tx] = true,
            None => return free.contains(&false),
        }
    }
}

fn check(control: Control) -> Vec<&'static str> {
    let checker = control.checker().threads(2).spawn_bfs().join();
    println!("{} states, {} different", checker.state_count(), checker.unique_state_count());
    for (name, path) in checker.discoveries() {
        println!("{name}:");
        path.into_actions().iter().for_each(|action| println!("  {action:?}"));
    }
    let mut found: Vec<&'static str> = checker.discoveries().into_keys().collect();
    found.sort_unstable();
    found
}

fn holds(control: Control) {
    assert_eq!(check(control), [""; 0]);
}

/// A job that runs, with one lane of one chunk.
fn job(kind: Kind, pairs: &[u8]) -> Ask {
    Ask { kind, lanes: vec![vec![pairs.to_vec()]], begun: true }
}

fn view(pairs: &[u8]) -> Ask {
    job(Kind::Share(Level::View), pairs)
}

fn edit(pairs: &[u8]) -> Ask {
    job(Kind::Share(Level::Edit), pairs)
}

/// A job with a lane for each pair.
fn lanes(kind: Kind, pairs: &[u8]) -> Ask {
    Ask { kind, lanes: pairs.iter().map(|pair| vec![vec![*pair]]).collect(), begun: true }
}

/// Whole transactions, one after the other, in every order.
fn in_turn(jobs: Vec<Ask>, budget: Budget) -> Control {
    Control { jobs, done: 0, at_once: 1, budget, rights: None, set_based: false, broken: None }
}

/// The first of the jobs has ended, and the statements of the others are mixed.
fn mixed(jobs: Vec<Ask>, at_once: usize, budget: Budget) -> Control {
    Control { done: 1, at_once, ..in_turn(jobs, budget) }
}

#[test]
fn undo_commutes() {
    let budget = Budget { undos: 4, ..Budget::default() };
    holds(in_turn(vec![view(&[0]), edit(&[0]), view(&[0]), edit(&[0])], budget));
}

#[test]
fn undo_gives_nothing_back_that_was_taken_by_hand() {
    let budget = Budget { undos: 3, deletes: 1, lowerings: 1, ..Budget::default() };
    holds(in_turn(vec![view(&[0]), edit(&[0]), edit(&[0])], budget));
}

#[test]
fn undos_that_end_halfway_are_done_again() {
    let jobs = || vec![lanes(Kind::Share(Level::View), &[0, 1]), view(&[0])];
    let budget = Budget { undos: 3, cancels: 1, failures: 1, replays: 1, ..Budget::default() };
    holds(in_turn(jobs(), budget));
    let budget = Budget { undos: 3, cancels: 1, rights: 2, ..Budget::default() };
    holds(Control { rights: Some(0), ..in_turn(jobs(), budget) });
}

/// Undo, and taking away by hand, beside shares of the same pair: some repeat what is there, some give more.
#[test]
fn what_is_told_holds_while_others_take_away() {
    let by_hand = Budget { undos: 1, deletes: 1, ..Budget::default() };
    holds(mixed(vec![view(&[0]), view(&[0]), view(&[0])], 3, by_hand));
    let lowered = Budget { undos: 1, lowerings: 1, ..Budget::default() };
    holds(mixed(vec![edit(&[0]), edit(&[0]), edit(&[0])], 3, lowered));
    let undone = Budget { undos: 2, ..Budget::default() };
    let jobs = || vec![view(&[0]), edit(&[0]), edit(&[0])];
    holds(mixed(jobs(), 3, undone));
    holds(Control { set_based: true, ..mixed(jobs(), 2, undone) });
}

/// Chunks of two pairs, which lock their secrets and rows one after the other.
#[test]
fn chunks_beside_each_other_do_not_wait_in_a_circle() {
    let unshare = || job(Kind::Unshare(Level::Edit), &[0, 1]);
    let undo = Budget { undos: 1, ..Budget::default() };
    holds(mixed(vec![edit(&[0, 1]), edit(&[0, 1]), unshare()], 3, undo));
    holds(mixed(vec![view(&[0]), view(&[0, 1]), edit(&[0, 1])], 3, undo));
    holds(Control { set_based: true, ..mixed(vec![view(&[0, 1]), edit(&[0, 1]), unshare()], 3, undo) });
}

#[test]
fn a_cancel_beside_everything_ends_a_job_once() {
    let budget = Budget { cancels: 1, failures: 1, replays: 1, ..Budget::default() };
    let queued = Ask { lanes: vec![vec![vec![0], vec![1]], vec![vec![2]]], begun: false, ..view(&[]) };
    holds(Control { done: 0, ..mixed(vec![queued], 2, budget) });
    let budget = Budget { undos: 2, ..budget };
    holds(mixed(vec![view(&[0]), view(&[0])], 2, budget));
}
