//! A world in which jobs leave something undone, and what a test looks at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use batchshare::contract;
use batchshare::domain::{JobId, JobSnapshot, JobState, PairOutcome, RejectReason};
use batchshare::store::{Allowance, MessageKind, NoRest, OutboxRow, RestLimits, RestOrder, RestOrdered};

use crate::world::*;

/// A secret and a recipient.
pub type Pair = (i64, i64);

pub const NO_LIMITS: RestLimits = RestLimits { allowance: Allowance::UNLIMITED, unfinished: 1_000 };

/// Ana's order.
pub fn order(parent: JobId) -> RestOrder {
    let by = Some(principal(ANA));
    RestOrder { parent, by, reasons: BTreeSet::new(), idempotency_key: None, traceparent: None }
}

/// The same, about pairs that were rejected for these reasons.
pub fn because(parent: JobId, reasons: impl IntoIterator<Item = RejectReason>) -> RestOrder {
    RestOrder { reasons: reasons.into_iter().collect(), ..order(parent) }
}

impl World {
    pub async fn ordered(&self, order: RestOrder) -> RestOrdered {
        self.store.share_rest(order, self.options.clone(), NO_LIMITS).await.expect("an answer")
    }

    pub async fn accepted(&self, order: RestOrder) -> JobSnapshot {
        let parent = order.parent;
        match self.ordered(order).await {
            RestOrdered::Accepted { job, .. } => {
                assert_eq!((job.state, job.parent, job.done()), (JobState::Running, Some(parent), 0));
                job
            }
            other => panic!("{other:?}"),
        }
    }

    pub async fn no_rest(&self, order: RestOrder) -> NoRest {
        match self.ordered(order).await {
            RestOrdered::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// Orders the rest and works on it to its end. Each step comes twice, and the second does nothing.
    pub async fn rest(&self, order: RestOrder) -> JobSnapshot {
        let job = self.accepted(order).await;
        self.drain_twice().await;
        let ended = self.job(job.job_id).await;
        assert!(ended.state.is_terminal(), "{ended:?}");
        assert_eq!(Some(ended.done()), ended.pairs, "{ended:?}");
        ended
    }

    pub async fn drain_twice(&self) {
        let mut messages: VecDeque<OutboxRow> = self.take_messages().await.into();
        while let Some(row) = messages.pop_front() {
            if row.kind == MessageKind::Step {
                let step = contract::decode_step(&row.body).expect("a step");
                self.step(&step).await;
                assert!(self.step(&step).await.is_none(), "a step that comes twice");
                messages.extend(self.take_messages().await);
            }
        }
    }

    /// What is told of each pair of a job: `None` of one that it is not about, or has not come to.
    pub async fn outcome_of_pairs(&self, job: JobId) -> BTreeMap<Pair, Option<PairOutcome>> {
        let (secrets, recipients) = self.about(job).await;
        let outcomes = self.store.outcomes(job, 0, secrets.len()).await.expect("outcomes").expect("recorded");
        let pairs = secrets.iter().flat_map(|secret| recipients.iter().map(move |to| (*secret, *to)));
        pairs.zip(outcomes).collect()
    }

    /// The secrets and the recipients that a job is about.
    pub async fn about(&self, job: JobId) -> (Vec<i64>, Vec<i64>) {
        let secrets = self.store.job_secrets(job, 0, 1_000).await.expect("secrets");
        let recipients = self.store.job_recipients(job, 0, 1_000).await.expect("recipients");
        (
            secrets.into_iter().map(|(secret, _)| secret.get()).collect(),
            recipients.into_iter().map(|(to, _)| to.id.get()).collect(),
        )
    }

    /// The pairs that a job left: rejected, or never come to. It is a job with a rectangle of pairs.
    pub async fn left(&self, job: JobId) -> BTreeSet<Pair> {
        let left = |outcome: Option<PairOutcome>| outcome.is_none_or(|of| of == PairOutcome::Rejected);
        self.outcome_of_pairs(job)
            .await
            .into_iter()
            .filter(|(_, outcome)| left(*outcome))
            .map(|(pair, _)| pair)
            .collect()
    }

    /// The pairs that a job which came to all of its own did, and those that it rejected.
    pub async fn done(&self, job: JobId) -> (BTreeSet<Pair>, BTreeSet<Pair>) {
        let told = self.outcome_of_pairs(job).await.into_iter();
        let told: Vec<(Pair, PairOutcome)> = told.filter_map(|(pair, of)| Some((pair, of?))).collect();
        let (rejected, done): (Vec<_>, Vec<_>) =
            told.into_iter().partition(|(_, outcome)| *outcome == PairOutcome::Rejected);
        let pairs = |of: Vec<(Pair, PairOutcome)>| of.into_iter().map(|(pair, _)| pair).collect();
        (pairs(done), pairs(rejected))
    }

    /// The permission of every pair that has one.
    pub async fn permissions(&self) -> BTreeMap<Pair, i64> {
        let sql = "SELECT secret_id || ' ' || principal_id || ' ' || permission AS t FROM grants";
        let row = |text: String| {
            let numbers: Vec<i64> = text.split(' ').map(|number| number.parse().expect("a number")).collect();
            ((numbers[0], numbers[1]), numbers[2])
        };
        self.test.texts(sql).await.into_iter().map(row).collect()
    }
}
