//! Undo beside whatever else happens to the same pairs, on PostgreSQL, with everybody stopped between what they read and
//! their commit: all messages are written last, so whoever holds the table of the outbox holds them there.
//!
//! SQLite has one writer, so nothing of this can happen there.

use std::sync::Arc;

use batchshare::contract;
use batchshare::contract::Step;
use batchshare::domain::{JobId, Permission};
use batchshare::store::{MessageKind, UndoOrdered};

use super::desk::{Desk, order, taken};
use crate::held::Psql;
use crate::support::{Kind, eventually};
use crate::unshare::desk::unshare;
use crate::world::*;
use Permission::{Edit, View};

/// Nobody commits until this is let go.
struct Barrier(Psql);

impl Barrier {
    fn up(desk: &Desk) -> Self {
        let mut psql = Psql::connect(&desk.world.test.url);
        psql.sql("BEGIN; LOCK TABLE outbox IN SHARE ROW EXCLUSIVE MODE");
        Self(psql)
    }

    fn down(mut self) {
        self.0.sql("COMMIT");
    }
}

impl Desk {
    async fn on_postgres() -> Arc<Self> {
        Arc::new(Self::new(Kind::Postgres, 10_000).await)
    }

    /// Waits until so many transactions wait for a lock.
    async fn waiting(&self, count: i64) {
        let sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("transactions wait for locks", 20, async || {
            (self.world.test.number(sql).await == count).then_some(())
        })
        .await;
    }

    /// Orders an undo, and returns it with its only step.
    async fn step_of(&self, parent: JobId) -> (JobId, Step) {
        let UndoOrdered::Accepted(undo) = self.order_as(order(parent, ANA)).await else { panic!("accepted") };
        let messages = self.world.take_messages().await;
        let step = messages.iter().find(|row| row.kind == MessageKind::Step).expect("a step");
        (undo.job_id, contract::decode_step(&step.body).expect("a step"))
    }
}

/// Works on a step, until the answer comes.
fn work(desk: &Arc<Desk>, step: Step) -> tokio::task::JoinHandle<()> {
    let desk = Arc::clone(desk);
    tokio::spawn(async move {
        desk.world.step(&step).await.expect("work");
    })
}

fn share_one(desk: &Arc<Desk>, permission: Permission) -> (JobId, tokio::task::JoinHandle<()>) {
    let desk = Arc::clone(desk);
    let selection = batchshare::domain::Selection::Ids(vec![secret(101)]);
    let asked = share_as(ANA, selection, vec![to(BRUNO, permission)]);
    let job = asked.job_id;
    let task = tokio::spawn(async move {
        desk.world.begin(&asked).await;
    });
    (job, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_sees_the_claim_of_a_share_that_was_about_to_commit() {
    let desk = Desk::on_postgres().await;
    let gave = desk.one(View).await;
    let (undo, step) = desk.step_of(gave).await;
    let barrier = Barrier::up(&desk);
    let (claims, share) = share_one(&desk, View);
    desk.waiting(1).await;
    let undoing = work(&desk, step);
    desk.waiting(2).await;
    barrier.down();
    share.await.expect("shared");
    undoing.await.expect("undone");
    assert_eq!(desk.world.job(claims).await.counts, counts(0, 0, 1, 0));
    assert_eq!(desk.world.job(undo).await.taken, taken(0, 0, 1, 0));
    assert_eq!(desk.has().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_comes_while_its_pair_is_taken_back_grants_it_anew() {
    let desk = Desk::on_postgres().await;
    let gave = desk.one(View).await;
    let (undo, step) = desk.step_of(gave).await;
    let barrier = Barrier::up(&desk);
    let undoing = work(&desk, step);
    desk.waiting(1).await;
    let (later, share) = share_one(&desk, View);
    desk.waiting(2).await;
    barrier.down();
    undoing.await.expect("undone");
    share.await.expect("shared");
    assert_eq!(desk.world.job(undo).await.taken, taken(1, 0, 0, 0));
    assert_eq!(desk.world.job(later).await.counts, counts(1, 0, 0, 0));
    assert_eq!(desk.has().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_was_about_to_commit_is_kept() {
    let desk = Desk::on_postgres().await;
    let gave = desk.one(View).await;
    let (undo, step) = desk.step_of(gave).await;
    let barrier = Barrier::up(&desk);
    let (_, share) = share_one(&desk, Edit);
    desk.waiting(1).await;
    let undoing = work(&desk, step);
    desk.waiting(2).await;
    barrier.down();
    share.await.expect("shared");
    undoing.await.expect("undone");
    assert_eq!(desk.world.job(undo).await.taken, taken(0, 0, 1, 0));
    assert_eq!(desk.has().await, 2);
}

/// The undo does not wait for the upgrade, since it leaves the row to the heir of its view.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_heir_keeps_the_view_below_an_upgrade_that_was_about_to_commit() {
    let desk = Desk::on_postgres().await;
    let (gave, claims) = (desk.one(View).await, desk.one(View).await);
    let (undo, step) = desk.step_of(gave).await;
    let barrier = Barrier::up(&desk);
    let (raises, share) = share_one(&desk, Edit);
    desk.waiting(1).await;
    let undoing = work(&desk, step);
    desk.waiting(2).await;
    barrier.down();
    share.await.expect("shared");
    undoing.await.expect("undone");
    assert_eq!(desk.world.job(undo).await.taken, taken(0, 0, 1, 0));
    assert_eq!(desk.has().await, 2);
    assert_eq!(desk.undone(raises).await, taken(0, 1, 0, 0));
    assert_eq!(desk.undone(claims).await, taken(1, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_is_taken_by_hand_while_it_is_undone_is_gone_once() {
    let desk = Desk::on_postgres().await;
    let (gave, _) = (desk.one(View).await, desk.one(View).await);
    let (undo, step) = desk.step_of(gave).await;
    // The undo comes first: it hands the grant over, and then it is taken by hand.
    let barrier = Barrier::up(&desk);
    let undoing = work(&desk, step);
    desk.waiting(1).await;
    let by_hand = Arc::clone(&desk);
    let by_hand = tokio::spawn(async move { by_hand.take_by_hand().await });
    desk.waiting(2).await;
    barrier.down();
    undoing.await.expect("undone");
    by_hand.await.expect("taken");
    assert_eq!(desk.world.job(undo).await.taken, taken(0, 0, 1, 0));
    assert_eq!(desk.has().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_by_hand_a_moment_before_is_untouched() {
    let desk = Desk::on_postgres().await;
    let gave = desk.one(View).await;
    let (undo, step) = desk.step_of(gave).await;
    let mut hand = Psql::connect(&desk.world.test.url);
    hand.sql(
        "BEGIN; SELECT id FROM secrets WHERE id = 101 FOR UPDATE; DELETE FROM grants WHERE secret_id = 101",
    );
    let undoing = work(&desk, step);
    desk.waiting(1).await;
    hand.sql("COMMIT");
    undoing.await.expect("undone");
    assert_eq!(desk.world.job(undo).await.taken, taken(0, 0, 0, 1));
}

/// Holds the first share that comes to a grant, in the statement that inserts it, after it has read its time.
const GATE: &str = "CREATE TABLE gate (closed boolean, held integer); INSERT INTO gate VALUES (true, 0); \
    CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE first boolean; BEGIN \
      SELECT closed AND held = 0 INTO first FROM gate; \
      WHILE first AND (SELECT closed FROM gate) LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN NEW; END $$; \
    CREATE TRIGGER gate BEFORE INSERT ON grants FOR EACH ROW EXECUTE FUNCTION gate()";

/// A share reads its time and comes to its pair only later. Meanwhile somebody else asks for the access that is still
/// there, and then it is taken away. That wish has ended, although it seems to be younger than the grant of the share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_and_taken_while_a_share_was_on_its_way_does_not_come_back() {
    for by_hand in [true, false] {
        let desk = Desk::on_postgres().await;
        desk.one(View).await;
        desk.world.test.sql(GATE).await;
        let (late, share) = share_one(&desk, View);
        let sleeps = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        eventually("the share is held", 30, async || {
            (desk.world.test.number(sleeps).await > 0).then_some(())
        })
        .await;
        desk.world.test.sql("UPDATE gate SET held = 1").await;
        let claims = desk.one(View).await;
        assert_eq!(desk.world.job(claims).await.counts, counts(0, 0, 1, 0));
        if by_hand {
            desk.take_by_hand().await;
        } else {
            let taking = unshare([101], vec![to(BRUNO, View), to(EVA, View)]);
            desk.run(taking).await;
        }
        desk.world.test.sql("UPDATE gate SET closed = false").await;
        share.await.expect("shared");
        assert_eq!(desk.world.job(late).await.counts, counts(1, 0, 0, 0));
        assert_eq!(desk.undone(late).await, taken(1, 0, 0, 0), "by hand: {by_hand}");
        assert_eq!(desk.has().await, 0, "by hand: {by_hand}");
    }
}

/// Shares of the same pairs come all the time while a large job is undone. Whoever loses a deadlock is tried again, so
/// everything ends, and each pair has what the jobs that are left asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_undo_of_many_pairs_beside_shares_of_the_same_pairs_ends() {
    let mut desk = Desk::new(Kind::Postgres, 10).await;
    desk.world.options.lanes = 1;
    let all = [BRUNO, EVA, PAYMENTS, ANAS_TEAM];
    let view = |ids: &[i64]| ids.iter().map(|id| to(*id, View)).collect::<Vec<_>>();
    let gave = desk.share_as(ANA, 101..=110, view(&all)).await;
    let (undo, step) = desk.step_of(gave).await;
    let desk = Arc::new(desk);
    let mut shares = Vec::new();
    for (place, permission) in [View, Edit, View, Edit].into_iter().enumerate() {
        let desk = Arc::clone(&desk);
        shares.push(tokio::spawn(async move {
            let ids: Vec<i64> = (101..=110).filter(|id| (id + place as i64) % 2 == 0).collect();
            let selection = batchshare::domain::Selection::Ids(ids.into_iter().map(secret).collect());
            let asked = share_as(ANA, selection, vec![to(BRUNO, permission), to(EVA, View)]);
            let options = batchshare::store::BeginOptions { chunk_pairs: 100, ..desk.world.options.clone() };
            batchshare::consume::in_place(|| desk.world.store.begin_one(asked.clone(), options.clone()))
                .await
                .expect("begun");
        }));
    }
    let undoing = Arc::clone(&desk);
    let undoing = tokio::spawn(async move {
        let mut step = step;
        loop {
            let lane =
                undoing.world.store.lane(step.clone(), undoing.world.options.lane).await.expect("a lane");
            let batchshare::store::LaneFound::Work(work) = lane else { break };
            let work = *work;
            let options = undoing.world.options.lane;
            let done =
                batchshare::consume::in_place(|| undoing.world.store.chunk(work.clone(), true, options))
                    .await;
            match done.expect("a chunk") {
                batchshare::store::ChunkDone::Moved { .. } => step.turn += 1,
                _ => break,
            }
        }
    });
    for share in shares {
        share.await.expect("shared");
    }
    undoing.await.expect("undone");
    let ended = desk.world.job(undo).await;
    assert_eq!((ended.state, ended.done()), (batchshare::domain::JobState::Completed, 40));
    // Even ids were asked for with view by two jobs, odd ones with edit.
    for id in 101..=110 {
        let bruno = if id % 2 == 0 { 1 } else { 2 };
        assert_eq!(desk.world.permission(id, BRUNO).await, bruno, "secret {id}");
        assert_eq!(desk.world.permission(id, EVA).await, 1, "secret {id}");
        assert_eq!(desk.world.permission(id, PAYMENTS).await, 0, "secret {id}");
    }
}
