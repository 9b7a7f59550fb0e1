//! Due work beside rows that are broken, and over hours of backlog.

use std::time::Duration;

use batchshare::contract;
use batchshare::contract::JobRequested;
use batchshare::domain::JobId;
use batchshare::store::{Begun, DueWork, MessageKind, Publisher, Replayed, Submission};

use crate::on_both_stores;
use crate::world::*;

/// Waits before the second and later attempts.
const DELAYS: [Duration; 4] = [Duration::ZERO; 4];

async fn submit(world: &World, secret: i64) -> JobId {
    let request = share([secret], &[BRUNO]).request;
    let submission = Submission { request, idempotency_key: None, traceparent: None };
    match world.store.submit(submission, world.options.limits, 1_000).await.expect("submit") {
        batchshare::store::Submitted::Accepted(job) => job.job_id,
        other => panic!("{other:?}"),
    }
}

async fn large(world: &World) -> JobRequested {
    let asked = share(101..=106, &[BRUNO, EVA]);
    assert!(matches!(world.begin(&asked).await, Begun::Started(_)));
    asked
}

on_both_stores! {
    async fn a_row_that_nobody_can_read_holds_up_no_other(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=110).await;
        let (broken, gone, good) = (large(&world).await, large(&world).await, large(&world).await);
        let (broken_row, broken_request) = (submit(&world, 107).await, submit(&world, 110).await);
        let request = submit(&world, 108).await;
        let ended = share([109], &[BRUNO]);
        world.begin(&ended).await;
        world.take_messages().await;
        world.time_passes(3_700).await;
        world.test.sql(&format!("UPDATE jobs SET requested_by = -1 WHERE job_id IN ('{}', '{broken_row}'); \
            UPDATE jobs SET selection = 'broken' WHERE job_id = '{broken_request}'; \
            DELETE FROM jobs WHERE job_id = '{}'", broken.job_id, gone.job_id)).await;
        let found = world.store.wake_due(false, world.due_options()).await.expect("due work");
        assert_eq!((found.requests, found.notices), (1, 1), "{found:?}");
        let messages = world.take_messages().await;
        let of = |kind| messages.iter().filter(move |row| row.kind == kind);
        let steps: Vec<JobId> = of(MessageKind::Step).map(|row| contract::decode_step(&row.body).expect("a step").job_id).collect();
        assert_eq!(steps, [good.job_id; 2]);
        let asked: Vec<JobId> = of(MessageKind::Request)
            .map(|row| asked_in(&row.body).job_id).collect();
        assert_eq!(asked, [request]);
    }

    /// It was asked for a day ago, and it is in the queue since a moment ago.
    async fn a_job_that_is_replayed_after_a_day_is_not_overdue_at_once(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        for _ in 0..=DELAYS.len() {
            world.time_passes(1).await;
            world.store.request_failed(asked.clone(), b"{}".to_vec(), "x".to_owned(), DELAYS.to_vec()).await.expect("recorded");
        }
        world.time_passes(24 * 3_600).await;
        let id = world.test.number("SELECT MAX(id) FROM dead_letters").await;
        let replayed = world.store.replay_letter(id, Duration::from_secs(30), Publisher::AsItIs).await.expect("replay");
        assert!(matches!(replayed, Replayed::Reopened { run: 2, .. }), "{replayed:?}");
        world.take_messages().await;
        for passed in [40, 600, 1_200] {
            world.time_passes(passed).await;
            let found = world.store.wake_due(false, world.due_options()).await.expect("due work");
            assert_eq!(found.requests, 0, "its message is in the queue still");
        }
        world.time_passes(2 * 3_600).await;
        let found = world.store.wake_due(false, world.due_options()).await.expect("due work");
        assert_eq!(found.requests, 1, "and was lost after all");
    }

    /// An event that comes again is in another's hands, too, and in another order.
    async fn two_notifiers_with_the_same_jobs_never_deadlock(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let mut ended = Vec::new();
        for _ in 0..60 {
            let asked = share([101], &[BRUNO]);
            world.begin(&asked).await;
            ended.push((asked.job_id, 1));
        }
        let other_way: Vec<_> = ended.iter().rev().copied().collect();
        for _ in 0..20 {
            let [one, other] = [&ended, &other_way].map(|jobs| world.store.make_notices(jobs.clone()));
            let (one, other) = tokio::join!(one, other);
            one.and(other).expect("both");
            assert_eq!(world.test.number("SELECT COUNT(*) FROM notices").await, 60);
            world.test.sql("DELETE FROM notices; UPDATE jobs SET notice_due = true").await;
        }
    }

    /// Nobody works for two hours, and every message waits in its queue: what due work adds is little.
    async fn two_hours_of_backlog_are_no_flood(kind: Kind) {
        const EACH: usize = 10;
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=110).await;
        for _ in 0..EACH {
            large(&world).await;
            submit(&world, 107).await;
        }
        world.take_messages().await;
        let mut added = DueWork::default();
        for _ in 0..120 {
            world.time_passes(60).await;
            let found = world.store.wake_due(false, world.due_options()).await.expect("due work");
            added.lanes += found.lanes;
            added.requests += found.requests;
            world.take_messages().await;
        }
        // A lane's lease doubles from 30 s to an hour: nine steps. A request is sent again when it has waited
        // an hour, and twice as long.
        assert!((1..=2 * EACH * 9).contains(&added.lanes), "{added:?}");
        assert!((EACH..=2 * EACH).contains(&added.requests), "{added:?}");
    }
}
