//! What an unshare makes of each pair, and which pairs it rejects.

use batchshare::domain::{
    AllFilter, FailReason, JobKind, JobState, Permission, PrincipalKind, Recipient, Selection,
};
use batchshare::store::Begun;

use super::desk::{all_of, edit_of, run, taken, unshare, unshare_as};
use crate::on_both_stores;
use crate::world::*;
use Permission::{Edit, View};

on_both_stores! {
    async fn everything_is_taken_or_edit_alone_whoever_gave_it(kind: Kind) {
        for chunk_pairs in [10_000, 2] {
            let world = World::with_chunks(kind, chunk_pairs).await;
            world.secrets(ANA, 101..=104).await;
            // Of 101 both view, of 102 both edit, of 103 only bruno has anything, of 104 nobody.
            for who in [BRUNO, EVA] {
                world.grant(101, who, View).await;
                world.grant(102, who, Edit).await;
            }
            world.grant(103, BRUNO, Edit).await;
            let asked = unshare(101..=104, vec![all_of(BRUNO), edit_of(EVA)]);
            let job = run(&world, &asked).await;
            assert_eq!((job.kind, job.state, job.taken), (JobKind::Unshare, JobState::Completed, taken(3, 1, 4)));
            assert_eq!(world.grants().await, ["101/5 1", "102/5 1"]);
            // A second one finds nothing, and that is no failure.
            let job = run(&world, &unshare(101..=104, vec![all_of(BRUNO), edit_of(EVA)])).await;
            assert_eq!((job.state, job.taken), (JobState::Completed, taken(0, 0, 8)));
        }
    }

    async fn grants_of_other_people_and_secrets_stay(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=103).await;
        for (secret, who) in [(101, BRUNO), (101, EVA), (101, PAYMENTS), (102, BRUNO), (103, BRUNO)] {
            world.grant(secret, who, Edit).await;
        }
        let job = run(&world, &unshare([101, 102], vec![all_of(BRUNO)])).await;
        assert_eq!(job.taken, taken(2, 0, 0));
        assert_eq!(world.grants().await, ["101/5 2", "101/10 2", "103/2 2"]);
    }

    async fn what_an_owner_may_do_is_not_taken(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(BRUNO, [101]).await;
        world.secrets(ANA, [102]).await;
        world.grant(101, ANA, Edit).await;
        // Rows from before they owned the secret.
        world.grant(101, BRUNO, Edit).await;
        world.grant(102, ANA, Edit).await;
        world.grant(102, BRUNO, Edit).await;
        let job = run(&world, &unshare([101, 102], vec![edit_of(ANA), all_of(BRUNO)])).await;
        assert_eq!((job.state, job.taken), (JobState::Completed, taken(1, 1, 2)));
        assert_eq!(world.grants().await, ["101/1 1", "101/2 2", "102/1 2"]);
    }

    async fn the_right_is_looked_at_for_each_secret(kind: Kind) {
        for chunk_pairs in [10_000, 2] {
            let world = World::with_chunks(kind, chunk_pairs).await;
            world.secrets(ANA, [101]).await;
            world.secrets(BRUNO, [102, 103, 104, 105]).await;
            world.grant(102, ANA, Edit).await;
            world.grant(103, ANA, View).await;
            world.grant(104, ANAS_TEAM, Edit).await;
            for secret in 101..=105 {
                world.grant(secret, EVA, View).await;
            }
            let asked = unshare([101, 102, 103, 104, 105, 999], vec![all_of(EVA), all_of(PAYMENTS)]);
            let job = run(&world, &asked).await;
            assert_eq!((job.state, job.taken), (JobState::CompletedWithRejections, taken(3, 0, 3)));
            let lines: Vec<_> = job.rejections.iter().map(line).collect();
            let expected = [
                ("secret", 103, "not_allowed", 2),
                ("secret", 105, "not_found", 2),
                ("secret", 999, "not_found", 2),
            ];
            assert_eq!(lines, expected);
            assert_eq!(world.permission(103, EVA).await + world.permission(105, EVA).await, 2);
        }
    }

    async fn a_right_that_is_lost_on_the_way_ends_the_taking(kind: Kind) {
        let world = World::with_chunks(kind, 1).await;
        world.secrets(BRUNO, 101..=104).await;
        for secret in 101..=104 {
            world.grant(secret, ANA, Edit).await;
            world.grant(secret, EVA, View).await;
        }
        let asked = unshare(101..=104, vec![all_of(EVA)]);
        world.begin(&asked).await;
        world.test.sql("DELETE FROM grants WHERE principal_id = 1 AND secret_id > 102").await;
        world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.taken, job.counts.rejected), (JobState::CompletedWithRejections, taken(2, 0, 0), 2));
        assert_eq!(world.permission(103, EVA).await, 1);
    }

    async fn the_own_right_may_be_among_what_is_taken(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(BRUNO, [101]).await;
        for who in [ANA, EVA] {
            world.grant(101, who, Edit).await;
        }
        let job = run(&world, &unshare([101], vec![all_of(ANA), all_of(EVA)])).await;
        assert_eq!((job.state, job.taken), (JobState::Completed, taken(2, 0, 0)));
    }

    async fn access_is_taken_from_what_is_disabled_inactive_or_without_account(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101, 102]).await;
        let from = [CARLA_NO_ACCOUNT, DAVI_INACTIVE, OLD_TEAM_INACTIVE, ANAS_OLD_INACTIVE];
        for who in from {
            world.grant(101, who, Edit).await;
        }
        world.test.sql("UPDATE secrets SET disabled = true").await;
        let job = run(&world, &unshare([101, 102], from.map(all_of).to_vec())).await;
        assert_eq!((job.state, job.taken), (JobState::Completed, taken(4, 0, 4)));
        assert_eq!(world.grants().await, [""; 0]);
    }

    async fn nobody_and_who_is_named_by_the_wrong_kind_is_rejected(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101, 102]).await;
        world.grant(101, BRUNO, View).await;
        let wrong = Recipient { kind: PrincipalKind::UserGroup, ..all_of(BRUNO) };
        let job = run(&world, &unshare([101, 102], vec![all_of(EVA), all_of(9), wrong])).await;
        assert_eq!((job.state, job.taken), (JobState::CompletedWithRejections, taken(0, 0, 2)));
        let lines: Vec<_> = job.rejections.iter().map(line).collect();
        assert_eq!(lines, [("user", 9, "not_found", 2), ("user_group", BRUNO, "not_found", 2)]);
        assert_eq!(world.permission(101, BRUNO).await, 1);
    }

    async fn from_a_group_that_is_not_seen_only_what_it_has_is_taken(kind: Kind) {
        for chunk_pairs in [10_000, 2] {
            let world = World::with_chunks(kind, chunk_pairs).await;
            world.secrets(ANA, 101..=104).await;
            world.secrets(BRUNO, [105]).await;
            world.grant(101, BRUNOS_HIDDEN, View).await;
            world.grant(102, BRUNOS_HIDDEN, Edit).await;
            world.grant(105, BRUNOS_HIDDEN, Edit).await;
            world.grant(103, BRUNO, Edit).await;
            let asked = unshare(101..=105, vec![all_of(BRUNO), edit_of(BRUNOS_HIDDEN)]);
            let job = run(&world, &asked).await;
            // Ana is a member, so she may edit 105, too.
            assert_eq!((job.taken, job.counts.rejected), (taken(1, 2, 5), 2));
            assert_eq!(world.grants().await, ["101/23 1", "102/23 1", "105/23 1"]);
            let job = run(&world, &unshare(101..=104, vec![edit_of(BRUNO), all_of(BRUNOS_HIDDEN)])).await;
            assert_eq!((job.taken, job.counts.rejected), (taken(2, 0, 4), 2));
            let lines: Vec<_> = job.rejections.iter().map(line).collect();
            assert_eq!(lines, [("personal_group", BRUNOS_HIDDEN, "not_found", 2)]);
            // The answer is that about somebody who does not exist.
            let job = run(&world, &unshare(101..=104, vec![all_of(BRUNOS_HIDDEN), all_of(29)])).await;
            assert_eq!((job.state, job.reason), (JobState::Failed, Some(FailReason::NothingToUnshare)));
            let lines: Vec<_> = job.rejections.iter().map(line).map(|line| (line.0, line.2, line.3)).collect();
            assert_eq!(lines, [("personal_group", "not_found", 4); 2]);
        }
    }

    async fn all_means_the_secrets_that_the_requester_owns_or_may_edit(kind: Kind) {
        let world = World::with_chunks(kind, 2).await;
        world.secrets(ANA, 101..=103).await;
        world.secrets(BRUNO, 104..=106).await;
        world.grant(104, ANA, Edit).await;
        world.grant(105, ANA, View).await;
        for secret in 101..=106 {
            world.grant(secret, EVA, View).await;
        }
        world.test.sql("UPDATE secrets SET disabled = true WHERE id = 102").await;
        let filter = AllFilter { except: vec![secret(103)], ..AllFilter::default() };
        let asked = unshare_as(ANA, Selection::All(filter), vec![all_of(EVA)]);
        let job = run(&world, &asked).await;
        assert_eq!((job.state, job.taken, job.secrets), (JobState::Completed, taken(3, 0, 0), Some(3)));
        assert_eq!(world.grants().await, ["103/5 1", "104/1 2", "105/1 1", "105/5 1", "106/5 1"]);
    }

    async fn nothing_to_take_from_is_a_failure(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(BRUNO, [101]).await;
        let job = run(&world, &unshare([101], vec![all_of(EVA)])).await;
        assert_eq!((job.state, job.reason), (JobState::Failed, Some(FailReason::NothingToUnshare)));
        let none = unshare_as(ANA, Selection::All(AllFilter::default()), vec![all_of(EVA)]);
        assert!(matches!(world.begin(&none).await, Begun::Ended(_)));
        let job = world.job(none.job_id).await;
        assert_eq!((job.state, job.reason, job.kind), (JobState::Failed, Some(FailReason::NothingToUnshare), JobKind::Unshare));
    }

    async fn who_may_not_act_takes_nothing(kind: Kind) {
        let world = World::with_chunks(kind, 1).await;
        world.secrets(ANA, 101..=102).await;
        world.grant(101, EVA, View).await;
        world.grant(102, EVA, View).await;
        let asked = unshare([101, 102], vec![all_of(EVA)]);
        world.begin(&asked).await;
        world.test.sql("UPDATE principals SET active = false WHERE id = 1").await;
        world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!((job.state, job.reason), (JobState::Failed, Some(FailReason::RequesterNotValid)));
        let later = unshare([101], vec![all_of(EVA)]);
        assert!(matches!(world.begin(&later).await, Begun::Ended(_)));
        assert_eq!(world.job(later.job_id).await.reason, Some(FailReason::RequesterNotValid));
        assert_eq!(world.grants().await, ["101/5 1", "102/5 1"]);
    }
}
