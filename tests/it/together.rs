//! Small jobs together: the same results, in the same order, as one by one.

use std::time::{Duration, Instant};

use batchshare::contract::JobRequested;
use batchshare::db::{Conn, FailureClass, Flow};
use batchshare::domain::groups::{groups, is_small};
use batchshare::domain::{JobState, Limits, Permission};
use batchshare::store::{Begun, Submission};
use diesel::connection::SimpleConnection as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::on_both_stores;
use crate::properties::Scenario;
use crate::support::Kind;
use crate::world::*;

/// Each is a company and a row of jobs; a failure names its seed.
const SEEDS: std::ops::Range<u64> = 0..40;

/// Jobs of several people, some delivered twice, some of the same id with other content.
fn jobs(seed: u64) -> Vec<JobRequested> {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut jobs: Vec<JobRequested> = Vec::new();
    for number in 0..random.random_range(4..14) {
        let other = Scenario::new(1_000 * (seed + 1) + number);
        // A few secrets each, so that some jobs meet and most do not.
        let mut job = other.asked_by(random.random_range(1..=6));
        if let batchshare::domain::Selection::Ids(ids) = &mut job.request.selection {
            ids.truncate(random.random_range(1..=3));
        }
        if !is_small(&job.request, 10_000) {
            continue;
        }
        match jobs.last() {
            Some(before) if random.random_bool(0.1) => job = before.clone(),
            Some(before) if random.random_bool(0.1) => job.job_id = before.job_id,
            _ => {}
        }
        jobs.push(job);
    }
    jobs
}

/// The company, and some of the jobs as they are after a POST.
async fn prepare(world: &World, seed: u64, jobs: &[JobRequested]) {
    let tables = ["jobs", "job_rejections", "outbox", "notices"];
    let sql: String = tables.iter().map(|table| format!("DELETE FROM {table};")).collect();
    world.test.sql(&sql).await;
    Scenario::new(seed).write(world).await;
    for (number, job) in jobs.iter().enumerate().filter(|(number, _)| number % 3 == 0) {
        let request = job.request.clone();
        let submission = Submission { request, idempotency_key: None, traceparent: None };
        if world.store.submit(submission, Limits::default(), 1_000).await.is_err() {
            continue;
        }
        // The id is the gateway's own: here it is the job's.
        let waits = if number % 2 == 0 { "NULL" } else { "9000000000000000" };
        world
            .test
            .sql(&format!(
                "UPDATE jobs SET job_id = '{}', not_before = {waits} WHERE id = (SELECT MAX(id) FROM jobs) \
                 AND NOT EXISTS (SELECT 1 FROM jobs WHERE job_id = '{}'); DELETE FROM outbox;",
                job.job_id, job.job_id
            ))
            .await;
    }
}

/// What a request led to, without its times.
fn told(begun: &Begun) -> String {
    match begun {
        Begun::Ended(job) => {
            let mut job = job.clone();
            (job.requested_at, job.started_at, job.finished_at) =
                (0, job.started_at.map(|_| 0), job.finished_at.map(|_| 0));
            format!("{job:?}")
        }
        other => format!("{other:?}"),
    }
}

/// Everything that the jobs left behind, without times, traces and keys.
async fn left(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    for sql in [
        "SELECT g.secret_id || ' ' || g.principal_id || ' ' || g.permission || ' ' || COALESCE(v.job_id, '-') \
         || ' ' || COALESCE(e.job_id, '-') AS t FROM grants g LEFT JOIN jobs v ON v.id = g.view_job \
         LEFT JOIN jobs e ON e.id = g.edit_job ORDER BY g.secret_id, g.principal_id",
        "SELECT job_id || ' ' || run || ' ' || state || ' ' || COALESCE(reason, '-') || ' ' || requested_by || ' ' \
         || selection || recipients || digest || ' ' || secrets_total || ' ' || recipients_total || ' ' || pairs \
         || ' ' || granted || ' ' || upgraded || ' ' || unchanged || ' ' || rejected || ' ' \
         || COALESCE(rejections_total, -1) || ' ' || open_lanes || ' ' || attempts || ' ' || failures \
         || CASE WHEN not_before IS NULL THEN ' ' ELSE ' waits' END || CASE WHEN due_at IS NULL THEN ' ' ELSE ' due' END \
         || CASE WHEN started_at IS NULL THEN ' ' ELSE ' started' END \
         || CASE WHEN finished_at IS NULL THEN ' ' ELSE ' finished' END \
         || CASE WHEN notice_due THEN ' notice' ELSE ' ' END AS t FROM jobs WHERE selection IS NOT NULL ORDER BY job_id",
        "SELECT j.job_id || ' ' || r.side || ' ' || r.kind || ' ' || r.subject || ' ' || r.lane || ' ' || r.reason \
         || ' ' || r.pairs AS t FROM job_rejections r JOIN jobs j ON j.id = r.job \
         ORDER BY j.job_id, r.side, r.kind, r.subject, r.lane",
    ] {
        left.extend(world.test.texts(sql).await);
    }
    // In the order in which they leave.
    for (kind, mut event) in world.drain().await {
        for field in ["time", "traceparent"] {
            event.as_object_mut().expect("an event").remove(field);
        }
        let data = event["data"].as_object_mut().expect("data");
        data.retain(|name, _| !name.ends_with("_at"));
        left.push(format!("{kind:?} {event}"));
    }
    left
}

on_both_stores! {
    async fn jobs_begun_together_end_as_one_by_one(kind: Kind) {
        let (alone, together) = (World::empty(kind).await, World::empty(kind).await);
        let (mut begun_together, mut begun_alone, mut largest) = (0, 0, 0);
        for seed in SEEDS {
            let jobs = jobs(seed);
            prepare(&alone, seed, &jobs).await;
            prepare(&together, seed, &jobs).await;
            let mut expected = Vec::new();
            for job in &jobs {
                expected.push(told(&alone.begin(job).await));
            }
            let mut found = Vec::new();
            for group in groups(jobs, |job| (job.job_id, &job.request)) {
                largest = largest.max(group.len());
                let begun = together.store.begin(group.clone(), together.options.clone()).await;
                for (job, begun) in group.iter().zip(begun.expect("begun")) {
                    found.push(told(&match begun {
                        Some(begun) => {
                            begun_together += 1;
                            begun
                        }
                        None => {
                            begun_alone += 1;
                            together.begin(job).await
                        }
                    }));
                }
            }
            assert_eq!(found, expected, "seed {seed}");
            assert_eq!(left(&together).await, left(&alone).await, "seed {seed}");
        }
        // Nobody holds their rows: each has its answer from the group.
        assert!(begun_together > 150 && begun_alone == 0 && largest > 3, "{begun_together}, {begun_alone}, {largest}");
    }

    async fn a_job_that_fails_alone_fails_alone_and_spoils_none(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=104).await;
        let nobody = JobRequested { request: share_as(77, share([102], &[BRUNO]).request.selection, vec![to(BRUNO, Permission::View)]).request, ..share([102], &[BRUNO]) };
        let jobs = vec![share([101], &[BRUNO]), nobody, share([103], &[DAVI_INACTIVE]), share([104], &[EVA])];
        let begun = world.store.begin(jobs, world.options.clone()).await.expect("begun");
        let states: Vec<_> = begun
            .iter()
            .map(|begun| match begun {
                Some(Begun::Ended(job)) => (job.state, job.reason.map(|reason| reason.as_str())),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            states,
            [
                (JobState::Completed, None),
                (JobState::Failed, Some("requester_not_valid")),
                (JobState::Failed, Some("nothing_to_share")),
                (JobState::Completed, None),
            ]
        );
        assert_eq!(world.test.number("SELECT COUNT(*) FROM grants").await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_wait_only_a_moment_for_a_pair_that_somebody_holds() {
    let world = World::new(Kind::Postgres).await;
    world.secrets(ANA, 101..=103).await;
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (tell, ready) = tokio::sync::oneshot::channel();
    let other = world.test.db.clone();
    let holder = tokio::spawn(async move {
        let work = move |conn: &mut Conn| {
            conn.batch_execute("INSERT INTO grants VALUES (102, 2, 1, NULL, NULL, 0)")?;
            let _ = tell.send(());
            let _ = held.recv();
            Ok(Flow::Rollback(()))
        };
        other.write_or_not(work).await
    });
    ready.await.expect("held");
    let jobs = [share([101], &[BRUNO]), share([102], &[BRUNO]), share([103], &[BRUNO])];
    let began = Instant::now();
    let failed = world.store.begin(jobs.to_vec(), world.options.clone()).await.expect_err("it is held");
    assert_eq!(failed.class(), FailureClass::Transient, "{failed}");
    assert!(began.elapsed() < Duration::from_secs(5), "lock_timeout is ten seconds");
    // By itself, each but the one in question goes on.
    for job in [&jobs[0], &jobs[2]] {
        assert!(matches!(world.begin(job).await, Begun::Ended(_)));
    }
    drop(hold);
    holder.await.expect("a task").expect("rolled back");
    assert!(matches!(world.begin(&jobs[1]).await, Begun::Ended(_)));
    assert_eq!(world.test.number("SELECT COUNT(*) FROM grants").await, 3);
}
