//! Every call to database and broker fails once, before or after it took effect: the result is the
//! same each time.
//!
//! One small program does the work of all roles, step by step: so that the n-th call is the same in
//! every run. A scenario (a small job over HTTP, one that is cancelled before it begins, two more that meet and come
//! together with the first, a large one by a message that comes twice, a poison message, an order about a job that never
//! comes) runs for n = 1, 2, 3 … until there are fewer calls than n. Nothing waits for luck: what is at the broker is
//! counted, so a message that is missing fails the test.

#![allow(clippy::print_stdout, reason = "how many calls there were is read with --nocapture")]

mod injector;
mod program;
mod rest;
mod undo;
mod unshare;

use std::sync::Arc;
use std::time::Duration;

use batchshare::broker::{Broker, Embedded, Queue};

use crate::on_both_stores;
use crate::support::{Kind, TestDb};
use injector::{How, Injector};
use program::Program;

/// Runs the scenario with a fault at the first call, the second, and so on.
async fn at_every_call(kind: Kind, how: How, due_work: bool, twice: bool) {
    let mut program = Program::new(kind, due_work, twice).await;
    let mut at = 1;
    while program.run(at, how).await {
        at += 1;
    }
    println!("{how:?} on {kind:?}: {} calls", at - 1);
    assert!(at > 30, "the scenario has more calls than {at}");
    if how == How::Outage {
        // Where its acknowledgement failed, and for no failure of what came with it.
        assert!(program.buried_again <= 1, "poison was buried again in {} runs", program.buried_again);
    }
}

/// Undoes with a fault at the first call, the second, and so on.
async fn undo_at_every_call(kind: Kind, how: How, due_work: bool, twice: bool) {
    let mut program = Program::new(kind, due_work, twice).await;
    let mut at = 1;
    while program.undo(at, how).await {
        at += 1;
    }
    println!("undo, {how:?} on {kind:?}: {} calls", at - 1);
    assert!(at > 20, "the scenario has more calls than {at}");
}

/// Takes access away with a fault at the first call, the second, and so on.
async fn unshare_at_every_call(kind: Kind, how: How, due_work: bool, twice: bool) {
    let mut program = Program::new(kind, due_work, twice).await;
    let mut at = 1;
    while program.unshare(at, how).await {
        at += 1;
    }
    println!("unshare, {how:?} on {kind:?}: {} calls", at - 1);
    assert!(at > 20, "the scenario has more calls than {at}");
}

/// Shares what a share rejected with a fault at the first call, the second, and so on.
async fn rest_at_every_call(kind: Kind, how: How, due_work: bool, twice: bool) {
    let mut program = Program::new(kind, due_work, twice).await;
    let mut at = 1;
    while program.rest(at, how).await {
        at += 1;
    }
    println!("rest, {how:?} on {kind:?}: {} calls", at - 1);
    assert!(at > 15, "the scenario has more calls than {at}");
}

/// The embedded broker's own calls: what a consumer took without knowing it goes back with it, and not
/// when its lease of a minute ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_taken_without_an_answer_comes_again_at_once() {
    let test = TestDb::new(Kind::Sqlite).await;
    let injector = Arc::new(Injector::default());
    let broker = Broker::new(Embedded::new(test.db.with_hook(injector.clone())));
    for answer in broker.publish(&[crate::broker::to(Queue::Steps, "one")]).await {
        answer.expect("published");
    }
    // The first call reads, the second takes.
    injector.plan(2, How::AnswerLost);
    let mut consumer = broker.consume(Queue::Steps, 1).await.expect("a consumer");
    consumer.next().await.expect_err("nobody knows what it took");
    drop(consumer);
    let mut consumer = broker.consume(Queue::Steps, 1).await.expect("a consumer");
    let taken = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await;
    assert_eq!(taken.expect("it is there").expect("a message").message_id.as_deref(), Some("one"));
}

on_both_stores! {
    async fn an_outage_at_any_call_counts_no_attempt_and_changes_no_result(kind: Kind) {
        at_every_call(kind, How::Outage, false, false).await;
    }

    async fn an_answer_lost_after_any_call_changes_no_result(kind: Kind) {
        at_every_call(kind, How::AnswerLost, false, false).await;
    }

    async fn a_failure_that_passes_at_any_call_is_tried_again_in_place(kind: Kind) {
        at_every_call(kind, How::Transient { calls: 1 }, false, false).await;
    }

    async fn a_failure_that_stays_at_any_call_is_recorded_and_tried_again(kind: Kind) {
        at_every_call(kind, How::Transient { calls: 3 }, true, false).await;
        // Small jobs are tried together first.
        at_every_call(kind, How::Transient { calls: 4 }, true, false).await;
    }

    async fn every_step_runs_twice_and_has_one_effect(kind: Kind) {
        at_every_call(kind, How::AnswerLost, false, true).await;
    }

    async fn an_undo_stands_an_outage_at_any_call(kind: Kind) {
        undo_at_every_call(kind, How::Outage, false, false).await;
    }

    async fn an_undo_stands_an_answer_lost_after_any_call(kind: Kind) {
        undo_at_every_call(kind, How::AnswerLost, false, false).await;
    }

    async fn an_undo_stands_a_failure_that_passes_or_stays_at_any_call(kind: Kind) {
        undo_at_every_call(kind, How::Transient { calls: 1 }, false, false).await;
        undo_at_every_call(kind, How::Transient { calls: 3 }, true, false).await;
    }

    async fn every_step_of_an_undo_runs_twice_and_has_one_effect(kind: Kind) {
        undo_at_every_call(kind, How::AnswerLost, false, true).await;
    }

    async fn an_unshare_with_a_fault_at_any_call_takes_what_one_without_takes(kind: Kind) {
        unshare_at_every_call(kind, How::Outage, false, false).await;
        unshare_at_every_call(kind, How::AnswerLost, false, false).await;
        unshare_at_every_call(kind, How::Transient { calls: 3 }, true, false).await;
    }

    async fn a_rest_with_a_fault_at_any_call_shares_what_one_without_shares(kind: Kind) {
        rest_at_every_call(kind, How::Outage, false, false).await;
        rest_at_every_call(kind, How::AnswerLost, false, false).await;
        rest_at_every_call(kind, How::Transient { calls: 3 }, true, false).await;
    }

    async fn every_step_of_a_rest_runs_twice_and_has_one_effect(kind: Kind) {
        rest_at_every_call(kind, How::AnswerLost, false, true).await;
    }

    async fn every_step_of_an_unshare_runs_twice_and_has_one_effect(kind: Kind) {
        unshare_at_every_call(kind, How::AnswerLost, false, true).await;
    }
}
