//! One clock: the times of a job are the database's, however wrong the clocks of the processes are.

use std::time::Duration;

use batchshare::domain::JobSnapshot;
use batchshare::store::{Begun, Submission, Submitted};

use crate::support::Kind;
use crate::world::*;

/// The database's time, in milliseconds.
async fn now(world: &World) -> i64 {
    world.test.number("SELECT now_ms()").await
}

fn in_order(job: &JobSnapshot, from: i64, to: i64) {
    let (started, finished) = (job.started_at.expect("started"), job.finished_at.expect("finished"));
    let times = [from, job.requested_at, started, finished, to];
    assert!(times.is_sorted(), "{times:?}");
}

/// Two hours ahead: a process that began the job and one that asks for it disagree by as much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_of_a_job_come_from_the_database_whatever_the_processes_clock() {
    let world = World::with_chunks(Kind::Postgres, 4).await;
    world.secrets(ANA, 101..=110).await;
    let from = now(&world).await;
    world.test.db.clock().advance(Duration::from_secs(2 * 3_600));
    // By HTTP, then together with another; by message, alone and together; large, in lanes.
    let request = share([101], &[BRUNO]);
    let submission =
        Submission { request: request.request.clone(), idempotency_key: None, traceparent: None };
    let Submitted::Accepted(asked) =
        world.store.submit(submission, world.options.limits, 10).await.expect("submit")
    else {
        panic!("not accepted")
    };
    assert!((from..=now(&world).await).contains(&asked.requested_at));
    world.take_messages().await;
    let of_gateway = batchshare::contract::JobRequested { job_id: asked.job_id, ..request };
    let together = vec![of_gateway, share([102], &[EVA])];
    let mut ids: Vec<_> = together.iter().map(|job| job.job_id).collect();
    let begun = world.store.begin(together, world.options.clone()).await.expect("together");
    assert!(begun.iter().all(|begun| matches!(begun, Some(Begun::Ended(_)))), "{begun:?}");
    for asked in [share([103], &[BRUNO]), share(104..=109, &[BRUNO, EVA])] {
        world.run(&asked).await;
        ids.push(asked.job_id);
    }
    let to = now(&world).await;
    for id in ids {
        in_order(&world.job(id).await, from, to);
    }
    let newer = "SELECT COUNT(*) FROM grants g JOIN jobs j ON j.id = COALESCE(g.edit_job, g.view_job) \
                 WHERE g.granted_at > j.finished_at OR g.granted_at < j.requested_at";
    assert_eq!(world.test.number(newer).await, 0, "no grant is newer than its job's end");
    assert_eq!(world.test.number("SELECT COUNT(*) FROM grants").await, 15);
}

/// A failover to a server whose clock is behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duration_is_never_negative_though_the_databases_clock_goes_back() {
    let world = World::with_chunks(Kind::Postgres, 4).await;
    world.secrets(ANA, 101..=110).await;
    let jobs = [share([101], &[BRUNO]), share(102..=107, &[BRUNO, EVA])];
    for asked in &jobs {
        let submission =
            Submission { request: asked.request.clone(), idempotency_key: None, traceparent: None };
        let accepted = world.store.submit(submission, world.options.limits, 10).await.expect("submit");
        let Submitted::Accepted(job) = accepted else { panic!("not accepted") };
        world
            .test
            .sql(&format!(
                "UPDATE jobs SET requested_at = requested_at + 60000 WHERE job_id = '{}'",
                job.job_id
            ))
            .await;
        world.take_messages().await;
        let asked = batchshare::contract::JobRequested { job_id: job.job_id, ..asked.clone() };
        match asked.request.recipients.len() {
            1 => drop(world.store.begin(vec![asked.clone()], world.options.clone()).await.expect("begin")),
            _ => drop(world.begin(&asked).await),
        }
        world.drain().await;
        in_order(&world.job(job.job_id).await, 0, i64::MAX);
    }
}
