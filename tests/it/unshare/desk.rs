//! A world in which access is taken away, and what a test looks at.

use batchshare::contract::JobRequested;
use batchshare::domain::{JobId, JobSnapshot, Limits, Permission, Recipient, Selection, ShareRequest, Taken};
use batchshare::store::{Begun, Store, UnshareForeseen, UnsharePreview};

use crate::world::*;

/// Ana takes access to these secrets away. A recipient's permission says what is taken.
pub fn unshare(secrets: impl IntoIterator<Item = i64>, from: Vec<Recipient>) -> JobRequested {
    unshare_as(ANA, Selection::Ids(secrets.into_iter().map(secret).collect()), from)
}

pub fn unshare_as(requester: i64, selection: Selection, from: Vec<Recipient>) -> JobRequested {
    JobRequested {
        job_id: JobId::generate(),
        request: ShareRequest::taking(principal(requester), selection, from),
        traceparent: None,
    }
}

pub fn all_of(id: i64) -> Recipient {
    to(id, Permission::View)
}

pub fn edit_of(id: i64) -> Recipient {
    to(id, Permission::Edit)
}

pub fn taken(revoked: u64, lowered: u64, untouched: u64) -> Taken {
    Taken { revoked, lowered, untouched, kept: 0 }
}

pub async fn foreseen(store: &Store, asked: &JobRequested) -> UnsharePreview {
    match store.foresee_unshare(asked.request.clone(), Limits::default()).await.expect("an answer") {
        UnshareForeseen::Preview(preview) => preview,
        other => panic!("{other:?}"),
    }
}

/// Works on an unshare to its end. It does what was foreseen.
pub async fn run(world: &World, asked: &JobRequested) -> JobSnapshot {
    let foreseen = foreseen(&world.store, asked).await;
    assert!(matches!(world.begin(asked).await, Begun::Started(_)));
    world.drain().await;
    let ended = world.job(asked.job_id).await;
    assert!(ended.state.is_terminal(), "{ended:?}");
    assert_eq!(Some(ended.done()), ended.pairs, "{ended:?}");
    let expected = (ended.taken, ended.counts.rejected, ended.secrets, ended.recipients, true);
    let UnsharePreview { taken, rejected, secrets, recipients, exact } = foreseen;
    assert_eq!((taken, rejected, Some(secrets), Some(recipients), exact), expected);
    ended
}

impl World {
    /// All grants, as `secret/principal permission`.
    pub async fn grants(&self) -> Vec<String> {
        let sql = "SELECT secret_id || '/' || principal_id || ' ' || permission AS t FROM grants ORDER BY secret_id, principal_id";
        self.test.texts(sql).await
    }
}
