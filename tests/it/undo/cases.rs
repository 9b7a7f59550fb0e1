//! What becomes of a pair: the cases of the table, with shares that were really made.

use batchshare::domain::{FailReason, JobState, Permission};
use batchshare::store::{UndoBy, UndoOrder, UndoOrdered};

use super::desk::{Desk, order, taken};
use crate::on_both_stores;
use crate::world::*;
use Permission::{Edit, View};

on_both_stores! {
    async fn what_one_job_alone_gave_is_revoked(kind: Kind) {
        for permission in [View, Edit] {
            let desk = Desk::new(kind, 10_000).await;
            let job = desk.one(permission).await;
            assert_eq!(desk.undone(job).await, taken(1, 0, 0, 0));
            assert_eq!(desk.has().await, 0);
        }
    }

    async fn view_then_edit_are_undone_in_either_order(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (view, edit) = (desk.one(View).await, desk.one(Edit).await);
        assert_eq!(desk.undone(edit).await, taken(0, 1, 0, 0));
        assert_eq!(desk.has().await, 1);
        assert_eq!(desk.undone(view).await, taken(1, 0, 0, 0));
        let (view, edit) = (desk.one(View).await, desk.one(Edit).await);
        assert_eq!(desk.undone(view).await, taken(0, 0, 1, 0));
        assert_eq!(desk.has().await, 2);
        assert_eq!(desk.undone(edit).await, taken(1, 0, 0, 0));
        assert_eq!(desk.has().await, 0);
    }

    async fn edit_over_a_view_of_no_known_job_is_lowered(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        desk.world.grant(101, BRUNO, View).await;
        let edit = desk.one(Edit).await;
        assert_eq!(desk.undone(edit).await, taken(0, 1, 0, 0));
        assert_eq!(desk.has().await, 1);
    }

    async fn a_grant_that_no_job_gave_is_untouched(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        desk.world.grant(101, BRUNO, Edit).await;
        let claims = desk.one(View).await;
        assert_eq!(desk.undone(claims).await, taken(0, 0, 0, 1));
        assert_eq!(desk.has().await, 2);
    }

    async fn a_claim_of_view_keeps_view(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (edit, claims) = (desk.one(Edit).await, desk.one(View).await);
        assert_eq!(desk.undone(edit).await, taken(0, 1, 0, 0));
        assert_eq!(desk.has().await, 1);
        assert_eq!(desk.undone(claims).await, taken(1, 0, 0, 0));
    }

    async fn a_claim_of_edit_keeps_edit(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (edit, claims) = (desk.one(Edit).await, desk.one(Edit).await);
        assert_eq!(desk.undone(edit).await, taken(0, 0, 1, 0));
        assert_eq!(desk.has().await, 2);
        assert_eq!(desk.undone(claims).await, taken(1, 0, 0, 0));
        assert_eq!(desk.has().await, 0);
    }

    async fn a_claim_before_an_upgrade_is_one_of_view(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (view, claims, edit) = (desk.one(View).await, desk.one(View).await, desk.one(Edit).await);
        assert_eq!(desk.undone(view).await, taken(0, 0, 1, 0));
        assert_eq!(desk.undone(edit).await, taken(0, 1, 0, 0));
        assert_eq!(desk.has().await, 1);
        assert_eq!(desk.undone(claims).await, taken(1, 0, 0, 0));
    }

    /// Three jobs on a pair, each of them the one that only claims, undone in all orders.
    async fn the_order_of_undos_does_not_matter(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        for first in [View, Edit] {
            for second in [View, Edit] {
                for third in [View, Edit] {
                    for [a, b, c] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                        let asked = [first, second, third];
                        let jobs = [desk.one(first).await, desk.one(second).await, desk.one(third).await];
                        let what = format!("{asked:?} {a}{b}{c}");
                        desk.undone(jobs[a]).await;
                        let left = asked[b].code().max(asked[c].code());
                        assert_eq!(desk.has().await, i64::from(left), "{what}");
                        desk.undone(jobs[b]).await;
                        assert_eq!(desk.has().await, i64::from(asked[c].code()), "{what}");
                        desk.undone(jobs[c]).await;
                        assert_eq!(desk.has().await, 0, "{what}");
                    }
                }
            }
        }
    }

    async fn a_job_that_only_claimed_withdraws_its_claims(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (gave, claims) = (desk.one(View).await, desk.one(View).await);
        assert_eq!(desk.undone(claims).await, taken(0, 0, 0, 1));
        assert_eq!(desk.has().await, 1);
        assert_eq!(desk.undone(gave).await, taken(1, 0, 0, 0));
    }

    async fn what_was_claimed_before_it_was_lowered_is_one_of_view(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (gave, claims) = (desk.one(Edit).await, desk.one(Edit).await);
        // As an unshare lowers it.
        desk.world.test.sql("UPDATE grants SET permission = 1, view_job = edit_job, edit_job = NULL, edit_at = NULL").await;
        let edit = desk.one(Edit).await;
        assert_eq!(desk.undone(edit).await, taken(0, 1, 0, 0));
        assert_eq!(desk.has().await, 1);
        assert_eq!(desk.undone(gave).await, taken(0, 0, 1, 0));
        assert_eq!(desk.undone(claims).await, taken(1, 0, 0, 0));
    }

    async fn what_was_claimed_before_it_was_taken_by_hand_counts_no_more(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let (gave, claims) = (desk.one(View).await, desk.one(View).await);
        desk.take_by_hand().await;
        let again = desk.one(View).await;
        assert_eq!(desk.undone(gave).await, taken(0, 0, 0, 1));
        assert_eq!(desk.undone(again).await, taken(1, 0, 0, 0));
        assert_eq!(desk.undone(claims).await, taken(0, 0, 0, 1));
        assert_eq!(desk.has().await, 0);
    }

    async fn what_was_taken_by_hand_before_is_untouched(kind: Kind) {
        let desk = Desk::new(kind, 10_000).await;
        let job = desk.one(View).await;
        desk.take_by_hand().await;
        assert_eq!(desk.undone(job).await, taken(0, 0, 0, 1));
    }

    async fn a_job_with_a_lower_key_that_came_later_to_the_pair_is_the_later_one(kind: Kind) {
        let desk = Desk::new(kind, 1).await;
        // It is made first, and its second lane comes to the pair last.
        let first = share([109, 101], &[BRUNO]);
        desk.world.begin(&first).await;
        let second = share([101], &[BRUNO]);
        desk.world.begin(&second).await;
        desk.world.drain().await;
        let earliest = desk.world.test.number("SELECT view_job FROM grants WHERE secret_id = 101").await;
        let keys = desk.world.test.number("SELECT MAX(id) FROM jobs").await;
        assert_eq!(earliest, keys, "the second job gave it");
        assert_eq!(desk.undone(second.job_id).await, taken(0, 0, 1, 0));
        assert_eq!(desk.has().await, 1);
        assert_eq!(desk.undone(first.job_id).await, taken(2, 0, 0, 0));
    }

    async fn owners_rejected_pairs_and_recipients_named_twice_are_counted_once(kind: Kind) {
        let desk = Desk::new(kind, 3).await;
        desk.world.secrets(BRUNO, [200]).await;
        let recipients = vec![to(ANA, View), to(BRUNO, View), to(BRUNO, Edit), to(CARLA_NO_ACCOUNT, View)];
        let job = desk.share_as(ANA, [101, 102, 200, 999], recipients).await;
        let shared = desk.world.job(job).await;
        // Ana owns the two secrets, carla has no account, one secret is bruno's, and one is not there.
        assert_eq!((shared.counts, shared.pairs), (counts(2, 0, 2, 8), Some(12)));
        let undone = desk.undo(job).await;
        assert_eq!((undone.taken, undone.counts.rejected), (taken(2, 0, 0, 4), 6));
        assert_eq!(undone.state, JobState::CompletedWithRejections);
        let lines: Vec<_> = undone.rejections.iter().map(line).collect();
        assert_eq!(lines, [("secret", 200, "not_found", 3), ("secret", 999, "not_found", 3)]);
        assert_eq!(desk.grants().await, 0);
    }

    async fn disabled_secrets_and_recipients_who_are_gone_do_not_matter(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = desk.share_as(ANA, [101, 102], vec![to(BRUNO, View), to(PAYMENTS, View)]).await;
        desk.world.test.sql("UPDATE secrets SET disabled = true; UPDATE principals SET active = false WHERE id IN (2, 10)").await;
        assert_eq!(desk.undone(job).await, taken(4, 0, 0, 0));
    }

    async fn a_secret_without_right_is_rejected_and_undone_when_the_right_is_back(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = desk.share_as(ANA, 101..=104, vec![to(BRUNO, View), to(EVA, View)]).await;
        desk.world.test.sql("UPDATE secrets SET owner_id = 5 WHERE id IN (102, 103)").await;
        desk.world.grant(103, ANA, View).await;
        let first = desk.undo(job).await;
        assert_eq!((first.state, first.taken), (JobState::CompletedWithRejections, taken(4, 0, 0, 0)));
        let lines: Vec<_> = first.rejections.iter().map(line).collect();
        assert_eq!(lines, [("secret", 102, "not_found", 2), ("secret", 103, "not_allowed", 2)]);
        desk.world.test.sql("UPDATE secrets SET owner_id = 1").await;
        assert_eq!(desk.undone(job).await, taken(4, 0, 0, 4));
        assert!(matches!(desk.order(job).await, UndoOrdered::Refused(_)));
        assert_eq!(desk.grants().await, 1);
    }

    async fn an_undo_that_may_take_nothing_fails(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = desk.share_as(ANA, [101], vec![to(BRUNO, View)]).await;
        desk.world.test.sql("UPDATE secrets SET owner_id = 5").await;
        let undone = desk.undo(job).await;
        assert_eq!((undone.state, undone.reason), (JobState::Failed, Some(FailReason::NothingToUndo)));
        // The operator looks at no right.
        let by = UndoBy::Operator { unchecked: true };
        let UndoOrdered::Accepted(job) = desk.order_as(UndoOrder { by, ..order(job, ANA) }).await else {
            panic!("accepted");
        };
        desk.world.drain().await;
        let undone = desk.world.job(job.job_id).await;
        assert_eq!((undone.state, undone.taken), (JobState::Completed, taken(1, 0, 0, 0)));
    }

    async fn a_secret_is_finished_although_the_undoer_loses_the_own_right_on_the_way(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        desk.world.secrets(EVA, 301..=303).await;
        // Ana may edit by a group of hers, to which her own job gave it.
        for id in 301..=303 {
            desk.world.grant(id, ANA, Edit).await;
        }
        let job = desk.share_as(ANA, 301..=303, vec![to(ANAS_TEAM, Edit), to(BRUNO, View)]).await;
        desk.world.test.sql("DELETE FROM grants WHERE principal_id = 1").await;
        assert_eq!(desk.undone(job).await, taken(6, 0, 0, 0));
        assert_eq!(desk.grants().await, 0);
    }

    async fn an_undo_fails_when_its_requester_may_not_act(kind: Kind) {
        let desk = Desk::new(kind, 2).await;
        let job = desk.share_as(ANA, 101..=103, vec![to(BRUNO, View), to(EVA, View)]).await;
        let UndoOrdered::Accepted(undo) = desk.order(job).await else { panic!("accepted") };
        desk.world.test.sql("UPDATE principals SET active = false WHERE id = 1").await;
        desk.world.drain().await;
        let undo = desk.world.job(undo.job_id).await;
        assert_eq!((undo.state, undo.reason), (JobState::Failed, Some(FailReason::RequesterNotValid)));
        assert_eq!(desk.grants().await, 6);
    }

    async fn an_undo_of_all_is_about_the_secrets_of_then(kind: Kind) {
        let desk = Desk::new(kind, 4).await;
        let all = batchshare::domain::Selection::All(batchshare::domain::AllFilter::default());
        let large = desk.run(share_as(ANA, all.clone(), vec![to(BRUNO, View), to(EVA, View)])).await;
        desk.world.secrets(ANA, [120]).await;
        let later = desk.share_as(ANA, [120], vec![to(BRUNO, View)]).await;
        assert_eq!(desk.undone(large).await, taken(20, 0, 0, 0));
        assert_eq!(desk.grants().await, 1);
        assert_eq!(desk.undone(later).await, taken(1, 0, 0, 0));
    }

    async fn recipients_whose_ids_are_far_apart_are_found_like_others(kind: Kind) {
        let desk = Desk::new(kind, 6).await;
        desk.world
            .test
            .sql("INSERT INTO principals (id, kind, name, active, has_account, visible_to_members, search_text) VALUES (900000, 1, 'far', true, true, false, 'far')")
            .await;
        let near = desk.share_as(ANA, 101..=106, vec![to(BRUNO, Edit), to(EVA, View)]).await;
        let far = share_as(ANA, batchshare::domain::Selection::Ids((101..=104).map(secret).collect()), vec![
            to(BRUNO, View),
            to(PAYMENTS, Edit),
            batchshare::domain::Recipient { kind: batchshare::domain::PrincipalKind::User, id: principal(900_000), permission: Edit },
        ]);
        let far = desk.run(far).await;
        assert_eq!(desk.undone(near).await, taken(8, 4, 0, 0));
        assert_eq!(desk.undone(far).await, taken(12, 0, 0, 0));
        assert_eq!(desk.grants().await, 0);
    }
}
