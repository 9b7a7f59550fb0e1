//! An unshare over HTTP and one by a message that comes twice, with a fault at a call of theirs.

use batchshare::contract;
use batchshare::domain::{JobId, JobState, Limits, Permission, Selection, ShareRequest, Taken};
use batchshare::store::{Submission, Submitted};

use super::injector::How;
use super::program::Program;
use crate::world::*;

fn taking(secrets: impl IntoIterator<Item = i64>, from: &[i64], permission: Permission) -> ShareRequest {
    let selection = Selection::Ids(secrets.into_iter().map(secret).collect());
    ShareRequest::taking(principal(ANA), selection, from.iter().map(|id| to(*id, permission)))
}

impl Program {
    /// Takes access away with a fault at this call. False where there are not so many.
    pub async fn unshare(&mut self, at: u64, how: How) -> bool {
        let what = format!("unshare with a fault ({how:?}) at call {at}");
        for secret in 103..=108 {
            self.world.grant(secret, BRUNO, Permission::Edit).await;
            self.world.grant(secret, EVA, Permission::Edit).await;
        }
        self.injector.plan(at, how);
        let lower = self.submit_unshare(taking(103..=104, &[BRUNO, EVA], Permission::Edit)).await;
        let (by_message, request) =
            (JobId::generate(), taking((105..=108).chain([999]), &[BRUNO], Permission::View));
        let body = contract::encode_request(by_message, &request, &contract::new_traceparent(), 0);
        self.publish(body.clone()).await;
        self.publish(body).await;
        self.rounds(&what, 2).await;
        self.injector.calm();
        for (job, taken, rejected) in [
            (lower, Taken { lowered: 4, ..Taken::default() }, 0),
            (by_message, Taken { revoked: 4, ..Taken::default() }, 1),
        ] {
            let ended = self.world.job(job).await;
            let state = if rejected > 0 { JobState::CompletedWithRejections } else { JobState::Completed };
            assert_eq!((ended.state, ended.taken, ended.counts.rejected), (state, taken, rejected), "{what}");
            if !matches!(how, How::Transient { calls: 3.. }) {
                assert_eq!(ended.attempts, 0, "{what}: no attempt counts");
            }
            let told = self.injector.line().told.clone();
            let event = uuid::Uuid::new_v5(&job.uuid(), b"terminal/1").to_string();
            let told = told.get(&job.to_string()).map(|told| told.iter().collect::<Vec<_>>());
            assert_eq!(told, Some(vec![&event]), "{what}");
        }
        let expected =
            ["103/2 1", "103/5 1", "104/2 1", "104/5 1", "105/5 2", "106/5 2", "107/5 2", "108/5 2"];
        let sql = "SELECT secret_id || '/' || principal_id || ' ' || permission AS t FROM grants ORDER BY secret_id, principal_id";
        assert_eq!(self.world.test.texts(sql).await, expected, "{what}");
        let number = async |sql: &str| self.world.test.number(sql).await;
        assert_eq!(number("SELECT COUNT(*) FROM jobs").await, 2, "{what}");
        assert_eq!(number("SELECT COUNT(*) FROM notices").await, 2, "{what}");
        assert_eq!(number("SELECT COUNT(*) FROM dead_letters").await, 0, "{what}");
        self.clear().await;
        self.injector.reached(at)
    }

    /// As a client does: again with the same key until it is accepted.
    async fn submit_unshare(&self, request: ShareRequest) -> JobId {
        let idempotency_key = Some("the unshare".to_owned());
        let submission = Submission { request, idempotency_key, traceparent: None };
        for _ in 0..5 {
            match self.store.submit(submission.clone(), Limits::default(), 100).await {
                Ok(Submitted::Accepted(job) | Submitted::Repeated(job)) => return job.job_id,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
        panic!("never accepted");
    }
}
