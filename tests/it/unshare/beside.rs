//! An unshare beside a share of the same pairs on PostgreSQL, where both run at the same time: nobody is told that access
//! was there already while it is being taken.

use std::time::Duration;

use batchshare::contract::JobRequested;
use batchshare::domain::{JobSnapshot, Permission};

use super::desk::{all_of, edit_of, taken, unshare};
use crate::held::Psql;
use crate::support::{Kind, eventually};
use crate::world::*;

/// How many sessions of this test's database wait for a lock.
const WAITING: &str =
    "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

async fn waiting(world: &World, sessions: i64) {
    eventually("sessions wait for a lock", 20, async || {
        let found = world.test.number(WAITING).await;
        (found >= sessions).then_some(())
    })
    .await;
}

/// Bruno has access to secrets 101 and 102. The unshare has the lock of the first and waits for the second, which
/// somebody else holds; then the share comes, and then the second is let go.
async fn beside(
    share: JobRequested,
    unshare: JobRequested,
    has: Permission,
) -> (JobSnapshot, JobSnapshot, World) {
    let world = World::new(Kind::Postgres).await;
    world.secrets(ANA, [101, 102]).await;
    for secret in [101, 102] {
        world.grant(secret, BRUNO, has).await;
    }
    world.begin(&unshare).await;
    let mut holder = Psql::connect(&world.test.url);
    holder.sql("BEGIN; SELECT id FROM secrets WHERE id = 102 FOR UPDATE");
    let (share_id, unshare_id) = (share.job_id, unshare.job_id);
    let taker = async {
        world.drain().await;
    };
    let giver = async {
        waiting(&world, 1).await;
        let begun = world.store.begin_one(share, world.options.clone());
        let release = async {
            // Whoever confirms access waits for the unshare. Whoever does not is through before the time is over.
            let _ = tokio::time::timeout(Duration::from_secs(3), waiting(&world, 2)).await;
            holder.sql("COMMIT");
        };
        let (begun, ()) = tokio::join!(begun, release);
        begun.expect("begun");
    };
    tokio::join!(taker, giver);
    world.drain().await;
    let (share, unshare) = (world.job(share_id).await, world.job(unshare_id).await);
    (share, unshare, world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_share_is_not_told_that_access_is_there_while_it_goes() {
    let (share, unshare, world) =
        beside(share([101], &[BRUNO]), unshare([101, 102], vec![all_of(BRUNO)]), Permission::View).await;
    assert_eq!(unshare.taken, taken(2, 0, 0));
    assert_eq!((share.counts, world.permission(101, BRUNO).await), (counts(1, 0, 0, 0), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_share_of_edit_is_not_told_that_edit_is_there_while_it_is_lowered() {
    let edit = share_as(
        ANA,
        batchshare::domain::Selection::Ids(vec![secret(101)]),
        vec![to(BRUNO, Permission::Edit)],
    );
    let (share, unshare, world) =
        beside(edit, unshare([101, 102], vec![edit_of(BRUNO)]), Permission::Edit).await;
    assert_eq!(unshare.taken, taken(0, 2, 0));
    assert_eq!((share.counts, world.permission(101, BRUNO).await), (counts(0, 1, 0, 0), 2));
}

/// Shares and unshares of the same pairs, again and again: whatever their order was, the counts and the table agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counts_and_rows_agree_whoever_came_first() {
    let mut world = World::new(Kind::Postgres).await;
    world.set_chunks(4);
    world.secrets(ANA, 101..=104).await;
    for round in 0..12 {
        let take = if round % 2 == 0 { all_of(BRUNO) } else { edit_of(BRUNO) };
        let (gives, takes) = (share(101..=104, &[BRUNO, EVA]), unshare(101..=104, vec![take, all_of(EVA)]));
        let before = world.test.number("SELECT COUNT(*) FROM grants").await;
        world.begin(&takes).await;
        let (_, begun) =
            tokio::join!(world.drain(), world.store.begin_one(gives.clone(), world.options.clone()));
        begun.expect("begun");
        while world.job(takes.job_id).await.finished_at.is_none()
            || world.job(gives.job_id).await.finished_at.is_none()
        {
            world.drain().await;
        }
        let (gave, took) = (world.job(gives.job_id).await.counts, world.job(takes.job_id).await.taken);
        let after = world.test.number("SELECT COUNT(*) FROM grants").await;
        assert_eq!(gave.done(), 8, "round {round}");
        let revoked = i64::try_from(took.revoked).expect("a number");
        let granted = i64::try_from(gave.granted).expect("a number");
        assert_eq!(before + granted - revoked, after, "round {round}");
    }
}
