//! The ledger: what became of each pair is recorded, no pair is told as unchanged while its grant goes away, and who
//! asked for what was there already claims it.

use std::time::Duration;

use batchshare::contract::{JobRequested, Step};
use batchshare::domain::{JobSnapshot, JobState, PairOutcome, Permission, Selection};
use batchshare::store::{Begun, MessageKind};

use crate::held::Psql;
use crate::on_both_stores;
use crate::properties::{claims, told};
use crate::support::{Kind, eventually};
use crate::world::*;
use PairOutcome::{Granted, Unchanged, Upgraded};

/// The number of rows that a table has for a job.
async fn rows(world: &World, table: &str, job: &JobSnapshot) -> i64 {
    let sql = format!(
        "SELECT COUNT(*) FROM {table} WHERE job = (SELECT id FROM jobs WHERE job_id = '{}')",
        job.job_id
    );
    world.test.number(&sql).await
}

/// The steps of a job's lanes, in their order.
async fn steps(world: &World) -> Vec<Step> {
    let rows = world.take_messages().await.into_iter().filter(|row| row.kind == MessageKind::Step);
    rows.map(|row| batchshare::contract::decode_step(&row.body).expect("a step")).collect()
}

on_both_stores! {
    async fn what_came_out_alike_is_recorded_by_as_little_as_possible(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=110).await;
        let small = || share([101], &[BRUNO, EVA]);
        let large = || share(102..=109, &[BRUNO, EVA]);
        for asked in [small(), large()] {
            let new = world.run(&asked).await;
            assert_eq!(rows(&world, "job_outcomes", &new).await + rows(&world, "claims", &new).await, 0);
            assert!(told(&world, &new).await.iter().all(|outcome| *outcome == Granted));
        }
        let again = world.run(&small()).await;
        assert_eq!((rows(&world, "job_outcomes", &again).await, rows(&world, "claims", &again).await), (0, 1));
        assert_eq!(told(&world, &again).await, [Unchanged; 2]);
        // A claim a secret, and one code for each of the four chunks.
        let again = world.run(&large()).await;
        assert_eq!((rows(&world, "job_outcomes", &again).await, rows(&world, "claims", &again).await), (4, 8));
        assert_eq!(told(&world, &again).await, [Unchanged; 16]);
        let sql = "SELECT COUNT(*) FROM job_outcomes WHERE code <> 2 OR pairs IS NOT NULL";
        assert_eq!(world.test.number(sql).await, 0);
        assert_eq!(world.test.number("SELECT COUNT(*) FROM claims WHERE among IS NOT NULL").await, 0);
        // No claim is older than the grant that it is about.
        let sql = "SELECT COUNT(*) FROM claims c JOIN grants g ON g.secret_id = c.secret_id WHERE c.at < g.granted_at";
        assert_eq!(world.test.number(sql).await, 0);
        assert!(world.store.ledger_complete().await.expect("ledger"), "nothing is left for due work");
    }

    /// In one batch: all new, all there, some there, an upgrade, an owner.
    async fn small_jobs_that_begin_together_have_each_its_own_record(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=110).await;
        world.secrets(BRUNO, [120]).await;
        world.grant(102, BRUNO, Permission::View).await;
        world.grant(103, BRUNO, Permission::Edit).await;
        world.grant(104, BRUNO, Permission::View).await;
        world.grant(120, ANA, Permission::Edit).await;
        let edit = |secret_id| {
            let to = vec![to(BRUNO, Permission::Edit), to(EVA, Permission::View)];
            share_as(ANA, Selection::Ids(vec![secret(secret_id)]), to)
        };
        let asked =
            [share([101], &[BRUNO]), share([102], &[BRUNO]), share([103], &[BRUNO, EVA]), edit(104), share([120], &[BRUNO, EVA])];
        let begun = world.store.begin(asked.to_vec(), world.options.clone()).await.expect("begin");
        assert!(begun.iter().all(|begun| matches!(begun, Some(Begun::Ended(_)))), "{begun:?}");
        /// The outcomes of a job's pairs, and its claims: each secret with the places of the recipients.
        type Expected<'a> = (&'a [PairOutcome], Vec<(i64, Vec<usize>)>);
        let expected: [Expected<'_>; 5] = [
            (&[Granted], vec![]),
            (&[Unchanged], vec![(102, vec![0])]),
            (&[Unchanged, Granted], vec![(103, vec![0])]),
            (&[Upgraded, Granted], vec![]),
            (&[Unchanged, Granted], vec![]),
        ];
        for (asked, (outcomes, claimed)) in asked.iter().zip(expected) {
            let job = world.job(asked.job_id).await;
            assert_eq!(told(&world, &job).await, outcomes);
            assert_eq!(claims(&world, &job).await, claimed);
            // What the event said is what is kept.
            let Some(Some(Begun::Ended(event))) = begun.iter().find(|begun| {
                matches!(begun, Some(Begun::Ended(ended)) if ended.job_id == job.job_id)
            }) else { panic!("not ended") };
            assert_eq!((event.finished_at, event.started_at, event.counts), (job.finished_at, job.started_at, job.counts));
        }
    }

    /// As a program of the release before leaves them: nothing recorded.
    async fn jobs_of_the_release_before_claim_all_their_pairs_before_anything_is_undone(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=110).await;
        world.run(&share(101..=110, &[BRUNO, EVA])).await;
        world.time_passes(60).await;
        let mut old = Vec::new();
        for asked in [share([101], &[BRUNO]), share([110], &[BRUNO, PAYMENTS]), share(102..=109, &[BRUNO, EVA])] {
            old.push(world.run(&asked).await);
        }
        let forget = "DELETE FROM claims; DELETE FROM job_outcomes; UPDATE lanes SET recorded = 0; \
                      UPDATE jobs SET ledger = false";
        world.test.sql(forget).await;
        assert!(!world.store.ledger_complete().await.expect("ledger"));
        let found = world.store.wake_due(true, world.due_options()).await.expect("due work");
        assert_eq!(found.ledgers, 3, "the first job found nothing unchanged");
        assert!(world.store.ledger_complete().await.expect("ledger"));
        let found = world.store.wake_due(true, world.due_options()).await.expect("due work");
        assert_eq!(found.ledgers, 0);
        for (job, secrets) in old.iter().zip([vec![101], vec![110], (102..=109).collect::<Vec<i64>>()]) {
            let claimed: Vec<i64> = claims(&world, job).await.into_iter().map(|(secret, _)| secret).collect();
            assert_eq!(claimed, secrets);
            let of_job = format!("job = (SELECT id FROM jobs WHERE job_id = '{}')", job.job_id);
            let at = job.finished_at.expect("ended") * 1_000;
            let odd = format!("SELECT COUNT(*) FROM claims WHERE {of_job} AND (at <> {at} OR among IS NOT NULL)");
            assert_eq!(world.test.number(&odd).await, 0);
        }
        // What became of a pair is told only where the counts say it.
        let outcomes = async |job: &JobSnapshot| world.store.outcomes(job.job_id, 0, 100).await.expect("outcomes");
        assert_eq!(outcomes(&old[0]).await, Some(vec![Some(Unchanged)]));
        assert_eq!(outcomes(&old[1]).await, None);
        assert_eq!(outcomes(&old[2]).await, None);
    }

    /// An older program works on a lane, and this one goes on.
    async fn a_job_that_two_releases_worked_on_keeps_what_was_recorded(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=110).await;
        world.run(&share(101..=110, &[BRUNO])).await;
        let asked = share(101..=108, &[BRUNO, EVA]);
        world.begin(&asked).await;
        for step in steps(&world).await {
            world.step(&step).await;
        }
        world.test.sql("DELETE FROM claims; DELETE FROM job_outcomes; UPDATE lanes SET recorded = 0").await;
        world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.counts), (JobState::Completed, counts(8, 0, 8, 0)));
        assert!(!world.store.ledger_complete().await.expect("ledger"));
        let exact = claims(&world, &job).await;
        assert_eq!(exact.len(), 4, "{exact:?}");
        world.store.wake_due(true, world.due_options()).await.expect("due work");
        let all = claims(&world, &job).await;
        assert_eq!(all.len(), 8);
        assert!(exact.iter().all(|claim| claim.1 == [0] && all.contains(claim)), "{all:?}");
        assert_eq!(all.iter().filter(|claim| claim.1 == [0, 1]).count(), 4, "of the others nobody knows which");
        assert_eq!(world.store.outcomes(job.job_id, 0, 100).await.expect("outcomes"), None);
    }
}

/// Bruno's access to a secret is being taken away, by the lock rule: the secret first, then the grant.
fn taking_away(world: &World, secret: i64) -> Psql {
    let mut psql = Psql::connect(&world.test.url);
    psql.sql(&format!(
        "BEGIN; SELECT id FROM secrets WHERE id = {secret} FOR UPDATE; \
         DELETE FROM grants WHERE secret_id = {secret} AND principal_id = {BRUNO}"
    ));
    psql
}

/// Waits until somebody waits for a lock in this database.
async fn somebody_waits(world: &World) {
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    eventually("somebody who waits", 60, async || (world.test.number(waiting).await > 0).then_some(())).await;
}

/// The hole that the lock closes: a lane has read that a pair is there, and it is deleted before the lane commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pair_is_unchanged_whose_grant_is_being_deleted_while_a_lane_works() {
    // The lane's first chunk has guessed nothing, its second expects repeats.
    for chunks_before in [0, 1] {
        let mut world = World::with_chunks(Kind::Postgres, 2).await;
        world.options.lanes = 1;
        world.secrets(ANA, 101..=108).await;
        world.run(&share(101..=108, &[BRUNO])).await;
        let asked = share(101..=108, &[BRUNO]);
        world.begin(&asked).await;
        let mut step = steps(&world).await.remove(0);
        for _ in 0..chunks_before {
            world.step(&step).await;
            step = steps(&world).await.remove(0);
        }
        let taken = 101 + 2 * chunks_before;
        let mut psql = taking_away(&world, taken);
        let chunk = async { world.step(&step).await };
        let ends = async {
            somebody_waits(&world).await;
            psql.sql("COMMIT");
        };
        tokio::join!(chunk, ends);
        world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!(job.counts, counts(1, 0, 7, 0), "after {chunks_before} chunks");
        assert_eq!(world.permission(taken, BRUNO).await, 1, "what was told as shared is there");
        let place = usize::try_from(taken - 101).expect("a place");
        assert_eq!(told(&world, &job).await[place], Granted);
        assert!(claims(&world, &job).await.iter().all(|claim| claim.0 != taken));
        let newer = format!(
            "SELECT COUNT(*) FROM grants WHERE secret_id = {taken} AND granted_at / 1000 > {}",
            job.finished_at.expect("ended")
        );
        assert_eq!(world.test.number(&newer).await, 0);
    }
}

/// The other way round: what a lane has confirmed is not deleted before the lane has committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_job_finds_unchanged_cannot_be_taken_away_before_it_says_so() {
    let world = World::new(Kind::Postgres).await;
    world.secrets(ANA, [101]).await;
    world.grant(101, BRUNO, Permission::View).await;
    // The notice's row is the last thing that a hand at a prompt can hold up: here, the outbox.
    let mut psql = Psql::connect(&world.test.url);
    psql.sql("BEGIN; LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE");
    let asked = share([101], &[BRUNO]);
    let begun = async { world.begin(&asked).await };
    let taken = async {
        somebody_waits(&world).await;
        let mut other = Psql::connect(&world.test.url);
        // The job has everything but its event, and whoever takes access away waits for it.
        other.sql("SET lock_timeout = '200ms'");
        let refused = other.refused("SELECT id FROM secrets WHERE id = 101 FOR UPDATE");
        psql.sql("ROLLBACK");
        refused
    };
    let (begun, refused) = tokio::join!(begun, taken);
    assert!(refused.contains("lock timeout"), "{refused}");
    assert!(matches!(begun, Begun::Ended(job) if job.counts == counts(0, 0, 1, 0)));
}

/// A small job waits; of many, those that would wait are left to be begun by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_job_whose_secret_is_held_waits_and_keeps_no_other_waiting() {
    let world = World::new(Kind::Postgres).await;
    world.secrets(ANA, 101..=104).await;
    world.grant(101, BRUNO, Permission::View).await;
    world.grant(103, BRUNO, Permission::View).await;
    let mut psql = taking_away_soon(&world, 101);
    let asked: Vec<JobRequested> = (101..=104).map(|secret| share([secret], &[BRUNO])).collect();
    let begun = world.store.begin(asked.clone(), world.options.clone()).await.expect("begin");
    let held: Vec<bool> = begun.iter().map(Option::is_none).collect();
    assert_eq!(held, [true, false, false, false]);
    let id = asked[0].job_id;
    assert_eq!(world.store.job(id).await.expect("job"), None, "nothing was done about it");
    let alone = async { world.begin(&asked[0]).await };
    let ends = async {
        somebody_waits(&world).await;
        psql.sql(&format!("DELETE FROM grants WHERE secret_id = 101 AND principal_id = {BRUNO}; COMMIT"));
    };
    let (begun, ()) = tokio::join!(alone, ends);
    assert!(matches!(begun, Begun::Ended(job) if job.counts == counts(1, 0, 0, 0)));
    assert_eq!(world.permission(101, BRUNO).await, 1);
    for (asked, told_so) in asked[1..].iter().zip([Granted, Unchanged, Granted]) {
        let job = world.job(asked.job_id).await;
        assert_eq!(told(&world, &job).await, [told_so]);
    }
}

/// The secret is locked, and nothing is deleted yet.
fn taking_away_soon(world: &World, secret: i64) -> Psql {
    let mut psql = Psql::connect(&world.test.url);
    psql.sql(&format!("BEGIN; SELECT id FROM secrets WHERE id = {secret} FOR UPDATE"));
    psql
}

/// Why the lock is a statement of its own: PostgreSQL lets a statement see what was committed when it began. It waits for
/// the lock within it, and then still sees the row that was deleted during the wait. If this test fails one day, the
/// lock may move into the statement that reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_in_the_statement_that_reads_would_not_close_the_hole() {
    let world = World::new(Kind::Postgres).await;
    world.secrets(ANA, [101]).await;
    world.grant(101, BRUNO, Permission::View).await;
    let mut psql = taking_away(&world, 101);
    let broken = format!(
        "WITH held AS MATERIALIZED (SELECT id FROM secrets WHERE id = 101 FOR KEY SHARE) \
         INSERT INTO grants (secret_id, principal_id, permission, granted_at) SELECT id, {BRUNO}, 1, 0 FROM held \
         WHERE NOT EXISTS (SELECT 1 FROM grants g WHERE g.secret_id = held.id AND g.principal_id = {BRUNO}) \
         ON CONFLICT DO NOTHING"
    );
    let repeats = async { world.test.sql(&broken).await };
    let ends = async {
        somebody_waits(&world).await;
        psql.sql("COMMIT");
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(repeats, ends) })
        .await
        .expect("no deadlock");
    assert_eq!(world.permission(101, BRUNO).await, 0, "it found the pair there, and it is gone");
}
