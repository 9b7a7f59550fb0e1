//! What lowering writes into rows of every shape, and what it means for later jobs.

use batchshare::domain::{JobState, Permission, Selection};
use batchshare::store::{UndoBy, UndoOrder, UndoOrdered};

use super::desk::{all_of, edit_of, run, taken, unshare};
use crate::on_both_stores;
use crate::world::*;
use Permission::{Edit, View};

const ROW: &str = "SELECT secret_id || ': ' || permission || ' ' || COALESCE(CAST(view_job AS TEXT), '-') || ' ' \
    || COALESCE(CAST(edit_job AS TEXT), '-') || ' ' || granted_at || ' ' || COALESCE(CAST(edit_at AS TEXT), '-') AS t \
    FROM grants ORDER BY secret_id";

async fn undo(world: &World, job: batchshare::domain::JobId) {
    let by = UndoBy::Person(principal(ANA));
    let order = UndoOrder { parent: job, by, idempotency_key: None, traceparent: None };
    let ordered = world.store.undo(order, world.options.clone()).await.expect("an answer");
    assert!(matches!(ordered, UndoOrdered::Accepted(_)), "{ordered:?}");
    world.drain().await;
}

on_both_stores! {
    async fn a_lowered_row_keeps_the_job_of_its_view(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=107).await;
        let rows = [
            // secret, permission, view_job, edit_job, edit_at
            "(101, 5, 2, 7, 8, 1000, 2000)",
            "(102, 5, 2, NULL, 8, 1000, NULL)",
            "(103, 5, 2, 0, 8, 1000, 2000)",
            // From the release before, which knew no time of an edit.
            "(104, 5, 2, 7, 8, 1000, NULL)",
            "(105, 5, 2, NULL, NULL, 1000, NULL)",
            "(106, 5, 1, 7, NULL, 1000, NULL)",
        ];
        world.test.sql(&format!(
            "INSERT INTO grants (secret_id, principal_id, permission, view_job, edit_job, granted_at, edit_at) VALUES {}",
            rows.join(", ")
        )).await;
        let job = run(&world, &unshare(101..=107, vec![edit_of(EVA)])).await;
        assert_eq!((job.state, job.taken), (JobState::Completed, taken(0, 5, 2)));
        let expected = [
            "101: 1 7 - 1000 -",
            "102: 1 8 - 1000 -",
            "103: 1 0 - 1000 -",
            "104: 1 7 - 1000 -",
            "105: 1 - - 1000 -",
            "106: 1 7 - 1000 -",
        ];
        assert_eq!(world.test.texts(ROW).await, expected);
    }

    async fn a_lowered_row_may_be_raised_again(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let edit = || share_as(ANA, Selection::Ids(vec![secret(101)]), vec![to(EVA, Edit)]);
        world.run(&edit()).await;
        run(&world, &unshare([101], vec![edit_of(EVA)])).await;
        let again = world.run(&edit()).await;
        assert_eq!(again.counts, counts(0, 1, 0, 0));
        let set = "SELECT COUNT(*) FROM grants WHERE permission = 2 AND view_job <> edit_job AND edit_at > granted_at";
        assert_eq!(world.test.number(set).await, 1);
    }

    async fn a_claim_of_edit_does_not_survive_a_lowering(kind: Kind) {
        for view_first in [false, true] {
            let world = World::new(kind).await;
            world.secrets(ANA, [101]).await;
            let give = |permission| share_as(ANA, Selection::Ids(vec![secret(101)]), vec![to(EVA, permission)]);
            if view_first {
                world.run(&give(View)).await;
            }
            world.run(&give(Edit)).await;
            let claims = give(Edit);
            world.run(&claims).await;
            claim(&world, claims.job_id).await;
            run(&world, &unshare([101], vec![edit_of(EVA)])).await;
            // Edit comes anew, and its undo must not hand it to a wish from before the lowering.
            let anew = give(Edit);
            world.run(&anew).await;
            assert_eq!(world.permission(101, EVA).await, 2);
            undo(&world, anew.job_id).await;
            assert_eq!(world.permission(101, EVA).await, 1, "view first: {view_first}");
        }
    }

    async fn a_claim_does_not_survive_that_all_is_taken(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        world.run(&share([101], &[EVA])).await;
        let claims = share([101], &[EVA]);
        world.run(&claims).await;
        claim(&world, claims.job_id).await;
        run(&world, &unshare([101], vec![all_of(EVA)])).await;
        let anew = share([101], &[EVA]);
        world.run(&anew).await;
        undo(&world, anew.job_id).await;
        assert_eq!(world.permission(101, EVA).await, 0);
    }
}

/// Writes the claim of a job that found its pair unchanged, if the job has not done so itself.
async fn claim(world: &World, job: batchshare::domain::JobId) {
    world
        .test
        .sql(&format!(
            "INSERT INTO claims (secret_id, job, at, among) SELECT 101, id, now_us(), NULL FROM jobs \
             WHERE job_id = '{job}' ON CONFLICT DO NOTHING; UPDATE jobs SET ledger = true"
        ))
        .await;
}
