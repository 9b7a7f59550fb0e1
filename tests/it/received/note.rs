//! The note of a share: part of the request, and told to everybody who may know of the job.

use batchshare::contract::JobRequested;
use batchshare::domain::Permission;
use batchshare::domain::event::EventKind;
use batchshare::store::{Begun, Explained};

use crate::on_both_stores;
use crate::world::{ANA, BRUNO, World, principal, secret, share};

const NOTE: &str = "Chaves novas, até sexta";

fn noted(asked: JobRequested, note: &str) -> JobRequested {
    JobRequested { request: asked.request.with_note(Some(note.to_owned())), ..asked }
}

on_both_stores! {
    async fn a_note_is_in_the_job_its_events_its_notice_and_the_explanation(kind: Kind) {
        // A job of one chunk, and one with lanes.
        let mut world = World::new(kind).await;
        world.secrets(ANA, 101..=106).await;
        for (secrets, chunk) in [(101..=102, 10_000), (103..=106, 1)] {
            world.set_chunks(chunk);
            let first = *secrets.start();
            let asked = noted(share(secrets, &[BRUNO]), NOTE);
            world.begin(&asked).await;
            let events = world.drain().await;
            assert!(events.iter().any(|(kind, _)| *kind == EventKind::Completed));
            assert!(events.iter().all(|(_, event)| event["data"]["note"] == NOTE), "{events:?}");
            assert_eq!(world.job(asked.job_id).await.note.as_deref(), Some(NOTE));
            world.store.make_notices(vec![(asked.job_id, 1)]).await.expect("a notice");
            let notice = world.store.notice_of(principal(ANA), asked.job_id).await.expect("a notice");
            assert_eq!(notice.expect("a notice").note.as_deref(), Some(NOTE));
            let why = world.store.why(Some(principal(BRUNO)), secret(first), principal(BRUNO)).await;
            let Ok(Explained::Access(access)) = why else { panic!("{why:?}") };
            let by = access.because[0].view.as_ref().expect("a job");
            assert_eq!((by.job, by.note.as_deref()), (asked.job_id, Some(NOTE)));
            assert_eq!(world.permission(first, BRUNO).await, i64::from(Permission::View.code()));
        }
    }

    async fn the_same_id_with_another_note_is_another_request(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let bare = share([101], &[BRUNO]);
        let asked = noted(bare.clone(), NOTE);
        assert!(matches!(world.begin(&asked).await, Begun::Ended(_)));
        assert_eq!(world.begin(&asked).await, Begun::AlreadyBegun);
        assert_eq!(world.begin(&bare).await, Begun::Conflict);
        assert_eq!(world.begin(&noted(bare, "Chaves novas")).await, Begun::Conflict);
    }
}
