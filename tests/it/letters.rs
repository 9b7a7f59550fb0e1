//! What a dead letter may do to a job, and what it may not.

use std::sync::Arc;

use batchshare::broker::{Broker, BrokerError, Delivery, Embedded, Queue, topology};
use batchshare::contract;
use batchshare::contract::JobRequested;
use batchshare::domain::{DeadReason, DeadState, FailReason, JobId, JobState, Limits, Origin};
use batchshare::shutdown;
use batchshare::store::{DeadLetter, NotReplayed, Publisher, Replayed, Submission, Submitted};
use batchshare::worker::Worker;

use crate::dead::{LEASE, body_of, invalid, letter};
use crate::faulty::{Call, Faults, faulty};
use crate::on_both_stores;
use crate::support::{Kind, TestDb};
use crate::world::*;

impl World {
    /// A job that was asked for here and has not begun.
    async fn submitted(&self) -> JobRequested {
        let request = share([101], &[BRUNO]).request;
        let submission = Submission { request: request.clone(), idempotency_key: None, traceparent: None };
        let made = self.store.submit(submission, Limits::default(), 1_000).await.expect("asked");
        let Submitted::Accepted(job) = made else { panic!("{made:?}") };
        self.lose_letters().await;
        JobRequested { job_id: job.job_id, request, traceparent: None }
    }
}

on_both_stores! {
    async fn what_was_refused_is_replayed_only_when_somebody_answers_for_it(kind: Kind) {
        let world = World::new(kind).await;
        let body = body_of(&share([101], &[BRUNO]));
        for reason in [DeadReason::PublisherNotAllowed, DeadReason::IdConflict] {
            world.store.bury(letter(reason, Origin::Request, body.clone())).await.expect("bury");
        }
        let [refused, conflict] = &world.dead().await[..] else { panic!("two letters") };
        assert_eq!(world.replay(refused.id).await, Replayed::Refused(NotReplayed::PublisherNotAllowed));
        let trusted = async |id| world.store.replay_letter(id, LEASE, Publisher::Trusted).await.expect("replay");
        assert_eq!(trusted(conflict.id).await, Replayed::Refused(NotReplayed::IdConflict));
        assert_eq!(world.store.unsent().await.expect("outbox"), 0);
        assert!(world.dead().await.iter().all(|item| item.state == DeadState::Kept));
        assert_eq!(trusted(refused.id).await, Replayed::Sent);
        assert_eq!(world.take_messages().await[0].body, body);
    }

    async fn a_letter_of_the_broker_that_explains_no_failure_touches_no_job(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=106).await;
        let running = share(101..=106, &[BRUNO, EVA]);
        world.begin(&running).await;
        let step = world.steps().await.remove(0);
        let queued = world.submitted().await;
        let fresh = invalid(JobId::generate());
        let quiet = [DeadReason::Expired, DeadReason::QueueFull, DeadReason::Rejected, DeadReason::Unexplained,
            DeadReason::PublisherNotAllowed, DeadReason::IdConflict];
        let before = (world.job(running.job_id).await, world.job(queued.job_id).await);
        let mut letters = Vec::new();
        for reason in quiet {
            letters.extend([body_of(&running), body_of(&queued), fresh.clone()].map(|body| letter(reason, Origin::Request, body)));
            letters.push(letter(reason, Origin::Step, contract::encode_step(&step, "")));
        }
        // The broker gave it up, and not we had sent it; or it is of another run; or it is too large to be read.
        let gave_up = |origin, body| letter(DeadReason::DeliveryLimit, origin, body);
        letters.push(DeadLetter { is_from_us: false, ..gave_up(Origin::Step, contract::encode_step(&step, "")) });
        letters.push(DeadLetter { is_from_us: false, ..gave_up(Origin::Request, body_of(&queued)) });
        letters.push(DeadLetter { message_id: Some(format!("{}/2", queued.job_id)), ..gave_up(Origin::Request, body_of(&queued)) });
        letters.push(DeadLetter { readable_bytes: 100, ..gave_up(Origin::Request, body_of(&queued)) });
        letters.push(DeadLetter { readable_bytes: 100, ..letter(DeadReason::InvalidField, Origin::Request, fresh) });
        let count = letters.len();
        for letter in letters {
            assert_eq!(world.store.bury(letter).await.expect("bury"), None);
        }
        assert_eq!((world.job(running.job_id).await, world.job(queued.job_id).await), before);
        assert_eq!(world.test.number("SELECT COUNT(*) FROM jobs").await, 2);
        assert_eq!(world.dead().await.len(), count, "all are kept");
    }

    async fn poison_makes_ten_failed_jobs_an_hour_for_a_person_and_no_more(kind: Kind) {
        let world = World::new(kind).await;
        let four = (0..4).map(async |_| {
            for _ in 0..4 {
                let poison = letter(DeadReason::InvalidField, Origin::Request, invalid(JobId::generate()));
                world.store.bury(poison).await.expect("bury");
            }
        });
        futures_util::future::join_all(four).await;
        assert_eq!(world.test.number("SELECT COUNT(*) FROM jobs").await, 10);
        let letters = world.dead().await;
        assert_eq!((letters.len(), letters.iter().filter(|item| item.run.is_some()).count()), (16, 10));
        world.test.sql("UPDATE jobs SET finished_at = finished_at - 3600001").await;
        world.store.bury(letter(DeadReason::InvalidField, Origin::Request, invalid(JobId::generate()))).await.expect("bury");
        assert_eq!(world.test.number("SELECT COUNT(*) FROM jobs").await, 11, "an hour later");
    }

    async fn what_came_by_message_does_not_keep_a_person_from_asking(kind: Kind) {
        let world = World::with_chunks(kind, 1).await;
        world.secrets(ANA, [101]).await;
        for _ in 0..3 {
            world.begin(&share([101], &[BRUNO, EVA])).await;
        }
        let ask = async || {
            let request = share([101], &[BRUNO]).request;
            let submission = Submission { request, idempotency_key: None, traceparent: None };
            world.store.submit(submission, Limits::default(), 1).await.expect("asked")
        };
        assert!(matches!(ask().await, Submitted::Accepted(_)));
        assert_eq!(ask().await, Submitted::TooManyUnfinished { limit: 1 });
    }
}

/// The broker takes smaller messages than it did when this one came.
struct TooLarge;

impl Faults for TooLarge {
    fn before(&self, call: Call<'_>) -> Result<(), BrokerError> {
        match call {
            Call::Publish(batch) if batch.iter().any(|one| one.routing_key == topology::KEY_DEAD_OWN) => {
                Err(BrokerError::Rejected("too large".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn after(&self, _: Call<'_>) -> Result<(), BrokerError> {
        Ok(())
    }
}

on_both_stores! {
    async fn what_the_broker_will_not_take_to_the_dead_letters_is_kept_without_it(kind: Kind) {
        let world = World::new(kind).await;
        let queues = TestDb::new(Kind::Sqlite).await;
        let broker = faulty(Broker::new(Embedded::new(queues.db.clone())), Arc::new(TooLarge));
        let worker = Worker::new(world.store.clone(), broker, worker_options(), shutdown::channel().1);
        let job = JobId::generate();
        let [message_id, trace] = [job.to_string(), contract::new_traceparent()];
        let delivery = Delivery {
            tag: 1,
            redelivered: false,
            routing_key: topology::KEY_REQUESTED.to_owned(),
            message_id: Some(message_id.clone()),
            content_type: None,
            user_id: Some("ui".to_owned()),
            headers: vec![(topology::HEADER_TRACEPARENT.to_owned(), trace.clone())],
            death: None,
            body: invalid(job),
        };
        let good = share([101], &[BRUNO]);
        world.secrets(ANA, [101]).await;
        let kept_headers = vec![(topology::HEADER_TRACEPARENT.to_owned(), trace)];
        let other = Delivery { message_id: None, body: body_of(&good), ..delivery.clone() };
        worker.handle(Queue::Jobs, [delivery, other].into()).await.expect("done with");

        // As if it had gone through the broker: kept with what it was, and its job failed.
        let dead = world.dead().await;
        assert_eq!(dead.len(), 1);
        let kept = world.store.dead_letter(dead[0].id).await.expect("read").expect("it is kept");
        assert_eq!((kept.item.reason, kept.item.origin), (DeadReason::InvalidField, Origin::Request));
        assert_eq!((kept.item.job_id, kept.item.run), (Some(job), Some(1)));
        assert_eq!((kept.item.message_id, kept.body), (Some(message_id), invalid(job)));
        assert_eq!((kept.user_id.as_deref(), kept.headers), (Some("ui"), kept_headers));
        assert_eq!(world.job(job).await.reason, Some(FailReason::InvalidRequest));
        assert_eq!(world.job(good.job_id).await.state, JobState::Completed);
    }
}
