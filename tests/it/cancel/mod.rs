//! Cancelling a job: whatever it waits for or does, it ends once, and what it did stays.

mod races;
mod site;

use std::time::Duration;

use batchshare::contract;
use batchshare::contract::{JobRequested, Step};
use batchshare::domain::event::EventKind;
use batchshare::domain::{
    DeadReason, DeadState, EndedBy, JobId, JobSnapshot, JobState, Origin, Permission, Selection,
};
use batchshare::store::{
    Begun, Cancelled, LaneFound, MessageKind, NotReplayed, Recorded, Replayed, Submission, Submitted,
};

use crate::dead::letter;
use crate::on_both_stores;
use crate::world::*;

/// By the person who asks for the jobs of these tests.
fn by_ana() -> EndedBy {
    EndedBy::Person(principal(ANA))
}

impl World {
    async fn cancel(&self, job: JobId) -> Cancelled {
        self.store.cancel(job, by_ana()).await.expect("cancel")
    }

    async fn cancelled(&self, job: JobId) -> JobSnapshot {
        match self.cancel(job).await {
            Cancelled::Done(job) => job,
            other => panic!("{other:?}"),
        }
    }

    async fn submit(&self, asked: &JobRequested) -> JobId {
        let request = asked.request.clone();
        let submission = Submission { request, idempotency_key: None, traceparent: None };
        match self.store.submit(submission, self.options.limits, 1_000).await.expect("submit") {
            Submitted::Accepted(job) => job.job_id,
            other => panic!("{other:?}"),
        }
    }

    /// A job of 6 x 2 in chunks of 4 pairs and two lanes, with the steps of its lanes.
    async fn lanes(&self) -> (JobId, Vec<Step>) {
        self.secrets(ANA, 101..=106).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        assert!(matches!(self.begin(&asked).await, Begun::Started(_)));
        (asked.job_id, self.steps().await)
    }

    /// What holds for every cancelled job: it has ended, its counts are its grants, one terminal event tells so, and
    /// nothing that comes later changes it.
    async fn stays_cancelled(&self, ended: &JobSnapshot) {
        let id = ended.job_id;
        assert_eq!(ended.state, JobState::Cancelled);
        assert_eq!((ended.reason, ended.ended_by), (None, Some(by_ana())));
        assert_eq!(self.job(id).await, *ended);
        assert_eq!(self.cancel(id).await, Cancelled::Already(ended.clone()));
        self.time_passes(10_000).await;
        let found = self.store.wake_due(true, self.due_options()).await.expect("due work");
        assert_eq!((found.lanes, found.requests), (0, 0), "nothing wakes it");
        let terminal: Vec<String> = self
            .take_messages()
            .await
            .into_iter()
            .filter(|row| matches!(row.kind, MessageKind::Event(_, kind) if kind.is_terminal()))
            .map(|row| row.message_id)
            .collect();
        let event = batchshare::domain::event::event_id(id, ended.run, EventKind::Cancelled, "");
        assert_eq!(terminal, [event.to_string()]);
        let key = format!("(SELECT id FROM jobs WHERE job_id = '{id}')");
        let given = format!("SELECT COUNT(*) FROM grants WHERE view_job = {key} OR edit_job = {key}");
        let counted = i64::try_from(ended.counts.granted + ended.counts.upgraded).expect("a count");
        assert_eq!(self.test.number(&given).await, counted);
        let told = format!(
            "SELECT COUNT(*) FROM audit WHERE action = 'job_cancelled' AND actor = {ANA} AND job = '{id}'"
        );
        assert_eq!(self.test.number(&told).await, 1);
        self.store.make_notices(vec![(id, ended.run)]).await.expect("notice");
        let (notices, _) = self.store.notices(principal(ANA), false, None, 10).await.expect("notices");
        let of: Vec<_> = notices.iter().filter(|notice| notice.job_id == id).collect();
        assert_eq!(of.len(), 1);
        assert_eq!(
            (of[0].state, of[0].counts, of[0].pairs),
            (JobState::Cancelled, ended.counts, ended.pairs)
        );
    }
}

on_both_stores! {
    async fn a_queued_job_is_cancelled_and_its_request_does_nothing(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=106).await;
        let all = share_as(ANA, Selection::All(Default::default()), vec![to(BRUNO, Permission::View)]);
        for asked in [share([101], &[BRUNO]), share(101..=106, &[BRUNO, EVA]), all] {
            let id = world.submit(&asked).await;
            let request = world.take_messages().await.remove(0);
            let ended = world.cancelled(id).await;
            assert_eq!((ended.done(), ended.started_at), (0, None));
            assert!(ended.finished_at >= Some(ended.requested_at));
            let asked = asked_in(&request.body);
            assert_eq!(world.begin(&asked).await, Begun::AlreadyBegun);
            let together = [share([102], &[EVA]), asked.clone()];
            let begun = world.store.begin(together.to_vec(), world.options.clone()).await.expect("begin");
            assert!(matches!(begun[..], [Some(Begun::Ended(_)), Some(Begun::AlreadyBegun)]), "{begun:?}");
            world.take_messages_but(id).await;
            world.stays_cancelled(&ended).await;
        }
    }

    async fn a_running_job_keeps_what_its_chunks_have_done(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (id, steps) = world.lanes().await;
        world.step(&steps[0]).await;
        world.step(&steps[1]).await;
        let next = world.steps().await;
        let ended = world.cancelled(id).await;
        assert_eq!((ended.pairs, ended.counts), (Some(12), counts(8, 0, 0, 0)));
        for step in next.iter().chain(&steps) {
            assert!(world.step(step).await.is_none(), "its lane is closed");
        }
        world.stays_cancelled(&ended).await;
    }

    async fn a_chunk_that_was_read_before_the_cancel_does_nothing_after_it(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (id, steps) = world.lanes().await;
        for step in &steps {
            world.step(step).await;
        }
        // One is the last chunk of its lane, the other of the whole job: both lock the job first.
        let mut in_hand = Vec::new();
        for step in world.steps().await {
            let LaneFound::Work(work) = world.store.lane(step, world.options.lane).await.expect("lane") else {
                panic!("the lane is open");
            };
            in_hand.push(*work);
        }
        let ended = world.cancelled(id).await;
        for work in in_hand {
            let delays = vec![Duration::ZERO; 4];
            let failed = world.store.lane_failed(work.clone(), Vec::new(), "broken".to_owned(), delays).await;
            assert_eq!(failed.expect("recorded"), Recorded::SomebodyElse);
            let failed = world.store.lane_failed(work.clone(), Vec::new(), "broken".to_owned(), Vec::new()).await;
            assert_eq!(failed.expect("recorded"), Recorded::SomebodyElse);
            assert!(world.store.requester_lost(work.clone()).await.expect("looked at"));
            let done = world.store.chunk(work, true, world.options.lane).await.expect("chunk");
            assert!(matches!(done, batchshare::store::ChunkDone::SomebodyElse), "{done:?}");
        }
        world.stays_cancelled(&ended).await;
    }

    async fn a_job_that_waits_for_another_try_is_cancelled_at_once(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, [107]).await;
        let asked = share([107], &[BRUNO]);
        let fail = async || {
            let delays = vec![Duration::from_secs(60); 4];
            world.store.request_failed(asked.clone(), b"{}".to_vec(), "broken".to_owned(), delays).await.expect("recorded")
        };
        assert!(matches!(fail().await, Recorded::Retry { .. }));
        assert_eq!(world.job(asked.job_id).await.state, JobState::Retrying);
        let ended = world.cancelled(asked.job_id).await;
        assert_eq!((ended.attempts, &ended.retry), (1, &None));
        assert_eq!(fail().await, Recorded::SomebodyElse);
        assert_eq!(world.begin(&asked).await, Begun::AlreadyBegun);
        world.stays_cancelled(&ended).await;

        let (id, steps) = world.lanes().await;
        let LaneFound::Work(work) = world.store.lane(steps[0].clone(), world.options.lane).await.expect("lane") else {
            panic!("the lane is open");
        };
        let delays = vec![Duration::from_secs(60); 4];
        world.store.lane_failed(*work, Vec::new(), "broken".to_owned(), delays).await.expect("recorded");
        assert_eq!(world.job(id).await.state, JobState::Retrying);
        let ended = world.cancelled(id).await;
        world.stays_cancelled(&ended).await;
    }

    async fn only_the_requester_and_the_operator_cancel_and_only_what_has_not_ended(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (id, _) = world.lanes().await;
        for nobody in [BRUNO, EVA, DAVI_INACTIVE, 999] {
            let by = EndedBy::Person(principal(nobody));
            assert_eq!(world.store.cancel(id, by).await.expect("cancel"), Cancelled::NotFound);
            assert_eq!(world.store.cancel(JobId::generate(), by).await.expect("cancel"), Cancelled::NotFound);
        }
        assert_eq!(world.job(id).await.state, JobState::Running);
        let Cancelled::Done(job) = world.store.cancel(id, EndedBy::Operator).await.expect("cancel") else {
            panic!("it runs");
        };
        assert_eq!(job.ended_by, Some(EndedBy::Operator));
        assert_eq!(world.cancel(id).await, Cancelled::Already(job), "whoever cancelled it first is told");
        for (secrets, state) in [(vec![101], JobState::Completed), (vec![101, 999], JobState::CompletedWithRejections), (vec![999], JobState::Failed)] {
            let asked = share(secrets, &[BRUNO]);
            let before = world.run(&asked).await;
            assert_eq!(before.state, state);
            assert_eq!(world.cancel(asked.job_id).await, Cancelled::Ended(before.clone()));
            assert_eq!(world.job(asked.job_id).await, before);
        }
    }

    async fn a_cancelled_job_is_never_opened_again(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (id, steps) = world.lanes().await;
        let ended = world.cancelled(id).await;
        // The broker gave up a step of it, which an operator replays.
        let body = contract::encode_step(&steps[0], &contract::new_traceparent());
        let died = letter(DeadReason::DeliveryLimit, Origin::Step, body);
        assert_eq!(world.store.bury(died).await.expect("bury"), None);
        let number = world.test.number("SELECT MAX(id) FROM dead_letters").await;
        let refused = NotReplayed::NotFailedSo { job: id, state: JobState::Cancelled, reason: None };
        assert_eq!(world.replay(number).await, Replayed::Refused(refused));
        assert_eq!(world.dead().await.last().expect("a letter").state, DeadState::Kept);
        world.stays_cancelled(&ended).await;
    }

    /// An operator has replayed the letter of a request that could not be read, and its job waits for that body.
    async fn a_job_that_waits_for_its_body_is_cancelled_and_the_body_does_nothing(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        let body = contract::encode_request(asked.job_id, &asked.request, &contract::new_traceparent(), 0);
        // It was poison for a program that did not know one of its fields.
        let text = String::from_utf8(body.clone()).expect("text").replacen("\"recipients\"", "\"unknown\":1,\"recipients\"", 1);
        let poison = letter(DeadReason::InvalidField, Origin::Request, text.clone().into_bytes());
        let failed = world.store.bury(poison).await.expect("bury").expect("its job failed");
        assert_eq!(failed.job_id, asked.job_id);
        let number = world.test.number("SELECT MAX(id) FROM dead_letters").await;
        assert!(matches!(world.replay(number).await, Replayed::Reopened { run: 2, .. }));
        world.take_messages().await;
        let ended = world.cancelled(asked.job_id).await;
        assert_eq!(ended.run, 2);
        assert_eq!(world.begin(&asked).await, Begun::AlreadyBegun);
        let other = JobRequested { request: share_as(EVA, Selection::Ids(vec![secret(101)]), vec![to(BRUNO, Permission::View)]).request, ..asked };
        assert_eq!(world.begin(&other).await, Begun::Conflict, "another person's request is no second delivery");
        // Poison once more, it fails no run either.
        let again = letter(DeadReason::InvalidField, Origin::Request, text.into_bytes());
        let again = batchshare::store::DeadLetter { message_id: Some(format!("{}/2", ended.job_id)), ..again };
        assert_eq!(world.store.bury(again).await.expect("bury"), None);
        world.stays_cancelled(&ended).await;
    }
}

impl World {
    /// Removes the messages of all jobs but this one from the outbox.
    async fn take_messages_but(&self, id: JobId) {
        let others = format!(
            "DELETE FROM outbox WHERE job IS NULL OR job NOT IN (SELECT id FROM jobs WHERE job_id = '{id}')"
        );
        self.test.sql(&others).await;
    }
}
