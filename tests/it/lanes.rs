//! Large jobs: lanes, chunks, steps that come twice or late, rights that are lost on the way.

use batchshare::contract;
use batchshare::contract::Step;
use batchshare::domain::event::EventKind;
use batchshare::domain::{DeadReason, FailReason, JobState, Origin, Permission, Selection};
use batchshare::store::{Begun, ChunkDone, DeadLetter, LaneFound, MessageKind, Recorded};
use std::time::Duration;

use crate::dead::letter;
use crate::on_both_stores;
use crate::world::*;

/// A job of 6 x 2 in chunks of 4 pairs: two lanes of three secrets, two secrets a chunk.
async fn begun(world: &World) -> (batchshare::contract::JobRequested, Vec<Step>) {
    world.secrets(ANA, 101..=106).await;
    let asked = share(101..=106, &[BRUNO, EVA]);
    assert!(matches!(world.begin(&asked).await, Begun::Started(_)));
    let steps = world
        .take_messages()
        .await
        .iter()
        .filter(|row| row.kind == MessageKind::Step)
        .map(|row| contract::decode_step(&row.body).expect("a step"))
        .collect();
    (asked, steps)
}

async fn next_step(world: &World) -> Vec<Step> {
    let messages = world.take_messages().await;
    messages
        .iter()
        .filter(|row| row.kind == MessageKind::Step)
        .map(|row| contract::decode_step(&row.body).expect("a step"))
        .collect()
}

on_both_stores! {
    async fn a_repeated_job_finds_what_is_there_and_adds_what_is_not(kind: Kind) {
        // Ids that are close together are read in another way than those that are not.
        for third in [6, PAYMENTS] {
            let world = World::with_chunks(kind, 6).await;
            world.secrets(ANA, 101..=140).await;
            world.test.sql("INSERT INTO principals (id, kind, name, active, has_account, visible_to_members, search_text) \
                            VALUES (6, 1, 'close', true, true, false, 'close')").await;
            let ids = || Selection::Ids((101..=140).map(secret).collect());
            let first = vec![to(BRUNO, Permission::View), to(EVA, Permission::Edit), to(third, Permission::View)];
            let job = world.run(&share_as(ANA, ids(), first.clone())).await;
            assert_eq!(job.counts, counts(120, 0, 0, 0));
            // What is there is found by secret, however many others have it, too.
            let crowd: String = (3..5)
                .chain(500..520)
                .map(|id| format!("INSERT INTO grants (secret_id, principal_id, permission, granted_at) \
                    SELECT id, {id}, 1, 0 FROM secrets;"))
                .collect();
            world.test.sql(&crowd).await;
            world.test.sql("DELETE FROM grants WHERE secret_id IN (110, 125, 140) AND principal_id = 2").await;
            let mut again = first;
            again[2].permission = Permission::Edit;
            world.test.sql(&format!("DELETE FROM grants WHERE principal_id = {third} AND secret_id > 105")).await;
            let job = world.run(&share_as(ANA, ids(), again.clone())).await;
            assert_eq!(job.counts, counts(3 + 35, 5, 120 - 43, 0));
            let job = world.run(&share_as(ANA, ids(), again)).await;
            assert_eq!(job.counts, counts(0, 0, 120, 0));
        }
    }

    async fn a_large_job_ends_with_the_same_counts_as_a_small_one(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=110).await;
        world.secrets(EVA, 201..=203).await;
        world.grant(103, BRUNO, Permission::Edit).await;
        world.grant(104, BRUNO, Permission::View).await;
        world.grant(201, ANA, Permission::View).await;
        world.test.sql("UPDATE secrets SET disabled = true WHERE id = 105").await;
        let recipients = vec![to(BRUNO, Permission::Edit), to(EVA, Permission::View), to(DAVI_INACTIVE, Permission::View)];
        let ids = (101..=110).chain(201..=203).map(secret).collect();
        let asked = share_as(ANA, Selection::Ids(ids), recipients);
        assert!(matches!(world.begin(&asked).await, Begun::Started(_)));
        let events = world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.pairs), (JobState::CompletedWithRejections, Some(39)));
        // 9 valid secrets x 2 valid recipients = 18, of them one had edit and one had view.
        assert_eq!(job.counts, counts(16, 1, 1, 21));
        let lines: Vec<_> = job.rejections.iter().map(line).collect();
        assert_eq!(lines, [
            ("secret", 105, "disabled", 3),
            ("secret", 201, "not_allowed", 3),
            ("secret", 202, "not_found", 3),
            ("secret", 203, "not_found", 3),
            ("user", DAVI_INACTIVE, "inactive", 9),
        ]);
        let of = |kind: EventKind| events.iter().filter(|(found, _)| *found == kind).count();
        assert_eq!((of(EventKind::Accepted), of(EventKind::Completed)), (1, 1));
        assert!(of(EventKind::Progress) >= 1);
        assert_eq!(world.store.unsent().await.expect("outbox"), 0);
    }

    async fn a_step_delivered_again_or_late_does_nothing(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, steps) = begun(&world).await;
        assert_eq!(steps.len(), 2);
        assert!(matches!(world.step(&steps[0]).await, Some(ChunkDone::Moved { stepped: true, .. })));
        assert!(world.step(&steps[0]).await.is_none(), "its turn is over");
        let other_run = Step { run: 2, ..steps[1].clone() };
        assert!(world.step(&other_run).await.is_none());
        for step in next_step(&world).await.iter().chain(&steps[1..]) {
            world.step(step).await;
        }
        for step in next_step(&world).await {
            world.step(&step).await;
        }
        assert_eq!(world.job(asked.job_id).await.counts, counts(12, 0, 0, 0));
        assert!(world.step(&steps[1]).await.is_none(), "the job has ended");
    }

    async fn two_workers_on_one_lane_apply_each_chunk_once(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, steps) = begun(&world).await;
        let LaneFound::Work(work) = world.store.lane(steps[0].clone(), world.options.lane).await.expect("lane") else {
            panic!("the lane is open");
        };
        let chunk = || world.store.chunk((*work).clone(), true, world.options.lane);
        let both = [chunk().await.expect("chunk"), chunk().await.expect("chunk")];
        assert!(matches!(both, [ChunkDone::Moved { .. }, ChunkDone::SomebodyElse]), "{both:?}");
        world.step(&steps[1]).await;
        world.drain().await;
        assert_eq!(world.job(asked.job_id).await.counts, counts(12, 0, 0, 0));
    }

    async fn both_lanes_at_once_end_the_job_once(kind: Kind) {
        let world = World::with_chunks(kind, 12).await;
        world.secrets(ANA, 101..=124).await;
        let asked = share(101..=124, &[BRUNO]);
        world.begin(&asked).await;
        let steps: Vec<Step> = next_step(&world).await;
        let done = futures_util::future::join_all(steps.iter().map(|step| world.step(step))).await;
        let ended = done.iter().filter(|done| matches!(done, Some(ChunkDone::JobEnded(_)))).count();
        assert_eq!(ended, 1, "{done:?}");
        let terminal = world.drain().await.into_iter().filter(|(kind, _)| kind.is_terminal()).count();
        assert_eq!(terminal, 1);
        assert_eq!(world.job(asked.job_id).await.counts, counts(24, 0, 0, 0));
    }

    async fn a_requester_who_is_lost_on_the_way_keeps_what_was_granted(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, steps) = begun(&world).await;
        world.step(&steps[0]).await;
        world.test.sql(&format!("UPDATE principals SET active = false WHERE id = {ANA}")).await;
        world.step(&steps[1]).await;
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.reason), (JobState::Failed, Some(FailReason::RequesterNotValid)));
        assert_eq!((job.pairs, job.counts), (Some(12), counts(4, 0, 0, 0)));
        assert_eq!(world.test.number("SELECT COUNT(*) FROM grants").await, 4);
        world.drain().await;
        assert_eq!(world.test.number("SELECT COUNT(*) FROM grants").await, 4, "no lane goes on");
    }

    async fn a_requester_who_is_back_before_the_job_has_failed_goes_on(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, steps) = begun(&world).await;
        let LaneFound::Work(work) = world.store.lane(steps[0].clone(), world.options.lane).await.expect("lane") else {
            panic!("the lane is open");
        };
        let active = |yes: bool| format!("UPDATE principals SET active = {yes} WHERE id = {ANA}");
        world.test.sql(&active(false)).await;
        let chunk = world.store.chunk((*work).clone(), true, world.options.lane).await.expect("chunk");
        assert!(matches!(chunk, ChunkDone::RequesterNotValid), "{chunk:?}");
        world.test.sql(&active(true)).await;
        assert!(!world.store.requester_lost(*work).await.expect("looked at again"), "the right is back");
        assert_eq!(world.job(asked.job_id).await.state, JobState::Running);
        for step in &steps {
            world.step(step).await;
        }
        world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.counts), (JobState::Completed, counts(12, 0, 0, 0)));
    }

    async fn a_right_that_is_lost_on_the_way_rejects_what_is_left(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, steps) = begun(&world).await;
        world.step(&steps[0]).await;
        world.test.sql(&format!("UPDATE principals SET active = false WHERE id = {EVA}")).await;
        world.step(&steps[1]).await;
        world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.counts), (JobState::CompletedWithRejections, counts(8, 0, 0, 4)));
        assert_eq!(line(&job.rejections[0]), ("user", EVA, "inactive", 4));
    }

    async fn a_failed_chunk_is_tried_again_when_it_is_time(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, steps) = begun(&world).await;
        let delays = vec![Duration::from_secs(5); 4];
        let work = |step: &Step| {
            let step = step.clone();
            let world = &world;
            async move {
                match world.store.lane(step, world.options.lane).await.expect("lane") {
                    LaneFound::Work(work) => Some(*work),
                    LaneFound::Stale => None,
                }
            }
        };
        let failed = |work| world.store.lane_failed(work, b"step".to_vec(), "lock timeout".to_owned(), delays.clone());
        let first = work(&steps[0]).await.expect("open");
        assert!(matches!(failed(first.clone()).await.expect("recorded"), Recorded::Retry { attempt: 1, .. }));
        assert_eq!(failed(first).await.expect("recorded"), Recorded::SomebodyElse, "one failure counts once");
        assert!(work(&steps[0]).await.is_none(), "not before its time");
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.attempts), (JobState::Retrying, 1));
        assert_eq!(job.retry.expect("waits").last_error, "lock timeout");
        world.time_passes(6).await;
        let due = world.store.wake_due(false, world.due_options()).await.expect("due work");
        assert_eq!(due.lanes, 1);
        assert_eq!(world.store.wake_due(false, world.due_options()).await.expect("due work").lanes, 0, "its step is in the outbox");
        world.step(&steps[1]).await;
        world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.counts, job.attempts), (JobState::Completed, counts(12, 0, 0, 0), 1));
    }

    async fn the_fifth_failure_ends_the_job_with_a_dead_letter(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, steps) = begun(&world).await;
        world.step(&steps[1]).await;
        let delays = vec![Duration::ZERO; 4];
        for attempt in 1..=5 {
            let LaneFound::Work(work) = world.store.lane(steps[0].clone(), world.options.lane).await.expect("lane") else {
                panic!("attempt {attempt}");
            };
            let recorded = world.store.lane_failed(*work, b"step".to_vec(), "broken".to_owned(), delays.clone()).await.expect("recorded");
            assert_eq!(recorded == Recorded::Exhausted, attempt == 5, "{recorded:?}");
        }
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.reason, job.attempts), (JobState::Failed, Some(FailReason::AttemptsExhausted), 5));
        assert_eq!(job.counts, counts(4, 0, 0, 0), "what was granted stays and is counted");
        assert_eq!(world.test.number("SELECT COUNT(*) FROM dead_letters WHERE reason = 'attempts_exhausted'").await, 1);
        let events = world.drain().await;
        assert_eq!(events.iter().filter(|(kind, _)| *kind == EventKind::Failed).count(), 1);
    }

    async fn a_request_that_fails_waits_in_its_row_and_ends_after_five(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        let fail = |after| world.store.request_failed(asked.clone(), b"body".to_vec(), "broken".to_owned(), vec![after; 4]);
        assert!(matches!(fail(Duration::from_secs(60)).await.expect("recorded"), Recorded::Retry { attempt: 1, .. }));
        assert_eq!(world.begin(&asked).await, Begun::Waiting);
        assert_eq!(world.job(asked.job_id).await.state, JobState::Retrying);
        world.time_passes(61).await;
        assert_eq!(world.store.wake_due(false, world.due_options()).await.expect("due work").requests, 1);
        let messages = world.take_messages().await;
        let again = asked_in(&messages[0].body);
        assert_eq!((again.job_id, &again.request), (asked.job_id, &asked.request));
        for _ in 2..=4 {
            fail(Duration::ZERO).await.expect("recorded");
        }
        assert_eq!(fail(Duration::ZERO).await.expect("recorded"), Recorded::Exhausted);
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.reason), (JobState::Failed, Some(FailReason::AttemptsExhausted)));
    }

    async fn a_request_with_other_content_that_fails_is_a_conflict_and_counts_for_nobody(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        let before = world.run(&asked).await;
        let other = contract::JobRequested { job_id: asked.job_id, ..share([101], &[EVA]) };
        let failed = world.store.request_failed(other, b"body".to_vec(), "broken".to_owned(), vec![Duration::ZERO; 4]);
        assert_eq!(failed.await.expect("recorded"), Recorded::Conflict);
        assert_eq!(world.job(asked.job_id).await, before);
    }

    async fn a_message_over_its_limit_is_kept_and_not_read(kind: Kind) {
        let world = World::new(kind).await;
        let asked = share([101], &[BRUNO]);
        let body = contract::encode_request(asked.job_id, &asked.request, &contract::new_traceparent(), 0);
        world.store.bury(DeadLetter {
            dead_id: "one".to_owned(), ..letter(DeadReason::TooLarge, Origin::Request, body)
        }).await.expect("bury");
        assert_eq!(world.test.number("SELECT COUNT(*) FROM dead_letters WHERE job_id IS NULL").await, 1);
        assert_eq!(world.test.number("SELECT COUNT(*) FROM jobs").await, 0);
    }

    async fn a_lost_step_is_sent_again_after_its_lease(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (asked, _lost) = begun(&world).await;
        assert_eq!(world.store.wake_due(true, world.due_options()).await.expect("due work").lanes, 0, "not yet");
        world.time_passes(31).await;
        assert_eq!(world.store.wake_due(true, world.due_options()).await.expect("due work").lanes, 2);
        assert_eq!(world.test.number("SELECT MIN(lease_ms) FROM lanes").await, 60_000, "the lease doubles");
        world.drain().await;
        assert_eq!(world.job(asked.job_id).await.counts, counts(12, 0, 0, 0));
    }

    async fn a_backlog_of_requests_is_not_a_loss(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let submission = batchshare::store::Submission {
            request: share([101], &[BRUNO]).request, idempotency_key: None, traceparent: None,
        };
        world.store.submit(submission, world.options.limits, 10).await.expect("submit");
        assert_eq!(world.take_messages().await.len(), 1);
        let due = |empty| world.store.wake_due(empty, world.due_options());
        world.time_passes(40).await;
        assert_eq!(due(false).await.expect("due work").requests, 0, "the queue is not empty");
        world.time_passes(61).await;
        assert_eq!(due(true).await.expect("due work").requests, 1, "the queue is empty: it was lost");
        assert_eq!(world.take_messages().await.len(), 1);
        world.time_passes(3_700).await;
        assert_eq!(due(false).await.expect("due work").requests, 1, "after an hour it is asked again");
        assert_eq!(world.take_messages().await.len(), 1);
        world.time_passes(1_800).await;
        assert_eq!(due(false).await.expect("due work").requests, 0, "but not every minute from then on");
        world.time_passes(1_800).await;
        assert_eq!(due(false).await.expect("due work").requests, 1);
    }

    async fn an_ended_job_whose_event_was_lost_gets_its_notice(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        world.begin(&asked).await;
        world.time_passes(20).await;
        let due = || world.store.wake_due(true, world.due_options());
        assert_eq!(due().await.expect("due work").notices, 0, "the event is still in the outbox");
        world.take_messages().await;
        assert_eq!(due().await.expect("due work").notices, 1);
        world.store.make_notices(vec![(asked.job_id, 1)]).await.expect("notice");
        let (notices, _) = world.store.notices(principal(ANA), false, None, 10).await.expect("notices");
        assert_eq!(notices.len(), 1);
        assert_eq!((notices[0].job_id, notices[0].counts), (asked.job_id, counts(1, 0, 0, 0)));
        assert!(world.store.dismiss_notice(principal(ANA), notices[0].id).await.expect("dismiss"));
        assert!(world.store.dismiss_notice(principal(ANA), notices[0].id).await.expect("dismiss"), "again");
        assert!(!world.store.dismiss_notice(principal(EVA), notices[0].id).await.expect("dismiss"), "not hers");
        assert!(world.store.notices(principal(ANA), false, None, 10).await.expect("notices").0.is_empty());
    }

    async fn an_unknown_requester_gets_no_notice_and_the_event_is_sent(kind: Kind) {
        let world = World::new(kind).await;
        let asked = share_as(77, Selection::Ids(vec![secret(101)]), vec![to(BRUNO, Permission::View)]);
        world.begin(&asked).await;
        world.store.make_notices(vec![(asked.job_id, 1)]).await.expect("notice");
        assert_eq!(world.test.number("SELECT COUNT(*) FROM notices").await, 0);
        assert_eq!(world.test.number("SELECT COUNT(*) FROM jobs WHERE notice_due").await, 0);
        assert_eq!(world.drain().await.len(), 1);
    }

    async fn poison_fails_the_job_that_it_names_only_where_there_is_none(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let good = share([101], &[BRUNO]);
        world.run(&good).await;
        let bad = |id: &str, dead: &str| DeadLetter {
            dead_id: dead.to_owned(),
            ..letter(DeadReason::InvalidField, Origin::Request, format!(
                r#"{{"specversion":"1.0","id":"{id}","source":"/t","type":"batchshare.job.requested.v1","data":{{"requested_by":{ANA}}}}}"#
            ).into_bytes())
        };
        world.store.bury(bad(&good.job_id.to_string(), "one")).await.expect("bury");
        assert_eq!(world.job(good.job_id).await.state, JobState::Completed, "somebody else's job is not touched");
        let fresh = batchshare::domain::JobId::generate();
        for _ in 0..2 {
            world.store.bury(bad(&fresh.to_string(), "two")).await.expect("bury");
        }
        let job = world.job(fresh).await;
        assert_eq!((job.state, job.reason, job.pairs), (JobState::Failed, Some(FailReason::InvalidRequest), None));
        assert_eq!(world.test.number("SELECT COUNT(*) FROM dead_letters").await, 2, "the same death is one letter");
        assert_eq!(world.begin(&batchshare::contract::JobRequested { job_id: fresh, ..share([101], &[EVA]) }).await, Begun::Conflict);
    }

    async fn a_request_that_the_broker_gave_up_fails_only_a_job_that_has_not_begun(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (begun, steps) = begun(&world).await;
        let letter = |dead: &str, origin, body| DeadLetter {
            dead_id: dead.to_owned(), ..letter(DeadReason::DeliveryLimit, origin, body)
        };
        let request = |asked: &contract::JobRequested| contract::encode_request(asked.job_id, &asked.request, &contract::new_traceparent(), 0);
        world.store.bury(letter("a", Origin::Request, request(&begun))).await.expect("bury");
        assert_eq!(world.job(begun.job_id).await.state, JobState::Running);
        let unknown = share([101], &[BRUNO]);
        world.store.bury(letter("b", Origin::Request, request(&unknown))).await.expect("bury");
        assert_eq!(world.job(unknown.job_id).await.reason, Some(FailReason::AttemptsExhausted));
        let old = Step { turn: 7, ..steps[0].clone() };
        world.store.bury(letter("c", Origin::Step, contract::encode_step(&old, ""))).await.expect("bury");
        assert_eq!(world.job(begun.job_id).await.state, JobState::Running, "a step of another turn");
        world.store.bury(letter("d", Origin::Step, contract::encode_step(&steps[0], ""))).await.expect("bury");
        assert_eq!(world.job(begun.job_id).await.reason, Some(FailReason::AttemptsExhausted));
    }
}
