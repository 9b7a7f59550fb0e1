//! What the rest of a job is, when there is none, and what it leaves alone.

use std::collections::BTreeSet;
use std::time::Duration;

use batchshare::contract;
use batchshare::domain::event::EventKind;
use batchshare::domain::{EndedBy, JobState, Permission, PrincipalKind, Recipient, RejectReason, Selection};
use batchshare::store::{
    Allowance, LaneFound, MessageKind, NoRest, Publisher, Recorded, Replayed, RestLimits, RestOrder,
    RestOrdered, UndoBy, UndoOrder, UndoOrdered,
};

use super::desk::{NO_LIMITS, because, order};
use crate::on_both_stores;
use crate::support::Kind;
use crate::world::*;
use Permission::{Edit, View};

/// Ana's secrets 101 to 104, and a share of them and of one that is not there with bruno, davi, who is inactive, and
/// eva.
async fn with_rejections(kind: Kind) -> (World, batchshare::domain::JobSnapshot) {
    let world = World::with_chunks(kind, 4).await;
    world.secrets(ANA, 101..=104).await;
    let selection = Selection::Ids([101, 102, 103, 104, 999].map(secret).into());
    let asked = share_as(ANA, selection, vec![to(BRUNO, View), to(DAVI_INACTIVE, Edit), to(EVA, View)]);
    let job = world.run(&asked).await;
    assert_eq!((job.state, job.counts), (JobState::CompletedWithRejections, counts(8, 0, 0, 7)));
    (world, job)
}

const DAVI_IS_BACK: &str = "UPDATE principals SET active = true WHERE id = 4";

fn undo(parent: batchshare::domain::JobId) -> UndoOrder {
    UndoOrder { parent, by: UndoBy::Person(principal(ANA)), idempotency_key: None, traceparent: None }
}

async fn undone(world: &World, parent: batchshare::domain::JobId) -> batchshare::domain::JobSnapshot {
    let UndoOrdered::Accepted(undo) =
        world.store.undo(undo(parent), world.options.clone()).await.expect("an answer")
    else {
        panic!("not accepted");
    };
    world.drain().await;
    world.job(undo.job_id).await
}

on_both_stores! {
    async fn what_was_mended_is_shared_and_what_was_taken_back_stays_so(kind: Kind) {
        let (world, job) = with_rejections(kind).await;
        world.store.revoke(principal(ANA), secret(101), principal(BRUNO)).await.expect("taken");
        world.test.sql(DAVI_IS_BACK).await;
        let rest = world.accepted(order(job.job_id)).await;
        let events = world.drain().await;
        let rest = world.job(rest.job_id).await;
        assert_eq!((rest.state, rest.pairs), (JobState::CompletedWithRejections, Some(7)));
        assert_eq!((rest.counts, rest.attempts), (counts(4, 0, 0, 3), 0));
        assert_eq!(rest.rejections.iter().map(line).collect::<Vec<_>>(), [("secret", 999, "not_found", 3)]);
        assert_eq!((world.permission(101, BRUNO).await, world.permission(101, DAVI_INACTIVE).await), (0, 2));
        // Its events are those of a share, and name the job before.
        let kinds: BTreeSet<&str> = events.iter().map(|(_, event)| event["type"].as_str().expect("a type")).collect();
        let [accepted, completed] = ["batchshare.job.accepted.v1", "batchshare.job.completed.v1"];
        assert!(kinds.contains(accepted) && kinds.contains(completed), "{kinds:?}");
        for (_, event) in &events {
            let data = &event["data"];
            assert_eq!((&data["kind"], &data["pairs"]), (&"share".into(), &7.into()), "{event}");
            assert_eq!(data["parent"], job.job_id.to_string(), "{event}");
        }
        assert!(events.iter().any(|(kind, _)| *kind == EventKind::Completed));
        // Its list and its recipients count its own pairs only.
        let recipients = world.store.job_recipients(rest.job_id, 0, 10).await.expect("recipients");
        let recipients: Vec<_> = recipients.iter().map(|(to, of)| (to.id.get(), of.expect("counts"))).collect();
        let expected =
            [(BRUNO, counts(0, 0, 0, 1)), (DAVI_INACTIVE, counts(4, 0, 0, 1)), (EVA, counts(0, 0, 0, 1))];
        assert_eq!(recipients, expected);
        let secrets = world.store.job_secrets(rest.job_id, 0, 10).await.expect("secrets");
        let secrets: Vec<_> = secrets.iter().map(|(id, of)| (id.get(), of.expect("counts"))).collect();
        let davis = counts(1, 0, 0, 0);
        assert_eq!(secrets, [(101, davis), (102, davis), (103, davis), (104, davis), (999, counts(0, 0, 0, 3))]);
        let title = world.store.titles(None, vec![rest.job_id]).await.expect("titles").remove(&rest.job_id);
        let title = title.expect("a title");
        assert_eq!(title.secrets.iter().map(|of| of.id.get()).collect::<Vec<_>>(), [101, 102, 103]);
        assert_eq!(title.recipients.iter().map(|of| of.id.get()).collect::<Vec<_>>(), [BRUNO, DAVI_INACTIVE, EVA]);
        let recorded = format!("SELECT COUNT(*) FROM audit WHERE action = 'rest_shared' AND actor = 1 AND other_job = '{}'", rest.job_id);
        assert_eq!(world.test.number(&recorded).await, 1);
    }

    async fn a_cancelled_job_is_gone_on_with(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=110).await;
        let asked = share(101..=110, &[BRUNO, EVA]);
        world.begin(&asked).await;
        let messages = world.take_messages().await;
        let step = messages.iter().find(|row| row.kind == MessageKind::Step).expect("a step");
        world.step(&contract::decode_step(&step.body).expect("a step")).await;
        let by = EndedBy::Person(principal(ANA));
        world.store.cancel(asked.job_id, by).await.expect("cancelled");
        assert_eq!(world.job(asked.job_id).await.counts, counts(4, 0, 0, 0));
        let rest = world.rest(order(asked.job_id)).await;
        assert_eq!((rest.state, rest.counts), (JobState::Completed, counts(16, 0, 0, 0)));
        // Two recipients of one id and different kinds are two: what a rest did for one is not done for the other.
        let [one, other] = [PrincipalKind::User, PrincipalKind::UserGroup]
            .map(|kind| Recipient { kind, id: principal(BRUNO), permission: Edit });
        let asked = share_as(ANA, Selection::Ids(vec![secret(109), secret(110)]), vec![other, one]);
        let failed = world.store.request_failed(asked.clone(), b"{}".to_vec(), "away".to_owned(), vec![Duration::ZERO]).await;
        assert!(matches!(failed, Ok(Recorded::Retry { .. })), "{failed:?}");
        world.store.cancel(asked.job_id, by).await.expect("cancelled");
        assert_eq!(world.rest(order(asked.job_id)).await.counts, counts(0, 2, 0, 2));
        assert_eq!(world.rest(order(asked.job_id)).await.counts, counts(0, 0, 0, 2));
        // One that never began is wholly left; and one whose secrets nobody has looked up is not known.
        for (selection, left) in [
            (Selection::Ids(vec![secret(101), secret(102)]), Some(2)),
            (Selection::All(Default::default()), None),
        ] {
            let asked = share_as(ANA, selection, vec![to(PAYMENTS, View)]);
            let failed = world.store.request_failed(asked.clone(), b"{}".to_vec(), "away".to_owned(), vec![Duration::ZERO]).await;
            assert!(matches!(failed, Ok(Recorded::Retry { .. })), "{failed:?}");
            world.store.cancel(asked.job_id, by).await.expect("cancelled");
            match left {
                Some(pairs) => assert_eq!(world.rest(order(asked.job_id)).await.counts, counts(pairs, 0, 0, 0)),
                None => assert_eq!(world.no_rest(order(asked.job_id)).await, NoRest::NotRecorded),
            }
        }
    }

    async fn reasons_narrow_the_rejected_pairs(kind: Kind) {
        let (world, job) = with_rejections(kind).await;
        world.test.sql(DAVI_IS_BACK).await;
        let none = because(job.job_id, [RejectReason::Disabled, RejectReason::NoAccount]);
        assert_eq!(world.no_rest(none).await, NoRest::Nothing);
        let inactive = because(job.job_id, [RejectReason::Inactive]);
        let running = world.accepted(inactive.clone()).await;
        // While it runs there is no other.
        let other = because(job.job_id, [RejectReason::NotFound]);
        assert_eq!(world.no_rest(other.clone()).await, NoRest::Running(running.job_id));
        assert_eq!(world.no_rest(order(job.job_id)).await, NoRest::Running(running.job_id));
        assert!(matches!(world.ordered(inactive.clone()).await, RestOrdered::Repeated(of) if of.job_id == running.job_id));
        world.drain().await;
        assert_eq!(world.job(running.job_id).await.counts, counts(4, 0, 0, 0));
        assert_eq!(world.no_rest(inactive).await, NoRest::Nothing);
        // What it has done is left no more, neither of the job nor of a job that left it to another.
        world.store.revoke(principal(ANA), secret(101), principal(DAVI_INACTIVE)).await.expect("taken");
        let rest = world.rest(order(job.job_id)).await;
        assert_eq!((rest.state, rest.counts), (JobState::Failed, counts(0, 0, 0, 3)));
        world.secrets(ANA, [999]).await;
        let third = world.rest(order(rest.job_id)).await;
        assert_eq!(third.counts, counts(3, 0, 0, 0));
        assert_eq!(world.no_rest(order(job.job_id)).await, NoRest::Nothing);
        assert_eq!(world.permission(101, DAVI_INACTIVE).await, 0);
    }

    async fn there_is_no_rest_of_what_runs_is_undone_or_is_somebody_elses(kind: Kind) {
        let (world, job) = with_rejections(kind).await;
        let others = RestOrder { by: Some(principal(BRUNO)), ..order(job.job_id) };
        assert_eq!(world.ordered(others).await, RestOrdered::UnknownJob);
        assert_eq!(world.ordered(order(batchshare::domain::JobId::generate())).await, RestOrdered::UnknownJob);
        let running = share(101..=104, &[BRUNO, EVA]);
        world.begin(&running).await;
        assert_eq!(world.no_rest(order(running.job_id)).await, NoRest::NotEnded(JobState::Running));
        world.drain().await;
        assert_eq!(world.no_rest(order(running.job_id)).await, NoRest::Nothing);
        let key = |order: RestOrder| RestOrder { idempotency_key: Some("k".to_owned()), ..order };
        let undo = undone(&world, job.job_id).await;
        assert_eq!(world.no_rest(order(job.job_id)).await, NoRest::Undone);
        assert_eq!(world.no_rest(order(undo.job_id)).await, NoRest::NotAShare);
        // The operator may, with the rights of the requester.
        let (world, job) = with_rejections(kind).await;
        world.test.sql(DAVI_IS_BACK).await;
        let rest = world.rest(key(RestOrder { by: None, ..order(job.job_id) })).await;
        assert_eq!((rest.counts, rest.requested_by), (counts(4, 0, 0, 3), principal(ANA)));
        assert_eq!(world.ordered(key(because(job.job_id, [RejectReason::Inactive]))).await, RestOrdered::KeyConflict);
        // What an older program did is not recorded.
        world.test.sql("DELETE FROM jobs WHERE parent IS NOT NULL; DELETE FROM job_outcomes; UPDATE lanes SET recorded = 0").await;
        assert_eq!(world.no_rest(order(job.job_id)).await, NoRest::NotRecorded);
    }

    async fn a_rest_counts_against_the_limits(kind: Kind) {
        let (world, job) = with_rejections(kind).await;
        let ask = async |limits: RestLimits| {
            world.store.share_rest(order(job.job_id), world.options.clone(), limits).await.expect("an answer")
        };
        let allowance = Allowance { pairs: 6, bytes: u64::MAX };
        let over = ask(RestLimits { allowance, ..NO_LIMITS }).await;
        assert_eq!(over, RestOrdered::OverAllowance { what: "pairs" });
        let allowance = Allowance { pairs: 7, bytes: 50 };
        let over = ask(RestLimits { allowance, ..NO_LIMITS }).await;
        assert_eq!(over, RestOrdered::OverAllowance { what: "bytes" });
        let over = ask(RestLimits { unfinished: 0, ..NO_LIMITS }).await;
        assert_eq!(over, RestOrdered::TooManyUnfinished { limit: 0 });
        assert_eq!(world.test.number("SELECT COUNT(*) FROM jobs WHERE parent IS NOT NULL").await, 0);
        let RestOrdered::Accepted { bytes, .. } = ask(NO_LIMITS).await else { panic!("not accepted") };
        let asked = world.store.asked(principal(ANA), Duration::from_secs(3_600)).await.expect("asked");
        assert_eq!((asked.pairs, asked.bytes), (7, bytes));
        world.drain().await;
        // A job that failed because it is too large is still too large.
        let mut world = world;
        world.options.limits.pairs = 2;
        let large = share(101..=104, &[BRUNO, EVA]);
        world.begin(&large).await;
        let over = world.ordered(order(large.job_id)).await;
        assert!(matches!(over, RestOrdered::OverLimit(over) if (over.what, over.count) == ("pairs", 8)), "{over:?}");
        world.options.limits.pairs = 1_000;
        // A job has an end of parts.
        for _ in 0..101 {
            world.test.sql(&format!("INSERT INTO jobs (job_id, run, state, requested_by, traceparent, has_snapshot, open_lanes, granted, upgraded, \
                unchanged, rejected, attempts, failures, requested_at, finished_at, notice_due, asked_here, kind, parent) \
                VALUES ('{}', 1, 'failed', 1, '', true, 0, 0, 0, 0, 0, 0, 0, 1, 1, false, false, 'share', '{}')", batchshare::domain::JobId::generate(), large.job_id)).await;
        }
        assert_eq!(world.no_rest(order(large.job_id)).await, NoRest::TooMany);
    }

    /// A claim of a rest tells its own recipients, and not those of its part by their places.
    async fn what_a_rest_found_there_is_kept_for_it(kind: Kind) {
        let (world, job) = with_rejections(kind).await;
        world.test.sql(DAVI_IS_BACK).await;
        let other = share_as(ANA, Selection::Ids(vec![secret(102)]), vec![to(DAVI_INACTIVE, Edit)]);
        world.run(&other).await;
        let rest = world.rest(order(job.job_id)).await;
        assert_eq!(rest.counts, counts(3, 0, 1, 3));
        let claimed = crate::properties::claims(&world, &rest).await;
        assert_eq!(claimed, [(102, vec![1])]);
        assert_eq!(undone(&world, other.job_id).await.taken.kept, 1);
        assert_eq!(world.permission(102, DAVI_INACTIVE).await, 2);
        let undo = undone(&world, rest.job_id).await;
        assert_eq!((undo.taken.revoked, undo.counts.rejected, undo.pairs), (4, 3, Some(7)));
        assert_eq!(world.test.number("SELECT COUNT(*) FROM grants").await, 8);
        assert_eq!(undone(&world, job.job_id).await.taken.revoked, 8);
    }

    async fn a_rest_that_failed_goes_on_where_it_stopped_when_it_is_replayed(kind: Kind) {
        let (world, job) = with_rejections(kind).await;
        world.test.sql(DAVI_IS_BACK).await;
        let rest = world.accepted(order(job.job_id)).await;
        let messages = world.take_messages().await;
        let step = messages.iter().find(|row| row.kind == MessageKind::Step).expect("a step");
        let step = contract::decode_step(&step.body).expect("a step");
        let LaneFound::Work(work) = world.store.lane(step.clone(), world.options.lane).await.expect("a lane") else {
            panic!("stale")
        };
        let body = contract::encode_step(&step, "");
        let failed = world.store.lane_failed(*work, body, "away".to_owned(), Vec::new()).await.expect("recorded");
        assert_eq!(failed, Recorded::Exhausted);
        assert_eq!(world.job(rest.job_id).await.state, JobState::Failed);
        let letter = world.test.number("SELECT id FROM dead_letters").await;
        let replayed = world.store.replay_letter(letter, Duration::from_secs(30), Publisher::AsItIs).await;
        assert_eq!(replayed.expect("replayed"), Replayed::Reopened { job: rest.job_id, run: 2 });
        world.drain_twice().await;
        assert_eq!(world.job(rest.job_id).await.counts, counts(4, 0, 0, 3));
    }
}
