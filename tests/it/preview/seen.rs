//! What a preview looks at, and what it says of what it has not looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use batchshare::domain::event::REJECTIONS_IN_EVENT;
use batchshare::domain::foresight::SharePreview;
use batchshare::domain::{AllFilter, Counts, Limits, Permission, Selection, ShareRequest};
use batchshare::store::ShareForeseen;

use crate::on_both_stores;
use crate::world::*;

const NO_HURRY: Duration = Duration::from_secs(3_600);

async fn look(world: &World, request: &ShareRequest, within: Duration) -> SharePreview {
    match world.store.foresee_share(request.clone(), Limits::default(), within).await.expect("an answer") {
        ShareForeseen::Preview(preview) => preview,
        other => panic!("{other:?}"),
    }
}

on_both_stores! {
    async fn all_of_a_preview_is_seen_at_one_moment(kind: Kind) {
        let world = World::new(kind).await;
        // So many pairs are looked at in three parts.
        let (secrets, users) = (101..=350, 1_001..=1_100);
        world.secrets(ANA, secrets.clone()).await;
        let people: Vec<String> = users.clone().map(|id| format!("({id}, 1, 'u', true, 'u{id}', '', true, false, '')")).collect();
        world.test.sql(&format!(
            "INSERT INTO principals (id, kind, name, active, username, email, has_account, visible_to_members, search_text) \
             VALUES {}", people.join(", ")
        )).await;
        let users: Vec<i64> = users.collect();
        let request = share(secrets.clone(), &users).request;
        let all = 250 * 100;
        // One person's access to all of the secrets comes and goes, each time as a whole.
        let over = Arc::new(AtomicBool::new(false));
        let changes = {
            let (db, over) = (world.test.db.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                use diesel::connection::SimpleConnection as _;
                let mut is_there = false;
                while !over.load(Ordering::Relaxed) {
                    let sql = if is_there {
                        "DELETE FROM grants WHERE principal_id = 1050"
                    } else {
                        "INSERT INTO grants (secret_id, principal_id, permission, granted_at) SELECT id, 1050, 1, 0 FROM secrets"
                    };
                    db.write(move |conn| Ok(conn.batch_execute(sql)?)).await.expect("changed");
                    is_there = !is_there;
                }
            })
        };
        for _ in 0..8 {
            let seen = look(&world, &request, NO_HURRY).await;
            assert!(seen.exact);
            let counts = (seen.counts.granted, seen.counts.unchanged);
            assert!([(all, 0), (all - 250, 250)].contains(&counts), "{counts:?}");
        }
        over.store(true, Ordering::Relaxed);
        changes.await.expect("no panic");
    }

    async fn without_time_nothing_is_told_that_is_not_certain(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=104).await;
        let to = || vec![to(BRUNO, Permission::View), to(PAYMENTS, Permission::View)];
        let ids = share_as(ANA, Selection::Ids((101..=104).map(secret).collect()), to()).request;
        let seen = look(&world, &ids, Duration::ZERO).await;
        let nothing = SharePreview { secrets: Some(4), recipients: 2, ..SharePreview::default() };
        assert_eq!(seen, nothing);
        // Which secrets all are may be known by then or not.
        let all = share_as(ANA, Selection::All(AllFilter::default()), to()).request;
        let seen = look(&world, &all, Duration::ZERO).await;
        assert!(seen.secrets.is_none_or(|secrets| secrets == 4), "{seen:?}");
        assert_eq!(SharePreview { secrets: Some(4), ..seen }, nothing);
        let seen = look(&world, &all, NO_HURRY).await;
        assert_eq!((seen.exact, seen.counts), (true, counts(8, 0, 0, 0)));
    }

    async fn a_report_is_cut_and_its_lines_are_counted(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(BRUNO, 101..=250).await;
        world.secrets(ANA, 251..=252).await;
        let request = share(101..=252, &[EVA, DAVI_INACTIVE]).request;
        let seen = look(&world, &request, NO_HURRY).await;
        assert_eq!((seen.rejections.len(), seen.rejections_total), (REJECTIONS_IN_EVENT, 151));
        assert_eq!(line(&seen.rejections[0]), ("secret", 101, "not_found", 2));
        assert_eq!(seen.counts, Counts { granted: 2, rejected: 302, ..Counts::default() });
    }

    async fn a_preview_locks_and_writes_nothing(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=102).await;
        world.grant(101, EVA, Permission::View).await;
        let tables = "SELECT (SELECT COUNT(*) FROM jobs) + (SELECT COUNT(*) FROM outbox) + (SELECT COUNT(*) FROM grants)";
        let request = share(101..=102, &[EVA, BRUNO]).request;
        let seen = look(&world, &request, NO_HURRY).await;
        assert_eq!(seen.counts, counts(3, 0, 1, 0));
        assert_eq!(world.test.number(tables).await, 1);
        // While somebody takes access away and has not committed, a preview waits for nobody.
        let (started, starts) = tokio::sync::oneshot::channel();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let db = world.test.db.clone();
        let holder = tokio::spawn(async move {
            use diesel::connection::SimpleConnection as _;
            db.write(move |conn| {
                conn.batch_execute("UPDATE secrets SET notes = 'held'; DELETE FROM grants")?;
                let _ = started.send(());
                let _ = ends.recv();
                Ok(())
            }).await
        });
        starts.await.expect("held");
        assert_eq!(look(&world, &request, NO_HURRY).await.counts, counts(3, 0, 1, 0));
        end.send(()).expect("it waits");
        holder.await.expect("no panic").expect("committed");
        assert_eq!(look(&world, &request, NO_HURRY).await.counts, counts(4, 0, 0, 0));
    }
}
