//! An undo over HTTP and one by message, with a fault at a call of theirs.

use batchshare::contract;
use batchshare::domain::{JobId, JobState, Permission, Selection, Taken};
use batchshare::store::{UndoBy, UndoOrder, UndoOrdered};

use super::injector::How;
use super::program::Program;
use crate::world::*;

impl Program {
    /// Shares without a fault, and undoes two of the shares with one at this call. False where there are not so many.
    pub async fn undo(&mut self, at: u64, how: How) -> bool {
        self.injector.plan(u64::MAX / 2, how);
        let what = format!("undo with a fault ({how:?}) at call {at}");
        let large = share((103..=108).chain([999]), &[BRUNO, EVA]);
        let claims = share([103, 104], &[EVA]);
        let raises =
            share_as(ANA, Selection::Ids([105, 106].map(secret).into()), vec![to(BRUNO, Permission::Edit)]);
        let mut jobs = 0;
        for asked in [&large, &claims, &raises] {
            let trace = contract::new_traceparent();
            self.publish(contract::encode_request(asked.job_id, &asked.request, &trace, 0)).await;
            jobs += 1;
            self.rounds(&what, jobs).await;
        }
        self.injector.plan(at, how);
        let undo = self.order(large.job_id).await;
        let by_message = JobId::generate();
        self.order_by_message(by_message, raises.job_id).await;
        self.rounds(&what, 5).await;
        self.injector.calm();
        for (job, taken, rejected) in [
            (undo, Taken { revoked: 8, lowered: 0, kept: 4, untouched: 0 }, 2),
            (by_message, Taken { revoked: 2, ..Taken::default() }, 0),
        ] {
            let ended = self.world.job(job).await;
            let state = if rejected > 0 { JobState::CompletedWithRejections } else { JobState::Completed };
            // Which of the two is first decides about the pairs that both gave.
            assert_eq!((ended.state, ended.counts.rejected), (state, rejected), "{what}");
            let sum = (ended.taken.done(), taken.done());
            assert_eq!(sum.0, sum.1, "{what}: {ended:?}");
            let told = self.injector.line().told.clone();
            let event = uuid::Uuid::new_v5(&job.uuid(), b"terminal/1").to_string();
            assert_eq!(
                told.get(&job.to_string()).map(|told| told.iter().collect::<Vec<_>>()),
                Some(vec![&event]),
                "{what}"
            );
        }
        let number = async |sql: &str| self.world.test.number(sql).await;
        // The claims of the third job are all that is left.
        let left = "SELECT COUNT(*) FROM grants WHERE permission = 1 AND edit_job IS NULL AND principal_id = 5 AND secret_id IN (103, 104)";
        assert_eq!((number("SELECT COUNT(*) FROM grants").await, number(left).await), (2, 2), "{what}");
        assert_eq!(number("SELECT COUNT(*) FROM notices").await, 5, "{what}");
        assert_eq!(number("SELECT COUNT(*) FROM dead_letters").await, 0, "{what}");
        self.clear().await;
        self.injector.reached(at)
    }

    /// As a client does: again with the same key until it is accepted.
    async fn order(&self, parent: JobId) -> JobId {
        let order = UndoOrder {
            parent,
            by: UndoBy::Person(principal(ANA)),
            idempotency_key: Some("the undo".to_owned()),
            traceparent: None,
        };
        for _ in 0..5 {
            match self.store.undo(order.clone(), worker_options().begin).await {
                Ok(UndoOrdered::Accepted(job) | UndoOrdered::Repeated(job)) => return job.job_id,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
        panic!("never accepted");
    }

    /// As another program does, which is not sure that its message has arrived.
    async fn order_by_message(&self, undo: JobId, parent: JobId) {
        let message = serde_json::json!({
            "specversion": "1.0", "type": contract::UNDO_TYPE, "source": "/test", "id": undo,
            "data": {"requested_by": ANA, "job_id": parent},
        });
        for _ in 0..2 {
            self.publish(message.to_string().into_bytes()).await;
        }
    }
}
