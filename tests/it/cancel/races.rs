//! Cancels beside chunks, ends, beginnings and other cancels: each order that the locks allow, forced by somebody who
//! holds them, and many orders by chance.

use std::time::{Duration, Instant};

use batchshare::store::{ChunkDone, LaneWork};

use super::*;
use crate::held::Psql;
use crate::support::{Kind, eventually};

impl World {
    /// The chunk that this step leads to.
    async fn work_of(&self, step: &Step) -> LaneWork {
        match self.store.lane(step.clone(), self.options.lane).await.expect("lane") {
            LaneFound::Work(work) => *work,
            LaneFound::Stale => panic!("the lane is open"),
        }
    }

    /// Waits until so many transactions wait for a lock.
    async fn waiting(&self, count: i64) {
        let sql = "SELECT COUNT(DISTINCT pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                   WHERE NOT granted AND a.datname = current_database()";
        eventually("transactions that wait", 20, async || {
            (self.test.number(sql).await == count).then_some(())
        })
        .await;
    }

    /// The terminal events in the outbox, and how many different ids they have.
    async fn told(&self) -> (i64, i64) {
        let terminal = "FROM outbox WHERE letter % 10 >= 5";
        let count = self.test.number(&format!("SELECT COUNT(*) {terminal}")).await;
        (count, self.test.number(&format!("SELECT COUNT(DISTINCT message_id) {terminal}")).await)
    }

    /// Every grant of the job is counted, it has one end and one event, and no grant is newer than its end.
    async fn consistent(&self, id: JobId) -> JobSnapshot {
        let job = self.job(id).await;
        assert!(job.state.is_terminal(), "{job:?}");
        let key = format!("(SELECT id FROM jobs WHERE job_id = '{id}')");
        let given = self.test.number(&format!("SELECT COUNT(*) FROM grants WHERE view_job = {key}")).await;
        assert_eq!(i64::try_from(job.counts.granted), Ok(given), "{job:?}");
        // The time of a grant has milliseconds or, where it is so large, microseconds.
        let newer = format!(
            "SELECT COUNT(*) FROM grants WHERE view_job = {key} AND \
             CASE WHEN granted_at < 100000000000000 THEN granted_at ELSE granted_at / 1000 END > \
             (SELECT finished_at FROM jobs WHERE job_id = '{id}')"
        );
        assert_eq!(self.test.number(&newer).await, 0);
        let open = format!("SELECT COUNT(*) FROM lanes WHERE open AND job = {key}");
        assert_eq!(self.test.number(&open).await, 0);
        job
    }
}

/// Which of the two waits first for a row that somebody holds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum First {
    Chunk,
    Cancel,
}

/// Somebody holds rows of the job, and both a chunk and a cancel come for them. On PostgreSQL whoever came first gets
/// a row first.
async fn both_wait(first: First, is_last: bool, held: &str) -> (World, JobId, ChunkDone, Cancelled) {
    let world = World::with_chunks(Kind::Postgres, 4).await;
    let (id, steps) = world.lanes().await;
    let mut step = steps[0].clone();
    if is_last {
        // The other lane ends, and this one has one chunk left.
        for step in &steps {
            world.step(step).await;
        }
        let next = world.steps().await;
        world.step(&next[1]).await;
        step = next[0].clone();
    }
    let work = world.work_of(&step).await;
    world.take_messages().await;
    let mut psql = Psql::connect(&world.test.url);
    psql.sql(&format!("BEGIN; {held}"));
    let chunk = || {
        let (store, work, options) = (world.store.clone(), work.clone(), world.options.lane);
        tokio::spawn(async move { store.chunk(work, true, options).await.expect("chunk") })
    };
    let cancel = || {
        let store = world.store.clone();
        tokio::spawn(async move { store.cancel(id, by_ana()).await.expect("cancel") })
    };
    let (chunk, cancel) = if first == First::Chunk {
        let chunk = chunk();
        world.waiting(1).await;
        (chunk, cancel())
    } else {
        let cancel = cancel();
        world.waiting(1).await;
        (chunk(), cancel)
    };
    world.waiting(2).await;
    psql.sql("COMMIT");
    let (chunk, cancel) = (chunk.await.expect("a task"), cancel.await.expect("a task"));
    (world, id, chunk, cancel)
}

const LANES: &str = "SELECT 1 FROM lanes FOR UPDATE";
const JOBS: &str = "SELECT 1 FROM jobs FOR UPDATE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_came_first_is_counted_by_the_cancel() {
    let (world, id, chunk, cancel) = both_wait(First::Chunk, false, LANES).await;
    assert!(matches!(chunk, ChunkDone::Moved { .. }), "{chunk:?}");
    let Cancelled::Done(job) = cancel else { panic!("{cancel:?}") };
    assert_eq!(job.counts, counts(4, 0, 0, 0));
    assert_eq!(world.consistent(id).await, job);
    assert_eq!(world.told().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_came_behind_the_cancel_does_nothing() {
    let (world, id, chunk, cancel) = both_wait(First::Cancel, false, LANES).await;
    assert!(matches!(chunk, ChunkDone::SomebodyElse), "{chunk:?}");
    let Cancelled::Done(job) = cancel else { panic!("{cancel:?}") };
    assert_eq!(job.counts, counts(0, 0, 0, 0));
    assert_eq!(world.consistent(id).await, job);
    assert_eq!(world.told().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_came_first_is_told_to_whoever_cancels() {
    for held in [JOBS, LANES] {
        let (world, id, chunk, cancel) = both_wait(First::Chunk, true, held).await;
        let ChunkDone::JobEnded(job) = chunk else { panic!("{chunk:?}") };
        assert_eq!((job.state, job.counts), (JobState::Completed, counts(12, 0, 0, 0)));
        assert!(matches!(cancel, Cancelled::Ended(ref found) if found.state == job.state), "{cancel:?}");
        world.consistent(id).await;
        assert_eq!(world.told().await, (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_came_behind_the_cancel_does_nothing() {
    for held in [JOBS, LANES] {
        let (world, id, chunk, cancel) = both_wait(First::Cancel, true, held).await;
        assert!(matches!(chunk, ChunkDone::SomebodyElse), "{chunk:?}");
        let Cancelled::Done(job) = cancel else { panic!("{cancel:?}") };
        assert_eq!((job.state, job.counts), (JobState::Cancelled, counts(10, 0, 0, 0)));
        assert_eq!(world.consistent(id).await, job);
        assert_eq!(world.told().await, (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beginning_and_a_cancel_that_both_wait_leave_one_end() {
    for first in [First::Chunk, First::Cancel] {
        for large in [false, true] {
            let world = World::with_chunks(Kind::Postgres, 4).await;
            world.secrets(ANA, 101..=106).await;
            let asked = if large { share(101..=106, &[BRUNO, EVA]) } else { share([101], &[BRUNO]) };
            let id = world.submit(&asked).await;
            let asked = JobRequested { job_id: id, ..asked };
            world.take_messages().await;
            let mut psql = Psql::connect(&world.test.url);
            psql.sql(&format!("BEGIN; {JOBS}"));
            let begin = || {
                let (store, asked, options) = (world.store.clone(), asked.clone(), world.options.clone());
                tokio::spawn(async move { store.begin_one(asked, options).await.expect("begin") })
            };
            let cancel = || {
                let store = world.store.clone();
                tokio::spawn(async move { store.cancel(id, by_ana()).await.expect("cancel") })
            };
            let (begin, cancel) = if first == First::Chunk {
                let begin = begin();
                world.waiting(1).await;
                (begin, cancel())
            } else {
                let cancel = cancel();
                world.waiting(1).await;
                (begin(), cancel)
            };
            world.waiting(2).await;
            psql.sql("COMMIT");
            let (begun, cancelled) = (begin.await.expect("a task"), cancel.await.expect("a task"));
            let what = format!("{first:?} {large}: {begun:?} {cancelled:?}");
            match (first, large) {
                (First::Chunk, false) => {
                    assert!(matches!((begun, cancelled), (Begun::Ended(_), Cancelled::Ended(_))), "{what}");
                }
                (First::Chunk, true) => {
                    assert!(matches!((begun, cancelled), (Begun::Started(_), Cancelled::Done(_))), "{what}");
                }
                (First::Cancel, _) => {
                    assert!(
                        matches!((begun, cancelled), (Begun::AlreadyBegun, Cancelled::Done(_))),
                        "{what}"
                    );
                }
            }
            world.consistent(id).await;
            assert_eq!(world.told().await, (1, 1), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_or_lane_that_somebody_holds_is_not_cancelled_and_the_caller_does_not_wait_long() {
    for held in [JOBS, LANES] {
        let world = World::with_chunks(Kind::Postgres, 4).await;
        let (id, steps) = world.lanes().await;
        let before = world.job(id).await;
        let mut psql = Psql::connect(&world.test.url);
        psql.sql(&format!("BEGIN; {held}"));
        let began = Instant::now();
        let error = world.store.cancel(id, by_ana()).await.expect_err("somebody holds it");
        let took = began.elapsed();
        assert!(error.is_busy(), "{error}");
        // Two seconds, and what a busy machine adds.
        assert!((Duration::from_millis(1_900)..Duration::from_secs(6)).contains(&took), "{took:?}");
        psql.sql("COMMIT");
        assert_eq!(world.job(id).await, before, "nothing was done");
        assert!(matches!(world.step(&steps[0]).await, Some(ChunkDone::Moved { .. })), "its lanes are open");
        world.take_messages().await;
        let ended = world.cancelled(id).await;
        world.stays_cancelled(&ended).await;
    }
}

on_both_stores! {
    async fn of_several_cancels_at_once_one_ends_the_job(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        let (id, _) = world.lanes().await;
        let answers = futures_util::future::join_all((0..6).map(|_| world.cancel(id))).await;
        let done = answers.iter().filter(|answer| matches!(answer, Cancelled::Done(_))).count();
        let again = answers.iter().filter(|answer| matches!(answer, Cancelled::Already(_))).count();
        assert_eq!((done, again), (1, 5), "{answers:?}");
        let job = world.consistent(id).await;
        world.stays_cancelled(&job).await;
    }

    async fn a_cancel_beside_lanes_that_run_leaves_one_end_whenever_it_comes(kind: Kind) {
        for round in 0..24_u64 {
            let world = World::with_chunks(kind, 4).await;
            let (id, steps) = world.lanes().await;
            let run = async |mut step: Step| {
                let mut on = true;
                while on {
                    let LaneFound::Work(mut work) =
                        world.store.lane(step.clone(), world.options.lane).await.expect("lane")
                    else {
                        return;
                    };
                    loop {
                        match world.store.chunk(*work, false, world.options.lane).await.expect("chunk") {
                            ChunkDone::Moved { next, .. } => work = next,
                            _ => {
                                on = false;
                                break;
                            }
                        }
                    }
                    step.turn += 1;
                }
            };
            // Each round cancels a little later, so that all orders come about: also the one after the end.
            let cancel = async {
                for _ in 0..round {
                    world.test.number("1").await;
                }
                world.cancel(id).await
            };
            let ((), (), cancelled) = tokio::join!(run(steps[0].clone()), run(steps[1].clone()), cancel);
            let job = world.consistent(id).await;
            let is_cancelled = job.state == JobState::Cancelled;
            assert_eq!(matches!(cancelled, Cancelled::Done(_)), is_cancelled, "{cancelled:?} {job:?}");
            assert_eq!(world.told().await, (1, 1));
        }
    }
}
