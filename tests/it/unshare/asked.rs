//! How an unshare is asked for, delivered, retried, replayed, and kept from those who do not know it.

use batchshare::contract;
use batchshare::contract::{Asked, JobRequested, Step, StoredRequest};
use batchshare::domain::event::EventKind;
use batchshare::domain::{AllFilter, FailReason, JobId, JobKind, JobState, Limits, Selection, ShareRequest};
use batchshare::store::{
    Begun, NotUndone, Publisher, Recorded, Replayed, Submission, Submitted, UndoBy, UndoOrder, UndoOrdered,
    UnshareForeseen,
};

use super::desk::{all_of, edit_of, run, taken, unshare, unshare_as};
use crate::on_both_stores;
use crate::support::Kind;
use crate::world::*;
use batchshare::domain::Permission::{Edit, View};

const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

async fn submit(world: &World, request: ShareRequest, key: Option<&str>, most: i64) -> Submitted {
    let submission = Submission { request, idempotency_key: key.map(str::to_owned), traceparent: None };
    world.store.submit(submission, Limits::default(), most).await.expect("an answer")
}

fn accepted(submitted: Submitted) -> JobId {
    match submitted {
        Submitted::Accepted(job) => {
            assert_eq!((job.kind, job.state), (JobKind::Unshare, JobState::Queued));
            job.job_id
        }
        other => panic!("{other:?}"),
    }
}

/// The one request in the outbox.
async fn request_of(world: &World) -> JobRequested {
    let bodies: Vec<_> = world.take_messages().await.into_iter().map(|row| row.body).collect();
    assert_eq!(bodies.len(), 1);
    match contract::decode_asked(&bodies[0], usize::MAX).expect("a request") {
        Asked::Unshare(asked) => asked,
        other => panic!("{other:?}"),
    }
}

/// Bruno and eva have edit on ana's secrets 101 to 104.
async fn given(kind: Kind, chunk_pairs: u64) -> World {
    let world = World::with_chunks(kind, chunk_pairs).await;
    world.secrets(ANA, 101..=104).await;
    for secret in 101..=104 {
        for who in [BRUNO, EVA] {
            world.grant(secret, who, Edit).await;
        }
    }
    world
}

on_both_stores! {
    async fn what_is_asked_here_reaches_a_worker_as_a_message(kind: Kind) {
        let world = given(kind, 3).await;
        for (selection, secrets) in [
            (Selection::Ids(vec![secret(101), secret(102)]), 2),
            (Selection::All(AllFilter::default()), 4),
        ] {
            let asked = unshare_as(ANA, selection, vec![edit_of(BRUNO), all_of(EVA)]);
            let job = accepted(submit(&world, asked.request.clone(), None, 10).await);
            assert_eq!(world.job(job).await.pairs, Some(2 * secrets));
            let message = request_of(&world).await;
            assert_eq!((message.job_id, &message.request), (job, &asked.request));
            assert!(matches!(world.begin(&message).await, Begun::Started(_)));
            assert_eq!(world.begin(&message).await, Begun::AlreadyBegun);
            let events = world.drain().await;
            let types: Vec<_> = events.iter().map(|(_, event)| event["type"].as_str().expect("a type")).collect();
            assert_eq!((types[0], types[types.len() - 1]), ("batchshare.unshare.accepted.v1", "batchshare.unshare.completed.v1"));
            assert_eq!(events.iter().filter(|(kind, _)| kind.is_terminal()).count(), 1);
            assert_eq!(world.begin(&message).await, Begun::AlreadyBegun);
            assert_eq!(world.job(job).await.done(), 2 * secrets);
        }
        assert_eq!(world.grants().await, ["101/2 1", "102/2 1", "103/2 1", "104/2 1"]);
    }

    async fn a_small_unshare_has_one_lane(kind: Kind) {
        let world = given(kind, 10_000).await;
        let asked = unshare([101], vec![all_of(BRUNO)]);
        assert!(matches!(world.begin(&asked).await, Begun::Started(_)));
        assert_eq!(world.test.number("SELECT COUNT(*) FROM lanes").await, 1);
        let events = world.drain().await;
        assert_eq!(events.last().expect("an end").0, EventKind::Completed);
    }

    async fn an_unshare_comes_with_small_shares_and_does_not_hold_them_up(kind: Kind) {
        let world = given(kind, 10_000).await;
        let asked = vec![share([101], &[PAYMENTS]), unshare([101], vec![all_of(BRUNO)]), share([102], &[PAYMENTS])];
        let begun = world.store.begin(asked, world.options.clone()).await.expect("begun");
        let kinds: Vec<_> = begun.iter().map(|begun| matches!(begun, Some(Begun::Started(_)))).collect();
        assert_eq!(kinds, [false, true, false]);
        world.drain().await;
        assert_eq!(world.permission(101, BRUNO).await, 0);
    }

    async fn a_share_and_an_unshare_of_the_same_are_different_requests(kind: Kind) {
        let world = given(kind, 10_000).await;
        let asked = unshare([101], vec![all_of(BRUNO)]);
        run(&world, &asked).await;
        let as_share = JobRequested { request: share([101], &[BRUNO]).request, ..asked.clone() };
        assert_eq!(world.begin(&as_share).await, Begun::Conflict);
        let lower = JobRequested { request: unshare([101], vec![edit_of(BRUNO)]).request, ..asked };
        assert_eq!(world.begin(&lower).await, Begun::Conflict);
        let gave = share([101], &[BRUNO]);
        world.run(&gave).await;
        let as_unshare = JobRequested { job_id: gave.job_id, ..unshare([101], vec![all_of(BRUNO)]) };
        assert_eq!(world.begin(&as_unshare).await, Begun::Conflict);
        assert_eq!(world.permission(101, BRUNO).await, 1);
    }

    async fn the_same_key_is_the_same_unshare(kind: Kind) {
        let world = given(kind, 10_000).await;
        let request = unshare([101], vec![all_of(BRUNO)]).request;
        let job = accepted(submit(&world, request.clone(), Some("a key"), 10).await);
        match submit(&world, request, Some("a key"), 10).await {
            Submitted::Repeated(again) => assert_eq!(again.job_id, job),
            other => panic!("{other:?}"),
        }
        for other in [share([101], &[BRUNO]).request, unshare([101], vec![edit_of(BRUNO)]).request] {
            assert_eq!(submit(&world, other, Some("a key"), 10).await, Submitted::KeyConflict);
        }
        assert_eq!(world.test.number("SELECT COUNT(*) FROM jobs").await, 1);
    }

    async fn an_unshare_counts_against_the_limits_of_the_person(kind: Kind) {
        let world = given(kind, 10_000).await;
        let request = || unshare([101, 102], vec![all_of(BRUNO)]).request;
        accepted(submit(&world, request(), None, 1).await);
        assert_eq!(submit(&world, request(), None, 1).await, Submitted::TooManyUnfinished { limit: 1 });
        assert_eq!(world.store.asked(principal(ANA), HOUR).await.expect("an answer").pairs, 2);
        let limits = Limits { pairs: 1, ..Limits::default() };
        let submission = Submission { request: request(), idempotency_key: None, traceparent: None };
        let submitted = world.store.submit(submission, limits, 10).await.expect("an answer");
        assert!(matches!(submitted, Submitted::OverLimit(_)), "{submitted:?}");
        let foreseen = world.store.foresee_unshare(request(), limits).await.expect("an answer");
        assert!(matches!(foreseen, UnshareForeseen::OverLimit(_)), "{foreseen:?}");
        let none = AllFilter { tag: Some("none".to_owned()), ..AllFilter::default() };
        let none = unshare_as(ANA, Selection::All(none), vec![all_of(BRUNO)]).request;
        assert_eq!(submit(&world, none.clone(), None, 10).await, Submitted::NothingMatches);
        assert_eq!(world.store.foresee_unshare(none, Limits::default()).await.expect("an answer"), UnshareForeseen::NothingMatches);
        // By message, a worker finds that it is too large.
        let large = unshare([101, 102], vec![all_of(BRUNO)]);
        let mut options = world.options.clone();
        options.limits = limits;
        world.store.begin_one(large.clone(), options).await.expect("begun");
        assert_eq!(world.job(large.job_id).await.reason, Some(FailReason::LimitExceeded));
    }

    async fn nothing_is_taken_before_the_claims_of_older_jobs_are_written(kind: Kind) {
        let world = given(kind, 10_000).await;
        world.run(&share([101], &[BRUNO])).await;
        world.test.sql("UPDATE jobs SET ledger = false").await;
        let asked = unshare([101], vec![all_of(BRUNO)]);
        assert_eq!(submit(&world, asked.request.clone(), None, 10).await, Submitted::NotReady);
        let foreseen = world.store.foresee_unshare(asked.request.clone(), Limits::default()).await.expect("an answer");
        assert_eq!(foreseen, UnshareForeseen::NotReady);
        for _ in 0..2 {
            assert_eq!(world.begin(&asked).await, Begun::Waiting);
        }
        assert_eq!(world.permission(101, BRUNO).await, 2);
        world.test.sql("UPDATE jobs SET ledger = true").await;
        world.time_passes(60).await;
        world.store.wake_due(true, world.due_options()).await.expect("due work");
        let again = request_of(&world).await;
        assert_eq!((again.job_id, &again.request), (asked.job_id, &asked.request));
        assert!(matches!(world.begin(&again).await, Begun::Started(_)));
        world.drain().await;
        assert_eq!(world.job(asked.job_id).await.taken, taken(1, 0, 0));
    }

    async fn a_request_that_fails_is_sent_again_as_an_unshare(kind: Kind) {
        let world = given(kind, 10_000).await;
        let asked = unshare([101], vec![edit_of(BRUNO)]);
        let body = contract::encode_request(asked.job_id, &asked.request, &contract::new_traceparent(), 0);
        let delays = vec![std::time::Duration::ZERO];
        let failed = async || {
            world.store.request_failed(asked.clone(), body.clone(), "a fault".to_owned(), delays.clone()).await.expect("recorded")
        };
        assert!(matches!(failed().await, Recorded::Retry { attempt: 1, .. }));
        world.time_passes(1).await;
        world.store.wake_due(true, world.due_options()).await.expect("due work");
        assert_eq!(request_of(&world).await.request, asked.request);
        assert_eq!(failed().await, Recorded::Exhausted);
        let job = world.job(asked.job_id).await;
        assert_eq!((job.kind, job.state, job.reason), (JobKind::Unshare, JobState::Failed, Some(FailReason::AttemptsExhausted)));
        let events = world.drain().await;
        assert_eq!(events.last().expect("an end").1["type"], "batchshare.unshare.failed.v1");
        let letter = world.test.number("SELECT MAX(id) FROM dead_letters").await;
        let replayed = world.store.replay_letter(letter, HOUR, Publisher::AsItIs).await.expect("an answer");
        assert_eq!(replayed, Replayed::Reopened { job: asked.job_id, run: 2 });
        let again = request_of(&world).await;
        assert_eq!(again.request, asked.request);
        world.begin(&again).await;
        world.drain().await;
        assert_eq!(world.job(asked.job_id).await.taken, taken(0, 1, 0));
    }

    async fn a_lane_that_fails_goes_on_where_it_stopped_when_it_is_replayed(kind: Kind) {
        let world = given(kind, 2).await;
        let asked = unshare(101..=104, vec![all_of(BRUNO), edit_of(EVA)]);
        world.begin(&asked).await;
        let steps: Vec<Step> = world.take_messages().await.iter().filter_map(|row| contract::decode_step(&row.body).ok()).collect();
        assert_eq!(steps.len(), 2);
        world.step(&steps[0]).await;
        let next = Step { turn: 1, ..steps[0].clone() };
        let failed = world.store.step_failed(next, b"a step".to_vec(), "a fault".to_owned(), Vec::new()).await;
        assert_eq!(failed.expect("recorded"), Recorded::Exhausted);
        world.take_messages().await;
        assert_eq!(world.job(asked.job_id).await.taken, taken(1, 1, 0));
        // Steps of the older run do nothing.
        assert!(world.step(&steps[1]).await.is_none());
        let letter = world.test.number("SELECT MAX(id) FROM dead_letters").await;
        let replayed = world.store.replay_letter(letter, HOUR, Publisher::AsItIs).await.expect("an answer");
        assert_eq!(replayed, Replayed::Reopened { job: asked.job_id, run: 2 });
        world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.taken), (JobState::Completed, taken(4, 4, 0)));
    }

    async fn an_unshare_cannot_be_undone(kind: Kind) {
        let world = given(kind, 10_000).await;
        let asked = unshare([101], vec![all_of(BRUNO)]);
        run(&world, &asked).await;
        let order = UndoOrder {
            parent: asked.job_id,
            by: UndoBy::Person(principal(ANA)),
            idempotency_key: None,
            traceparent: None,
        };
        let ordered = world.store.undo(order, world.options.clone()).await.expect("an answer");
        assert_eq!(ordered, UndoOrdered::Refused(NotUndone::NotUndoable));
    }

    async fn the_notice_says_what_was_taken(kind: Kind) {
        let world = given(kind, 10_000).await;
        let asked = unshare([101, 102], vec![all_of(BRUNO), edit_of(EVA), all_of(PAYMENTS)]);
        run(&world, &asked).await;
        world.test.sql("UPDATE jobs SET finished_at = finished_at - 60000; DELETE FROM outbox").await;
        world.store.wake_due(true, world.due_options()).await.expect("due work");
        let (notices, _) = world.store.notices(principal(ANA), false, None, 10).await.expect("notices");
        let told: Vec<_> = notices.iter().map(|notice| (notice.kind, notice.taken)).collect();
        assert_eq!(told, [(JobKind::Unshare, taken(2, 2, 2))]);
    }
}

/// The release before reads the recipients of a row by the members `kind`, `id` and `permission` alone, and refuses
/// every other member.
#[test]
fn a_row_of_an_unshare_cannot_be_read_as_a_share() {
    let request = unshare([101], vec![all_of(BRUNO), edit_of(EVA)]).request;
    let kept = StoredRequest::of(&request);
    let recipients: serde_json::Value = serde_json::from_str(&kept.recipients).expect("JSON");
    for of in recipients.as_array().expect("recipients") {
        assert!(of.get("permission").is_none() && of.get("take").is_some(), "{of}");
    }
    assert_eq!(contract::recipients_from_json(&kept.recipients).expect("recipients"), request.recipients);
    let as_share =
        ShareRequest::new(request.requested_by, request.selection.clone(), request.recipients.clone());
    assert_ne!(StoredRequest::of(&as_share).digest, kept.digest);
    assert_eq!(to(BRUNO, View), request.recipients[0]);
}
