//! A world in which jobs share and are undone, and what a test looks at.

use batchshare::contract::JobRequested;
use batchshare::domain::{JobId, JobSnapshot, JobState, Permission, Recipient, Selection, Taken};
use batchshare::store::{Foreseen, UndoBy, UndoOrder, UndoOrdered};

use crate::support::Kind;
use crate::world::*;

pub struct Desk {
    pub world: World,
}

pub fn taken(revoked: u64, lowered: u64, kept: u64, untouched: u64) -> Taken {
    Taken { revoked, lowered, kept, untouched }
}

/// The order of a person.
pub fn order(parent: JobId, person: i64) -> UndoOrder {
    let by = UndoBy::Person(principal(person));
    UndoOrder { parent, by, idempotency_key: None, traceparent: None }
}

impl Desk {
    /// Ana owns secrets 101 to 110. Chunks of this many pairs.
    pub async fn new(kind: Kind, chunk_pairs: u64) -> Self {
        let world = World::with_chunks(kind, chunk_pairs).await;
        world.secrets(ANA, 101..=110).await;
        Self { world }
    }

    /// This person shares, and the job is worked on to its end.
    pub async fn share_as(
        &self,
        person: i64,
        secrets: impl IntoIterator<Item = i64>,
        to: Vec<Recipient>,
    ) -> JobId {
        let selection = Selection::Ids(secrets.into_iter().map(secret).collect());
        self.run(share_as(person, selection, to)).await
    }

    pub async fn run(&self, asked: JobRequested) -> JobId {
        let job = self.world.run(&asked).await;
        assert!(job.state.is_terminal(), "{job:?}");
        job.job_id
    }

    /// Ana shares secret 101 with bruno.
    pub async fn one(&self, permission: Permission) -> JobId {
        self.share_as(ANA, [101], vec![to(BRUNO, permission)]).await
    }

    /// Orders the undo of a job by its requester, ana.
    pub async fn order(&self, parent: JobId) -> UndoOrdered {
        self.order_as(order(parent, ANA)).await
    }

    pub async fn order_as(&self, order: UndoOrder) -> UndoOrdered {
        self.world.store.undo(order, self.world.options.clone()).await.expect("an answer")
    }

    /// Orders the undo of a job and works on it to its end. What was foreseen is what happens.
    pub async fn undo(&self, parent: JobId) -> JobSnapshot {
        let by = UndoBy::Person(principal(ANA));
        let foreseen = self.world.store.foresee_undo(parent, by).await.expect("an answer");
        let accepted = match self.order(parent).await {
            UndoOrdered::Accepted(job) => job,
            other => panic!("{other:?}"),
        };
        assert_eq!((accepted.state, accepted.parent), (JobState::Running, Some(parent)));
        self.world.drain().await;
        let ended = self.world.job(accepted.job_id).await;
        assert_eq!(Some(ended.done()), ended.pairs, "{ended:?}");
        match foreseen {
            Foreseen::Preview(preview) => {
                let expected = (ended.taken, ended.counts.rejected, true);
                assert_eq!((preview.taken, preview.rejected, preview.exact), expected);
            }
            other => panic!("{other:?}"),
        }
        ended
    }

    /// What an undo that is completed has done.
    pub async fn undone(&self, parent: JobId) -> Taken {
        let ended = self.undo(parent).await;
        assert_eq!(ended.state, JobState::Completed);
        ended.taken
    }

    /// The pair of secret 101 and bruno: 0 none, 1 view, 2 edit.
    pub async fn has(&self) -> i64 {
        self.world.permission(101, BRUNO).await
    }

    /// Somebody takes the grant on secret 101 from bruno by hand.
    pub async fn take_by_hand(&self) {
        self.world.store.revoke(principal(ANA), secret(101), principal(BRUNO)).await.expect("taken");
    }

    pub async fn grants(&self) -> i64 {
        self.world.test.number("SELECT COUNT(*) FROM grants").await
    }
}
