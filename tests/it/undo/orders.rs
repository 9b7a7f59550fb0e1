//! How an undo is ordered, refused, repeated and replayed.

use batchshare::domain::event::EventKind;
use batchshare::domain::{EndedBy, FailReason, JobId, JobState, Permission};
use batchshare::store::{NotReplayed, NotUndone, Ordered, Publisher, Replayed, UndoOrder, UndoOrdered};

use super::desk::{Desk, order, taken};
use crate::on_both_stores;
use crate::world::*;
use Permission::View;

const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

fn refused(ordered: UndoOrdered) -> NotUndone {
    match ordered {
        UndoOrdered::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

fn accepted(ordered: UndoOrdered) -> JobId {
    match ordered {
        UndoOrdered::Accepted(job) => job.job_id,
        other => panic!("{other:?}"),
    }
}

impl Desk {
    async fn ordered(&self, undo: JobId, parent: JobId, by: i64) -> Ordered {
        let options = self.world.options.clone();
        self.world.store.order_undo(undo, parent, principal(by), None, options).await.expect("an answer")
    }

    /// The letter of the job's last attempt.
    async fn letter(&self, job: JobId) -> i64 {
        self.world
            .test
            .number(&format!(
                "SELECT MAX(id) FROM dead_letters WHERE job_id = '{job}' AND reason = 'attempts_exhausted'"
            ))
            .await
    }

    /// The job's only attempt at this step fails.
    async fn exhaust(&self, job: JobId) {
        let step =
            batchshare::contract::Step { job_id: job, run: self.world.job(job).await.run, lane: 0, turn: 0 };
        let turn = self
            .world
            .test
            .number(&format!(
                "SELECT turn FROM lanes l JOIN jobs j ON j.id = l.job WHERE j.job_id = '{job}' AND lane = 0"
            ))
            .await;
        let step = batchshare::contract::Step { turn: i32::try_from(turn).expect("a turn"), ..step };
        let failed =
            self.world.store.step_failed(step, b"a step".to_vec(), "a fault".to_owned(), Vec::new()).await;
        assert_eq!(failed.expect("recorded"), batchshare::store::Recorded::Exhausted);
        self.world.take_messages().await;
    }
}

on_both_stores! {
    async fn who_may_not_undo_a_job_is_told_that_there_is_none(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let job = desk.one(View).await;
        assert_eq!(desk.order_as(order(job, BRUNO)).await, UndoOrdered::UnknownJob);
        assert_eq!(desk.order(JobId::generate()).await, UndoOrdered::UnknownJob);
        assert_eq!(desk.ordered(JobId::generate(), job, BRUNO).await, Ordered::UnknownJob);
        assert_eq!(desk.has().await, 1);
    }

    async fn what_cannot_be_undone_is_refused_with_its_reason(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let large = share(101..=104, &[BRUNO]);
        desk.world.begin(&large).await;
        assert_eq!(refused(desk.order(large.job_id).await), NotUndone::NotEnded(JobState::Running));
        desk.world.drain().await;
        let nothing = desk.share_as(ANA, [999], vec![to(BRUNO, View)]).await;
        assert_eq!(refused(desk.order(nothing).await), NotUndone::Nothing);
        let undo = accepted(desk.order(large.job_id).await);
        assert_eq!(refused(desk.order(undo).await), NotUndone::NotUndoable);
        assert_eq!(refused(desk.order(large.job_id).await), NotUndone::Already(undo));
        desk.world.drain().await;
        assert_eq!(refused(desk.order(undo).await), NotUndone::NotUndoable);
        assert_eq!(refused(desk.order(large.job_id).await), NotUndone::Already(undo));
        assert_eq!(desk.world.job(large.job_id).await.undone_by, Some(undo));
    }

    async fn nothing_is_undone_before_the_claims_of_older_jobs_are_written(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (gave, _) = (desk.one(View).await, desk.one(View).await);
        desk.world.test.sql("UPDATE jobs SET ledger = false").await;
        assert_eq!(refused(desk.order(gave).await), NotUndone::NotReady);
        assert_eq!(desk.ordered(JobId::generate(), gave, ANA).await, Ordered::NotReady);
        desk.world.test.sql("UPDATE jobs SET ledger = true").await;
        accepted(desk.order(gave).await);
    }

    async fn the_same_key_is_the_same_undo(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (one, other) = (desk.one(View).await, desk.share_as(ANA, [102], vec![to(BRUNO, View)]).await);
        let with_key = |parent| UndoOrder { idempotency_key: Some("a key".to_owned()), ..order(parent, ANA) };
        let undo = accepted(desk.order_as(with_key(one)).await);
        for _ in 0..2 {
            match desk.order_as(with_key(one)).await {
                UndoOrdered::Repeated(job) => assert_eq!(job.job_id, undo),
                other => panic!("{other:?}"),
            }
            assert_eq!(desk.order_as(with_key(other)).await, UndoOrdered::KeyConflict);
            desk.world.drain().await;
        }
        assert_eq!(desk.world.job(undo).await.taken, taken(1, 0, 0, 0));
    }

    async fn of_two_undos_at_once_one_is_made(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = desk.share_as(ANA, 101..=104, vec![to(BRUNO, View)]).await;
        let ordered = tokio::join!(desk.order(job), desk.order(job), desk.order(job));
        let all = [ordered.0, ordered.1, ordered.2];
        let made: Vec<_> = all.iter().filter(|o| matches!(o, UndoOrdered::Accepted(_))).collect();
        let told: Vec<_> = all.iter().filter(|o| matches!(o, UndoOrdered::Refused(NotUndone::Already(_)))).collect();
        assert_eq!((made.len(), told.len()), (1, 2), "{all:?}");
        desk.world.drain().await;
        assert_eq!(desk.world.test.number("SELECT COUNT(*) FROM jobs WHERE kind = 'undo'").await, 1);
        assert_eq!(desk.grants().await, 0);
    }

    async fn an_undo_does_not_count_against_the_unfinished_jobs(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let job = desk.one(View).await;
        accepted(desk.order(job).await);
        let asked = batchshare::store::Submission {
            request: share([105], &[BRUNO]).request,
            idempotency_key: None,
            traceparent: None,
        };
        let limits = desk.world.options.limits;
        let submitted = desk.world.store.submit(asked, limits, 1).await.expect("an answer");
        assert!(matches!(submitted, batchshare::store::Submitted::Accepted(_)), "{submitted:?}");
    }

    async fn an_order_by_message_that_comes_twice_is_one_undo(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = desk.share_as(ANA, 101..=104, vec![to(BRUNO, View)]).await;
        let undo = JobId::generate();
        for _ in 0..2 {
            assert_eq!(desk.ordered(undo, job, ANA).await, Ordered::Done);
        }
        let events: Vec<_> = desk.world.drain().await.into_iter().map(|(kind, event)| (kind, event["type"].to_string())).collect();
        let ends: Vec<_> = events.iter().filter(|(kind, _)| kind.is_terminal()).collect();
        assert_eq!(ends, [&(EventKind::Completed, "\"batchshare.undo.completed.v1\"".to_owned())]);
        assert_eq!(desk.ordered(undo, job, ANA).await, Ordered::Done);
        assert_eq!(desk.world.job(undo).await.taken, taken(4, 0, 0, 0));
        // The id of another job.
        let other = desk.share_as(ANA, [102], vec![to(BRUNO, View)]).await;
        assert_eq!(desk.ordered(undo, other, ANA).await, Ordered::Conflict);
        assert_eq!(desk.ordered(other, other, ANA).await, Ordered::Conflict);
    }

    async fn an_order_by_message_that_is_refused_is_a_failed_undo(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let running = share(101..=104, &[BRUNO]);
        desk.world.begin(&running).await;
        let nothing = share([999], &[BRUNO]);
        desk.world.begin(&nothing).await;
        let undone = desk.one(View).await;
        let by_message = JobId::generate();
        let reason = async |parent, expected| {
            let undo = JobId::generate();
            for _ in 0..2 {
                assert_eq!(desk.ordered(undo, parent, ANA).await, Ordered::Done);
            }
            let ended = desk.world.job(undo).await;
            assert_eq!((ended.state, ended.reason, ended.parent), (JobState::Failed, Some(expected), Some(parent)));
            let events = desk.world.take_messages().await;
            let failed = events.iter().filter(|row| row.message_id.len() == 36 && row.body.windows(21).any(|w| w == b"batchshare.undo.faile"));
            assert_eq!(failed.count(), 1);
        };
        desk.world.drain().await;
        let again = share(105..=108, &[BRUNO]);
        desk.world.begin(&again).await;
        desk.world.take_messages().await;
        reason(again.job_id, FailReason::JobNotEnded).await;
        reason(nothing.job_id, FailReason::NothingToUndo).await;
        assert_eq!(desk.ordered(by_message, undone, ANA).await, Ordered::Done);
        desk.world.take_messages().await;
        reason(undone, FailReason::AlreadyUndone).await;
        reason(by_message, FailReason::NotUndoable).await;
        assert_eq!(desk.world.job(undone).await.undone_by, Some(by_message));
    }

    async fn an_undo_of_a_job_that_failed_on_the_way_takes_what_it_gave(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = share(101..=108, &[BRUNO]);
        desk.world.begin(&job).await;
        let messages = desk.world.take_messages().await;
        let first = messages.iter().find(|row| row.kind == batchshare::store::MessageKind::Step).expect("a step");
        desk.world.step(&batchshare::contract::decode_step(&first.body).expect("a step")).await;
        desk.exhaust(job.job_id).await;
        assert_eq!(desk.grants().await, 2);
        let letter = desk.letter(job.job_id).await;
        assert_eq!(desk.undone(job.job_id).await, taken(2, 0, 0, 6));
        // What is undone is not gone on with.
        let replayed = desk.world.store.replay_letter(letter, HOUR, Publisher::AsItIs).await.expect("an answer");
        assert_eq!(replayed, Replayed::Refused(NotReplayed::Undone(job.job_id)));
    }

    async fn an_undo_of_a_second_run_takes_what_both_runs_gave(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = share(101..=108, &[BRUNO]);
        desk.world.begin(&job).await;
        let messages = desk.world.take_messages().await;
        let first = messages.iter().find(|row| row.kind == batchshare::store::MessageKind::Step).expect("a step");
        desk.world.step(&batchshare::contract::decode_step(&first.body).expect("a step")).await;
        desk.exhaust(job.job_id).await;
        let letter = desk.letter(job.job_id).await;
        let replayed = desk.world.store.replay_letter(letter, HOUR, Publisher::AsItIs).await.expect("an answer");
        assert_eq!(replayed, Replayed::Reopened { job: job.job_id, run: 2 });
        assert_eq!(refused(desk.order(job.job_id).await), NotUndone::NotEnded(JobState::Running));
        desk.world.drain().await;
        assert_eq!(desk.undone(job.job_id).await, taken(8, 0, 0, 0));
    }

    async fn a_failed_undo_is_asked_for_anew_and_not_replayed(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = desk.share_as(ANA, 101..=108, vec![to(BRUNO, View)]).await;
        let first = accepted(desk.order(job).await);
        let messages = desk.world.take_messages().await;
        let step = messages.iter().find(|row| row.kind == batchshare::store::MessageKind::Step).expect("a step");
        desk.world.step(&batchshare::contract::decode_step(&step.body).expect("a step")).await;
        desk.exhaust(first).await;
        let failed = desk.world.job(first).await;
        assert_eq!((failed.state, failed.taken), (JobState::Failed, taken(2, 0, 0, 0)));
        let letter = desk.letter(first).await;
        let refused = Replayed::Refused(NotReplayed::UndoAnew { job: first, parent: job });
        let replay = async || desk.world.store.replay_letter(letter, HOUR, Publisher::AsItIs).await.expect("an answer");
        assert_eq!(replay().await, refused);
        // What the failed undo had passed may have been given anew. A second undo begins at the first pair.
        assert_eq!(desk.undone(job).await, taken(6, 0, 0, 2));
        assert_eq!(replay().await, refused);
        assert_eq!(desk.grants().await, 0);
    }

    async fn an_undo_counts_though_a_later_one_was_cancelled(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (gave, claims) = (desk.one(View).await, desk.one(View).await);
        let first = accepted(desk.order(claims).await);
        desk.world.drain().await;
        // As if pairs of the first undo had been rejected, so that a second one may follow.
        let sql = format!("UPDATE jobs SET state = 'completed_with_rejections' WHERE job_id = '{first}'");
        desk.world.test.sql(&sql).await;
        let second = accepted(desk.order(claims).await);
        desk.world.store.cancel(second, EndedBy::Operator).await.expect("cancelled");
        assert_eq!(desk.undone(gave).await, taken(1, 0, 0, 0), "the first undo has withdrawn the claim");
    }

    async fn what_a_cancelled_job_gave_is_undone(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = share(101..=108, &[BRUNO]);
        desk.world.begin(&job).await;
        let messages = desk.world.take_messages().await;
        let first = messages.iter().find(|row| row.kind == batchshare::store::MessageKind::Step).expect("a step");
        desk.world.step(&batchshare::contract::decode_step(&first.body).expect("a step")).await;
        desk.world.store.cancel(job.job_id, EndedBy::Person(principal(ANA))).await.expect("cancelled");
        assert_eq!(desk.undone(job.job_id).await, taken(2, 0, 0, 6));
    }

    async fn a_cancelled_undo_keeps_what_it_took_and_another_follows(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = desk.share_as(ANA, 101..=108, vec![to(BRUNO, View)]).await;
        let undo = accepted(desk.order(job).await);
        let messages = desk.world.take_messages().await;
        let first = messages.iter().find(|row| row.kind == batchshare::store::MessageKind::Step).expect("a step");
        desk.world.step(&batchshare::contract::decode_step(&first.body).expect("a step")).await;
        desk.world.store.cancel(undo, EndedBy::Operator).await.expect("cancelled");
        let ended = desk.world.job(undo).await;
        assert_eq!((ended.state, ended.taken), (JobState::Cancelled, taken(2, 0, 0, 0)));
        let messages = desk.world.take_messages().await;
        assert!(messages.iter().any(|row| String::from_utf8_lossy(&row.body).contains("batchshare.undo.cancelled.v1")));
        assert_eq!(desk.undone(job).await, taken(6, 0, 0, 2));
    }

    async fn a_claim_counts_again_when_the_undo_of_its_job_failed(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (gave, claims) = (desk.one(View).await, desk.one(View).await);
        let undo = accepted(desk.order(claims).await);
        desk.world.take_messages().await;
        desk.exhaust(undo).await;
        assert_eq!(desk.undone(gave).await, taken(0, 0, 1, 0));
        assert_eq!(desk.has().await, 1);
        assert_eq!(desk.undone(claims).await, taken(1, 0, 0, 0));
    }
}
