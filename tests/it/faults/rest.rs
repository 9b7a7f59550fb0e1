//! What a share rejected is shared by another job, with a fault at a call of it.

use std::collections::BTreeSet;

use batchshare::contract;
use batchshare::domain::{JobId, JobState};
use batchshare::store::{Allowance, RestLimits, RestOrder, RestOrdered};

use super::injector::How;
use super::program::Program;
use crate::world::*;

impl Program {
    /// Shares without a fault, and what was rejected with one at this call. False where there are not so many.
    pub async fn rest(&mut self, at: u64, how: How) -> bool {
        self.injector.plan(u64::MAX / 2, how);
        let what = format!("the rest with a fault ({how:?}) at call {at}");
        let davi = |active: bool| format!("UPDATE principals SET active = {active} WHERE id = 4");
        self.world.test.sql(&davi(false)).await;
        let asked = share((103..=108).chain([999]), &[BRUNO, DAVI_INACTIVE, EVA]);
        self.publish(contract::encode_request(asked.job_id, &asked.request, &contract::new_traceparent(), 0))
            .await;
        self.rounds(&what, 1).await;
        self.world.test.sql(&davi(true)).await;
        self.injector.plan(at, how);
        let rest = self.order_rest(asked.job_id).await;
        self.rounds(&what, 2).await;
        self.injector.calm();
        let ended = self.world.job(rest).await;
        assert_eq!(ended.state, JobState::CompletedWithRejections, "{what}");
        assert_eq!((ended.counts, ended.pairs), (counts(6, 0, 0, 3), Some(9)), "{what}");
        if !matches!(how, How::Transient { calls: 3.. }) {
            assert_eq!(ended.attempts, 0, "{what}: no attempt counts");
        }
        let told = self.injector.line().told.clone();
        let event = uuid::Uuid::new_v5(&rest.uuid(), b"terminal/1").to_string();
        let told = told.get(&rest.to_string()).map(|told| told.iter().collect::<Vec<_>>());
        assert_eq!(told, Some(vec![&event]), "{what}");
        let number = async |sql: &str| self.world.test.number(sql).await;
        let davis = "SELECT COUNT(*) FROM grants g JOIN jobs j ON j.id = g.view_job AND j.parent IS NOT NULL WHERE g.principal_id = 4";
        assert_eq!((number("SELECT COUNT(*) FROM grants").await, number(davis).await), (18, 6), "{what}");
        assert_eq!(number("SELECT COUNT(*) FROM jobs").await, 2, "{what}");
        assert_eq!(number("SELECT COUNT(*) FROM notices").await, 2, "{what}");
        assert_eq!(number("SELECT COUNT(*) FROM dead_letters").await, 0, "{what}");
        self.clear().await;
        self.injector.reached(at)
    }

    /// As a client does: again with the same key until it is accepted.
    async fn order_rest(&self, parent: JobId) -> JobId {
        let order = RestOrder {
            parent,
            by: Some(principal(ANA)),
            reasons: BTreeSet::new(),
            idempotency_key: Some("the rest".to_owned()),
            traceparent: None,
        };
        let limits = RestLimits { allowance: Allowance::UNLIMITED, unfinished: 100 };
        for _ in 0..5 {
            match self.store.share_rest(order.clone(), worker_options().begin, limits).await {
                Ok(RestOrdered::Accepted { job, .. } | RestOrdered::Repeated(job)) => return job.job_id,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
        panic!("never accepted");
    }
}
