//! Who stands in for a job that is undone: grants that others keep are not written, and everybody reads their heir.

use batchshare::domain::{JobId, Permission};

use super::desk::{Desk, taken};
use crate::on_both_stores;
use crate::world::*;
use Permission::{Edit, View};

impl Desk {
    async fn key(&self, job: JobId) -> i64 {
        self.world.test.number(&format!("SELECT id FROM jobs WHERE job_id = '{job}'")).await
    }

    /// The grants whose rows name this job.
    async fn named(&self, job: JobId) -> i64 {
        let key = self.key(job).await;
        self.world
            .test
            .number(&format!("SELECT COUNT(*) FROM grants WHERE view_job = {key} OR edit_job = {key}"))
            .await
    }

    /// On how many secrets this job stands in for another.
    async fn stands_in(&self, heir: JobId) -> i64 {
        let key = self.key(heir).await;
        self.world.test.number(&format!("SELECT COUNT(*) FROM heirs WHERE heir = {key}")).await
    }

    /// The job that is said to have given bruno's grant on this secret, in the list of its grants and in the answer why he
    /// has access. The two are the same.
    async fn giver(&self, id: i64) -> Option<JobId> {
        let listed = self.world.store.grants_of(principal(ANA), secret(id), 0, 10).await.expect("grants");
        let listed = listed.expect("seen").into_iter().find(|item| item.principal == principal(BRUNO))?.job;
        let why = self.world.store.why(None, secret(id), principal(BRUNO)).await.expect("an answer");
        let batchshare::store::Explained::Access(access) = why else { panic!("{why:?}") };
        let way = access.because.into_iter().next().expect("a way");
        assert_eq!(way.edit.or(way.view).map(|asking| asking.job), listed);
        assert!(
            way.also_asked_by.iter().all(|also| Some(also.asking.job) != listed),
            "the heir is told once"
        );
        listed
    }
}

on_both_stores! {
    async fn what_others_keep_is_not_written_and_everybody_reads_its_heir(kind: Kind) {
        let desk = Desk::new(kind, 6).await;
        let gave = desk.share_as(ANA, 101..=104, vec![to(BRUNO, View), to(EVA, View)]).await;
        let claims = desk.share_as(ANA, 101..=104, vec![to(BRUNO, View)]).await;
        assert_eq!(desk.undone(gave).await, taken(4, 0, 4, 0));
        assert_eq!((desk.named(gave).await, desk.stands_in(claims).await), (4, 4));
        for id in 101..=104 {
            assert_eq!(desk.giver(id).await, Some(claims), "secret {id}");
        }
        desk.take_by_hand().await;
        let told = format!("SELECT COUNT(*) FROM audit WHERE action = 'grant_revoked' AND job = '{claims}'");
        assert_eq!(desk.world.test.number(&told).await, 1);
        // Somebody adds an edit to two of the views that the heir keeps, and stands above it.
        let edits = desk.share_as(ANA, [102, 103], vec![to(BRUNO, Edit)]).await;
        assert_eq!(desk.giver(102).await, Some(edits));
        assert_eq!(desk.undone(claims).await, taken(1, 0, 2, 1));
        assert_eq!((desk.giver(102).await, desk.giver(104).await), (Some(edits), None));
        assert_eq!(desk.undone(edits).await, taken(2, 0, 0, 0));
        assert_eq!((desk.grants().await, desk.stands_in(claims).await), (0, 0));
    }

    async fn a_secret_has_the_heir_of_most_of_its_pairs_and_the_other_rows_are_written(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let gave = desk.share_as(ANA, [101, 102], vec![to(BRUNO, View), to(EVA, View), to(PAYMENTS, View)]).await;
        let on_first = desk.share_as(ANA, [101], vec![to(BRUNO, View), to(EVA, View)]).await;
        let on_both = desk.share_as(ANA, [101, 102], vec![to(PAYMENTS, View)]).await;
        let on_second = desk.share_as(ANA, [102], vec![to(EVA, View), to(BRUNO, Edit)]).await;
        // Bruno's view on the second secret is below an edit now, and nobody claims it.
        assert_eq!(desk.undone(gave).await, taken(0, 0, 6, 0));
        assert_eq!((desk.stands_in(on_first).await, desk.named(on_both).await), (1, 1 + desk.stands_in(on_second).await));
        assert_eq!(desk.undone(on_first).await, taken(2, 0, 0, 0));
        assert_eq!(desk.undone(on_second).await, taken(2, 0, 0, 0));
        assert_eq!(desk.undone(on_both).await, taken(2, 0, 0, 0));
        assert_eq!(desk.grants().await, 0);
    }

    async fn an_heir_hands_over_to_the_next_one(kind: Kind) {
        let desk = Desk::new(kind, 4).await;
        let mut jobs = Vec::new();
        for _ in 0..4 {
            jobs.push(desk.share_as(ANA, 101..=103, vec![to(BRUNO, View), to(EVA, Edit)]).await);
        }
        for two in jobs.windows(2) {
            assert_eq!(desk.undone(two[0]).await, taken(0, 0, 6, 0));
            assert_eq!(desk.giver(102).await, Some(two[1]));
            assert_eq!(desk.stands_in(two[1]).await, 3);
        }
        assert_eq!(desk.undone(jobs[3]).await, taken(6, 0, 0, 0));
        assert_eq!(desk.world.test.number("SELECT COUNT(*) FROM heirs").await, 0);
    }
}
