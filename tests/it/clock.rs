//! One clock: the times of a job are the database's, however wrong the clocks of the processes are.

use std::time::Duration;

use batchshare::domain::{JobSnapshot, Permission::Edit, Selection};
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
                 WHERE g.granted_at / 1000 > j.finished_at OR g.granted_at / 1000 < j.requested_at";
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

/// Ana lets Bruno edit these secrets.
fn edit(secrets: std::ops::RangeInclusive<i64>) -> batchshare::contract::JobRequested {
    share_as(ANA, Selection::Ids(secrets.map(secret).collect()), vec![to(BRUNO, Edit)])
}

crate::on_both_stores! {
    /// The row keeps the time at which it came, and an upgrade has a time of its own.
    async fn an_upgraded_grant_keeps_its_time_and_tells_when_its_edit_came(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=110).await;
        world.run(&share([101], &[BRUNO])).await;
        world.run(&share(103..=110, &[BRUNO])).await;
        let times = "SELECT MIN(granted_at) FROM grants WHERE principal_id = 2 AND secret_id <> 102";
        let first = world.test.number(times).await;
        assert!(first > 1_000_000_000_000_000, "microseconds: {first}");
        world.run(&edit(101..=102)).await;
        world.run(&edit(103..=110)).await;
        assert_eq!(world.test.number(times).await, first);
        let odd = "SELECT COUNT(*) FROM grants WHERE permission <> 2 OR (secret_id = 102) <> (edit_at IS NULL) \
                   OR edit_at <= granted_at";
        assert_eq!(world.test.number(odd).await, 0);
        // What people read has the time of the permission that they read.
        let items = world.store.grants_of(principal(ANA), secret(101), 0, 10).await.expect("grants").expect("seen");
        let edit_at = world.test.number("SELECT edit_at FROM grants WHERE secret_id = 101").await;
        assert_eq!(items[0].granted_at, edit_at / 1_000);
    }

    /// A row of the release before has milliseconds, and people read the same time.
    async fn a_grant_of_the_release_before_is_read_in_milliseconds(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, [101]).await;
        let sql = "INSERT INTO grants (secret_id, principal_id, permission, granted_at) VALUES (101, 2, 1, 1760000000123)";
        world.test.sql(sql).await;
        let items = world.store.grants_of(principal(ANA), secret(101), 0, 10).await.expect("grants").expect("seen");
        assert_eq!(items[0].granted_at, 1_760_000_000_123);
    }
}

/// A failover to a server whose clock is behind: this process has used a later time already, and goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_of_a_process_never_go_back_though_the_databases_clock_does() {
    let world = World::with_chunks(Kind::Postgres, 4).await;
    world.secrets(ANA, 101..=110).await;
    world.run(&share([101], &[BRUNO])).await;
    let latest = world.test.db.clock().latest_us();
    world
        .test
        .sql(
            "CREATE OR REPLACE FUNCTION now_us() RETURNS BIGINT LANGUAGE sql VOLATILE AS \
             $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 60000000 $$",
        )
        .await;
    for asked in [share([102], &[BRUNO]), share(103..=110, &[BRUNO])] {
        world.run(&asked).await;
        let job = world.job(asked.job_id).await;
        // The event has the times that the row has.
        let stored = format!(
            "SELECT finished_at FROM jobs WHERE job_id = '{}' AND requested_at >= {} AND started_at >= requested_at",
            asked.job_id,
            latest / 1_000
        );
        assert_eq!(job.finished_at, Some(world.test.number(&stored).await));
    }
    let older = format!("SELECT COUNT(*) FROM grants WHERE granted_at < {latest} AND secret_id <> 101");
    assert_eq!(world.test.number(&older).await, 0);
}
