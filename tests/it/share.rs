//! What a job does to grants, on both databases: outcomes, reasons, authorisation, repeats.

use batchshare::domain::event::EventKind;
use batchshare::domain::{
    AllFilter, FailReason, JobState, Limits, Permission, PrincipalKind, Recipient, Selection,
};
use batchshare::store::Begun;

use crate::on_both_stores;
use crate::world::*;
use Permission::{Edit, View};

on_both_stores! {
    async fn every_pair_is_granted_once_and_counted(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=103).await;
        let asked = share(101..=103, &[BRUNO, PAYMENTS, ANAS_OWN]);
        let job = world.run(&asked).await;
        assert_eq!((job.state, job.counts), (JobState::Completed, counts(9, 0, 0, 0)));
        assert_eq!(job.pairs, Some(9));
        assert_eq!(world.test.number("SELECT COUNT(*) FROM grants WHERE permission = 1 AND view_job IS NOT NULL AND edit_job IS NULL").await, 9);
    }

    async fn a_job_delivered_twice_grants_once(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        assert!(matches!(world.begin(&asked).await, Begun::Ended(_)));
        assert_eq!(world.begin(&asked).await, Begun::AlreadyBegun);
        let terminal: Vec<_> = world.drain().await;
        assert_eq!(terminal.len(), 1);
        assert_eq!(world.job(asked.job_id).await.counts, counts(1, 0, 0, 0));
    }

    async fn a_finished_job_delivered_again_does_not_bring_a_revoked_grant_back(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        world.run(&asked).await;
        world.test.sql("DELETE FROM grants").await;
        assert_eq!(world.begin(&asked).await, Begun::AlreadyBegun);
        assert_eq!(world.permission(101, BRUNO).await, 0);
    }

    async fn the_same_id_with_other_content_is_a_conflict_and_touches_nothing(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101, 102]).await;
        let asked = share([101], &[BRUNO]);
        let before = world.run(&asked).await;
        let mut other = share([102], &[BRUNO]);
        other.job_id = asked.job_id;
        assert_eq!(world.begin(&other).await, Begun::Conflict);
        assert_eq!(world.job(asked.job_id).await, before);
        assert_eq!(world.permission(102, BRUNO).await, 0);
    }

    async fn deliveries_in_parallel_have_one_effect(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=120).await;
        let asked = share(101..=120, &[BRUNO, EVA]);
        let all = futures_util::future::join_all((0..6).map(|_| world.begin(&asked))).await;
        assert_eq!(all.iter().filter(|begun| matches!(begun, Begun::Ended(_))).count(), 1);
        assert_eq!(world.drain().await.len(), 1);
        assert_eq!(world.job(asked.job_id).await.counts, counts(40, 0, 0, 0));
    }

    async fn view_becomes_edit_and_never_the_other_way(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101, 102, 103]).await;
        world.grant(101, BRUNO, View).await;
        world.grant(102, BRUNO, Edit).await;
        let ids = || Selection::Ids([101, 102, 103].map(secret).to_vec());
        let job = world.run(&share_as(ANA, ids(), vec![to(BRUNO, Edit)])).await;
        assert_eq!(job.counts, counts(1, 1, 1, 0));
        let job = world.run(&share_as(ANA, ids(), vec![to(BRUNO, View)])).await;
        assert_eq!((job.state, job.counts), (JobState::Completed, counts(0, 0, 3, 0)));
        for id in [101, 102, 103] {
            assert_eq!(world.permission(id, BRUNO).await, 2);
        }
    }

    async fn a_row_keeps_which_job_gave_view_and_which_gave_edit(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        world.run(&share([101], &[BRUNO])).await;
        world.run(&share_as(ANA, Selection::Ids(vec![secret(101)]), vec![to(BRUNO, Edit)])).await;
        let same = "SELECT COUNT(*) FROM grants WHERE view_job = (SELECT MIN(id) FROM jobs) AND edit_job = (SELECT MAX(id) FROM jobs)";
        assert_eq!(world.test.number(same).await, 1);
    }

    async fn the_owner_as_recipient_is_unchanged_and_gets_no_row(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        world.secrets(EVA, [201]).await;
        world.grant(201, ANA, Edit).await;
        let job = world.run(&share([101, 201], &[ANA, EVA, BRUNO])).await;
        // 101-ana and 201-eva are the owners' own; 201-ana has edit.
        assert_eq!(job.counts, counts(3, 0, 3, 0));
        assert_eq!(world.permission(101, ANA).await, 0);
        assert_eq!(world.permission(201, EVA).await, 0);
        assert_eq!(world.permission(101, EVA).await, 1);
    }

    async fn a_row_from_before_its_holder_owned_the_secret_stays_and_counts_as_unchanged(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        world.secrets(EVA, [201]).await;
        world.grant(201, ANA, Edit).await;
        world.grant(201, EVA, View).await;
        let ids = Selection::Ids(vec![secret(101), secret(201)]);
        let job = world.run(&share_as(ANA, ids, vec![to(EVA, Edit), to(BRUNO, Edit)])).await;
        assert_eq!((job.state, job.counts), (JobState::Completed, counts(3, 0, 1, 0)));
        assert_eq!(world.permission(201, EVA).await, 1);
    }

    async fn a_group_that_contains_the_owner_is_an_ordinary_recipient(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let job = world.run(&share([101], &[ANAS_TEAM])).await;
        assert_eq!(job.counts, counts(1, 0, 0, 0));
    }

    async fn access_through_a_group_does_not_count_for_an_outcome(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        world.grant(101, PAYMENTS, Edit).await;
        let job = world.run(&share([101], &[BRUNO])).await;
        assert_eq!(job.counts, counts(1, 0, 0, 0));
    }

    async fn every_reason_of_a_secret_is_told(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101, 102]).await;
        world.secrets(EVA, 201..=209).await;
        world.test.sql("UPDATE secrets SET disabled = true WHERE id IN (102, 206, 209)").await;
        world.grant(202, ANA, View).await;
        world.grant(203, ANAS_TEAM, View).await;
        world.grant(204, ANA, Edit).await;
        world.grant(205, BRUNOS_HIDDEN, Edit).await;
        world.grant(206, ANA, View).await;
        world.grant(207, OLD_TEAM_INACTIVE, Edit).await;
        world.grant(208, ANAS_OWN, Edit).await;
        let ids = [101, 102, 201, 202, 203, 204, 205, 206, 207, 208, 209, 999];
        let job = world.run(&share(ids, &[BRUNO, PAYMENTS])).await;
        let lines: Vec<_> = job.rejections.iter().map(line).collect();
        assert_eq!(lines, [
            ("secret", 102, "disabled", 2),
            ("secret", 201, "not_found", 2),  // exists, and ana may not even view it
            ("secret", 202, "not_allowed", 2),
            ("secret", 203, "not_allowed", 2), // view through a group
            ("secret", 206, "not_allowed", 2), // not_allowed comes before disabled
            ("secret", 207, "not_found", 2),   // an inactive group gives nothing
            ("secret", 208, "not_found", 2),   // owning a personal group gives nothing
            ("secret", 209, "not_found", 2),   // not_found comes before disabled
            ("secret", 999, "not_found", 2),
        ]);
        // 101 is her own; 204 by a grant; 205 through a group that she may not even see.
        assert_eq!((job.state, job.counts), (JobState::CompletedWithRejections, counts(6, 0, 0, 18)));
    }

    async fn every_reason_of_a_recipient_is_told(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101, 102]).await;
        let as_user = |id| Recipient { kind: PrincipalKind::User, id: principal(id), permission: View };
        let mut recipients: Vec<_> = [
            BRUNO, CARLA_NO_ACCOUNT, DAVI_INACTIVE, 77, PAYMENTS, OLD_TEAM_INACTIVE, 19, ANAS_OWN, ANAS_OLD_INACTIVE,
            BRUNOS_SEEN, BRUNOS_HIDDEN, 29,
        ].into_iter().map(|id| to(id, View)).collect();
        recipients.push(as_user(ANAS_TEAM)); // a group is not a user
        let job = world.run(&share_as(ANA, Selection::Ids(vec![secret(101), secret(102)]), recipients)).await;
        let lines: Vec<_> = job.rejections.iter().map(line).collect();
        assert_eq!(lines, [
            ("user", CARLA_NO_ACCOUNT, "no_account", 2),
            ("user", DAVI_INACTIVE, "inactive", 2),
            ("user", ANAS_TEAM, "not_found", 2),
            ("user", 77, "not_found", 2),
            ("user_group", OLD_TEAM_INACTIVE, "inactive", 2),
            ("user_group", 19, "not_found", 2),
            ("personal_group", ANAS_OLD_INACTIVE, "inactive", 2),
            ("personal_group", BRUNOS_HIDDEN, "not_found", 2),
            ("personal_group", 29, "not_found", 2),
        ]);
        assert_eq!(job.counts, counts(8, 0, 0, 18));
    }

    async fn an_inactive_user_without_account_is_inactive(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        world.test.sql(&format!("UPDATE principals SET has_account = false WHERE id = {DAVI_INACTIVE}")).await;
        let job = world.run(&share([101], &[DAVI_INACTIVE, BRUNO])).await;
        assert_eq!(line(&job.rejections[0]), ("user", DAVI_INACTIVE, "inactive", 1));
    }

    async fn a_pair_rejected_on_both_sides_counts_for_the_secret(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101, 102]).await;
        world.test.sql("UPDATE secrets SET disabled = true WHERE id = 102").await;
        let job = world.run(&share([101, 102], &[BRUNO, CARLA_NO_ACCOUNT])).await;
        let lines: Vec<_> = job.rejections.iter().map(line).collect();
        assert_eq!(lines, [("secret", 102, "disabled", 2), ("user", CARLA_NO_ACCOUNT, "no_account", 1)]);
        // rejected = N x M - valid secrets x valid recipients
        assert_eq!(job.counts, counts(1, 0, 0, 3));
    }

    async fn nothing_to_share_fails_the_job_with_every_pair_rejected(kind: Kind) {
        let world = World::new(kind).await;
        let job = world.run(&share([998, 999], &[BRUNO, EVA])).await;
        assert_eq!((job.state, job.reason), (JobState::Failed, Some(FailReason::NothingToShare)));
        assert_eq!((job.pairs, job.counts), (Some(4), counts(0, 0, 0, 4)));
    }

    async fn an_invalid_requester_fails_the_job_untouched(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(DAVI_INACTIVE, [101]).await;
        for requester in [DAVI_INACTIVE, CARLA_NO_ACCOUNT, PAYMENTS, 77] {
            let asked = share_as(requester, Selection::Ids(vec![secret(101)]), vec![to(BRUNO, View)]);
            let job = world.run(&asked).await;
            assert_eq!((job.state, job.reason), (JobState::Failed, Some(FailReason::RequesterNotValid)));
            assert_eq!((job.pairs, job.counts.done(), job.rejections_total), (Some(1), 0, 0));
        }
        assert_eq!(world.test.number("SELECT COUNT(*) FROM grants").await, 0);
    }

    async fn a_limit_is_held_by_the_worker_too(kind: Kind) {
        let mut world = World::new(kind).await;
        world.options.limits = Limits { secrets: 2, ..Limits::default() };
        world.secrets(ANA, 101..=103).await;
        let asked = share(101..=103, &[BRUNO]);
        let job = world.run(&asked).await;
        assert_eq!((job.state, job.reason), (JobState::Failed, Some(FailReason::LimitExceeded)));
        let all = share_as(ANA, Selection::All(AllFilter::default()), vec![to(BRUNO, View)]);
        let job = world.run(&all).await;
        assert_eq!(job.reason, Some(FailReason::LimitExceeded));
        assert_eq!(world.test.number("SELECT COUNT(*) FROM dead_letters").await, 0);
    }

    async fn all_takes_what_the_requester_may_share_and_matches(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=105).await;
        world.secrets(EVA, 201..=203).await;
        world.grant(201, ANA, Edit).await;
        world.grant(202, ANA, View).await;
        world.grant(104, EVA, View).await;
        world.test.sql(
            "INSERT INTO secret_tags (secret_id, tag) VALUES (101, 'prod'), (102, 'prod'), (103, 'Prod'), (203, 'prod'); \
             UPDATE secrets SET search_text = 'acao 50%\n\n\n\t' WHERE id = 105;"
        ).await;
        let ids = |filter| {
            let world = &world;
            async move {
                let asked = share_as(ANA, Selection::All(filter), vec![to(PAYMENTS, View)]);
                world.run(&asked).await;
                let granted = world.test.number(&format!(
                    "SELECT COALESCE(SUM(g.secret_id), 0) FROM grants g JOIN jobs j ON g.view_job = j.id WHERE j.job_id = '{}'", asked.job_id
                )).await;
                world.test.sql(&format!("DELETE FROM grants WHERE principal_id = {PAYMENTS}")).await;
                granted
            }
        };
        let search = |text: &str| AllFilter { search: Some(text.to_owned()), ..AllFilter::default() };
        assert_eq!(ids(AllFilter::default()).await, 101 + 102 + 103 + 104 + 105 + 201);
        assert_eq!(ids(AllFilter { tag: Some("prod".to_owned()), ..AllFilter::default() }).await, 101 + 102);
        assert_eq!(ids(search("SECRET 10")).await, 101 + 102 + 103 + 104);
        assert_eq!(ids(search("AÇÃO")).await, 105);
        assert_eq!(ids(search("0%")).await, 105);
        assert_eq!(ids(search("1_1")).await, 0);
        assert_eq!(ids(AllFilter { shared: Some(true), ..AllFilter::default() }).await, 104);
        assert_eq!(ids(AllFilter { shared: Some(false), except: vec![secret(101)], ..AllFilter::default() }).await, 102 + 103 + 105 + 201);
    }

    async fn all_that_matches_nothing_fails_with_no_pairs(kind: Kind) {
        let world = World::new(kind).await;
        let job = world.run(&share_as(ANA, Selection::All(AllFilter::default()), vec![to(BRUNO, View)])).await;
        assert_eq!((job.state, job.reason), (JobState::Failed, Some(FailReason::NothingToShare)));
        assert_eq!((job.pairs, job.counts.done()), (Some(0), 0));
    }

    async fn the_terminal_event_says_everything_and_has_a_stable_id(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let asked = share([101, 999], &[BRUNO, CARLA_NO_ACCOUNT]);
        world.begin(&asked).await;
        let events = world.drain().await;
        assert_eq!(events.len(), 1, "a job of one chunk emits its terminal event only");
        let (kind, event) = &events[0];
        assert_eq!(*kind, EventKind::Completed);
        let id = uuid::Uuid::new_v5(&asked.job_id.uuid(), b"terminal/1").to_string();
        assert_eq!(event["id"], id.as_str());
        assert_eq!(event["subject"], asked.job_id.to_string().as_str());
        assert_eq!(event["type"], "batchshare.job.completed.v1");
        let data = &event["data"];
        assert_eq!(data["state"], "completed_with_rejections");
        assert_eq!(data["counts"], serde_json::json!({"granted": 1, "upgraded": 0, "unchanged": 0, "rejected": 3}));
        assert_eq!(data["rejections"], serde_json::json!([
            {"kind": "secret", "id": 999, "reason": "not_found"},
            {"kind": "recipient", "recipient_kind": "user", "id": CARLA_NO_ACCOUNT, "reason": "no_account"},
        ]));
        assert_eq!((data["pairs"].as_u64(), data["done_pairs"].as_u64(), data["rejections_total"].as_u64()), (Some(4), Some(4), Some(2)));
        assert_eq!(data["requested_by"], ANA);
        assert!(data.get("reason").is_none(), "reason is for failed jobs");
    }
}
