//! Control with one mistake at a time: each is found, by the property that it breaks.

use super::world::*;
use super::*;

const NOTHING: Budget =
    Budget { undos: 0, cancels: 0, failures: 0, replays: 0, deletes: 0, lowerings: 0, rights: 0 };

/// The right protocol holds, and the broken one breaks the property.
fn is_caught(broken: Broken, control: Control, promise: &'static str) {
    println!("{broken:?}");
    holds(control.clone());
    let found = check(Control { broken: Some(broken), ..control });
    assert!(found.contains(&promise), "{broken:?} breaks {found:?}");
}

#[test]
fn a_broken_cancel_is_caught() {
    let cancel = Budget { cancels: 1, ..NOTHING };
    let running = || Control { done: 0, ..mixed(vec![view(&[0])], 2, cancel) };
    is_caught(Broken::CancelLocksLanesFirst, running(), NO_CIRCLE);
    is_caught(Broken::EndIgnoresCancel, running(), ENDS_ONCE);
    is_caught(Broken::EndIgnoresCancel, running(), NOTHING_AFTER_CANCEL);
    let queued = Control { jobs: vec![Ask { begun: false, ..view(&[0]) }], ..running() };
    is_caught(Broken::CancelForgetsQueued, queued, STAYS_CANCELLED);
}

#[test]
fn a_share_that_tells_what_is_not_so_is_caught() {
    let undo = Budget { undos: 1, ..NOTHING };
    let again = || mixed(vec![view(&[0]), view(&[0])], 2, undo);
    is_caught(Broken::TellsWithoutTheSecret, again(), KEPT);
    is_caught(Broken::LocksInTheStatementThatReads, again(), KEPT);
    is_caught(Broken::WaitsForSecretsWithRowsLocked, again(), NO_CIRCLE);
    is_caught(Broken::ClaimHasTheTimeOfGrants, Control { done: 0, ..again() }, KEPT);
    let unshare = || mixed(vec![view(&[0]), view(&[0]), job(Kind::Unshare(Level::View), &[0])], 2, NOTHING);
    is_caught(Broken::UnshareDoesNotLock, unshare(), KEPT);
    is_caught(Broken::TellsWithoutTheSecret, unshare(), KEPT);
}

#[test]
fn what_was_taken_by_hand_and_comes_back_is_caught() {
    let three = || vec![edit(&[0]), edit(&[0]), edit(&[0])];
    let lowered = Budget { undos: 1, lowerings: 1, ..NOTHING };
    is_caught(Broken::ClaimOfEditSurvivesLowering, in_turn(three(), lowered), BY_HAND);
    is_caught(Broken::UndoRaises, in_turn(three(), lowered), BY_HAND);
    is_caught(Broken::UpgradeHasTheTimeOfGrants, mixed(three(), 2, lowered), BY_HAND);
    let deleted = Budget { undos: 1, deletes: 1, ..NOTHING };
    is_caught(
        Broken::TakingLeavesClaims,
        mixed(vec![view(&[0]), view(&[0]), view(&[0])], 2, deleted),
        BY_HAND,
    );
    let lowered = in_turn(vec![view(&[0]), edit(&[0])], Budget { undos: 1, lowerings: 1, ..NOTHING });
    is_caught(Broken::LoweringForgetsTheEdit, lowered, KEPT);
}

#[test]
fn a_broken_undo_is_caught() {
    let undo = Budget { undos: 1, ..NOTHING };
    let two = || vec![view(&[0]), view(&[0])];
    is_caught(Broken::UndoForgetsClaims, in_turn(two(), undo), KEPT);
    is_caught(Broken::UndoComparesJobs, in_turn(two(), undo), KEPT);
    is_caught(Broken::HandsToUndone, in_turn(two(), Budget { undos: 2, ..NOTHING }), TAKEN);
    is_caught(Broken::UndoReadsBeforeItLocks, mixed(two(), 2, undo), KEPT);
    is_caught(Broken::UndoDoesNotLockRows, mixed(vec![view(&[0]), edit(&[0])], 2, undo), KEPT);
    let chunks = mixed(vec![view(&[0, 1]), edit(&[0, 1])], 2, undo);
    is_caught(Broken::UndoLocksRowsInAnyOrder, chunks, NO_CIRCLE);
    let twice = Budget { undos: 2, ..NOTHING };
    let statements = Control { set_based: true, ..mixed(vec![view(&[0]), edit(&[0])], 2, twice) };
    is_caught(Broken::UndoLowersBeforeItDeletes, statements, TAKEN);
    let statements = Control { set_based: true, ..mixed(two(), 2, twice) };
    is_caught(Broken::UndoReadsClaimsTwice, statements, TAKEN);
}

#[test]
fn undos_and_replays_beside_each_other_are_caught() {
    is_caught(Broken::TwoUndos, mixed(vec![view(&[0])], 2, Budget { undos: 2, ..NOTHING }), ONE_UNDO);
    let replay = Budget { undos: 1, failures: 1, replays: 1, ..NOTHING };
    let failing = || Control { done: 0, ..mixed(vec![view(&[0])], 2, replay) };
    is_caught(Broken::UndoBesideReplay, failing(), NOT_REOPENED);
    is_caught(Broken::ReplayOfAnUndoneJob, failing(), NOT_REOPENED);
    let twice = Budget { undos: 2, failures: 1, replays: 1, ..NOTHING };
    is_caught(Broken::ReplayOfAnUndoBesideASecond, mixed(vec![view(&[0])], 2, twice), ONE_UNDO);
    let jobs = || vec![view(&[0, 1]), lanes(Kind::Share(Level::View), &[0, 1])];
    is_caught(Broken::ReplayedUndoGoesOn, in_turn(jobs(), twice), TAKEN);
    let rejected = Budget { undos: 3, cancels: 1, rights: 1, ..NOTHING };
    let rejected = Control { rights: Some(0), ..in_turn(jobs(), rejected) };
    is_caught(Broken::OnlyTheLatestUndoCounts, rejected, TAKEN);
}
