//! All roles, one step after the other, against real servers behind the injector.

use std::sync::Arc;
use std::time::Duration;

use batchshare::broker::{Broker, Consumer, Embedded, Exchange, Outgoing, Queue, Rabbit, topology};
use batchshare::consume::Deliveries;
use batchshare::contract;
use batchshare::contract::JobRequested;
use batchshare::domain::{EndedBy, JobId, JobState, Limits};
use batchshare::notifier;
use batchshare::relay::{Relay, RelayOptions};
use batchshare::shutdown;
use batchshare::shutdown::Stopper;
use batchshare::store::{Cancelled, Committed, Store, Submission, Submitted};
use batchshare::worker::Worker;
use tokio::sync::mpsc;

use super::injector::{How, Injector};
use crate::faulty::faulty;
use crate::support::Kind;
use crate::world::*;

/// Messages that are handled together, where the program does so.
const TOGETHER: u16 = 8;
/// Rounds until everything has ended; a run without a fault takes eight.
const ROUNDS: usize = 40;

pub struct Program {
    pub(super) world: World,
    pub(super) injector: Arc<Injector>,
    broker: Broker,
    /// The same broker without faults, for what others do.
    outside: Broker,
    pub(super) store: Store,
    worker: Arc<Worker>,
    relay: Relay,
    /// What was just committed, as the relay gets it.
    to_relay: mpsc::Receiver<Committed>,
    consumers: [Option<Consumer>; Queue::ALL.len()],
    due_work: bool,
    /// Runs whose poison was buried more than once.
    pub buried_again: u32,
    /// Each message is handled twice before it is acknowledged.
    twice: bool,
    _stopper: Stopper,
}

impl Program {
    pub async fn new(kind: Kind, due_work: bool, twice: bool) -> Self {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=108).await;
        let outside = match kind {
            Kind::Sqlite => Broker::new(Embedded::new(world.test.db.clone())),
            Kind::Postgres => Broker::new(Rabbit::new(crate::broker::options())),
        };
        outside.declare().await.expect("declared");
        let injector = Arc::new(Injector::default());
        let broker = faulty(outside.clone(), injector.clone());
        // A lease that is over at once: what could not be sent is sent in the next round.
        let lease = Duration::ZERO;
        let (committed, to_relay) = mpsc::channel(64);
        let store = Store::with_relay(world.test.db.with_hook(injector.clone()), committed, lease);
        let (stopper, stop) = shutdown::channel();
        // A step goes on to its lane's end, so that it has several chunks.
        let worker = Worker::new(store.clone(), broker.clone(), worker_options(), stop);
        let options = RelayOptions { lease, interval: Duration::from_secs(3_600), batch: 100 };
        let relay = Relay::new(store.clone(), broker.clone(), options);
        let consumers = Default::default();
        Self {
            world,
            injector,
            broker,
            outside,
            store,
            worker,
            relay,
            to_relay,
            consumers,
            due_work,
            buried_again: 0,
            twice,
            _stopper: stopper,
        }
    }

    /// Runs the scenario with a fault at this call. False where there are not so many.
    pub async fn run(&mut self, at: u64, how: How) -> bool {
        self.injector.plan(at, how);
        let what = format!("a fault ({how:?}) at call {at}");
        let small = self.submit("the small one").await;
        let doomed = self.submit_and_cancel().await;
        let large = share((103..=108).chain([999]), &[BRUNO, EVA]);
        // With the small one of before, two that may be begun together, and one that meets the second.
        let others = [share([103], &[EVA]), share([103], &[BRUNO, EVA])];
        let body = |asked: &JobRequested| {
            contract::encode_request(asked.job_id, &asked.request, &contract::new_traceparent(), 0)
        };
        let small_bodies = [body(&others[0]), body(&others[1]), body(&others[1])];
        for body in
            small_bodies.into_iter().chain([body(&large), body(&large), b"poison".to_vec(), self.too_early()])
        {
            self.publish(body).await;
        }
        self.rounds(&what, 5).await;
        self.injector.calm();
        self.check_cancelled(&what, doomed).await;
        let poison = self.check(&what, how, small, &others, &large).await;
        self.buried_again += u32::from(poison > 1);
        self.clear().await;
        self.injector.reached(at)
    }

    /// Goes on until so many jobs have ended and everybody was told.
    pub(super) async fn rounds(&mut self, what: &str, jobs: i64) {
        let mut rounds = 0;
        while !self.settled(jobs).await {
            assert!(rounds < ROUNDS, "{what}: not settled; {}", self.state().await);
            rounds += 1;
            self.round(what).await;
        }
    }

    pub(super) async fn clear(&self) {
        let tables = [
            "grants",
            "claims",
            "jobs",
            "job_secrets",
            "job_outcomes",
            "job_parts",
            "lanes",
            "job_rejections",
            "notices",
            "received",
            "dead_letters",
            "pending_orders",
        ];
        let sql: String = tables.iter().map(|table| format!("DELETE FROM {table};")).collect();
        self.world.test.sql(&sql).await;
    }

    /// As a client does: again with the same key until it is accepted.
    async fn submit(&self, key: &str) -> JobId {
        let submission = Submission {
            request: share([101, 102], &[BRUNO]).request,
            idempotency_key: Some(key.to_owned()),
            traceparent: None,
        };
        for _ in 0..5 {
            match self.store.submit(submission.clone(), Limits::default(), 100).await {
                Ok(Submitted::Accepted(job) | Submitted::Repeated(job)) => return job.job_id,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
        panic!("never accepted");
    }

    /// As a client does: again until the job is cancelled. Nobody has begun it.
    async fn submit_and_cancel(&self) -> JobId {
        let id = self.submit("the one that is cancelled").await;
        let by = EndedBy::Person(principal(ANA));
        for _ in 0..5 {
            match self.store.cancel(id, by).await {
                Ok(Cancelled::Done(job) | Cancelled::Already(job)) => {
                    assert_eq!((job.state, job.done()), (JobState::Cancelled, 0));
                    return id;
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
        panic!("never cancelled");
    }

    /// As another program does.
    pub(super) async fn publish(&self, body: Vec<u8>) {
        let message = Outgoing {
            exchange: Exchange::Jobs,
            routing_key: topology::KEY_REQUESTED.to_owned(),
            message_id: "from outside".to_owned(),
            kind: contract::REQUEST_TYPE.to_owned(),
            traceparent: None,
            mandatory: true,
            timestamp: 0,
            headers: Vec::new(),
            body,
        };
        let batch = [message];
        for answer in self.outside.publish(&batch).await {
            answer.expect("published");
        }
        self.injector.published(&batch);
    }

    /// An order about a job that never comes.
    fn too_early(&self) -> Vec<u8> {
        let data = serde_json::json!({"requested_by": ANA, "job_id": JobId::generate()});
        let order = serde_json::json!({
            "specversion": "1.0", "id": JobId::generate(), "source": "/x", "type": contract::CANCEL_TYPE, "data": data,
        });
        order.to_string().into_bytes()
    }

    async fn round(&mut self, what: &str) {
        let committed = std::iter::from_fn(|| self.to_relay.try_recv().ok()).collect();
        self.relay.take(committed).await;
        self.relay.sweep().await;
        for (place, queue) in Queue::ALL.into_iter().enumerate() {
            while self.waiting(queue) > 0 {
                if !self.messages(place, queue, what).await {
                    // Its messages come again.
                    self.consumers[place] = None;
                    break;
                }
            }
        }
        if self.due_work {
            // What was put aside, or left to due work, has its time.
            self.world.time_passes(60).await;
            // What was not woken is found in the next round.
            let _ = self.worker.settle_orders().await;
            let _ = self.worker.wake_due().await;
        }
    }

    fn waiting(&self, queue: Queue) -> i64 {
        self.injector.line().waiting.get(queue.suffix()).copied().unwrap_or(0)
    }

    /// Takes, handles and acknowledges a message, or several together where the program does so. False
    /// where something failed.
    async fn messages(&mut self, place: usize, queue: Queue, what: &str) -> bool {
        let together = if matches!(queue, Queue::Jobs | Queue::Notices) { TOGETHER } else { 1 };
        if self.consumers[place].is_none() {
            let Ok(consumer) = self.broker.consume(queue, TOGETHER).await else { return false };
            self.consumers[place] = Some(consumer);
        }
        let count = self.waiting(queue).min(i64::from(together));
        let Some(consumer) = &mut self.consumers[place] else { return false };
        let mut taken = Vec::new();
        for _ in 0..count {
            let next = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await;
            match next.unwrap_or_else(|_| panic!("{what}: no message comes from {queue:?}")) {
                Ok(delivery) => taken.push(delivery),
                Err(_) => return false,
            }
        }
        let (taken, acker): (Deliveries, _) = (taken.into(), consumer.acker());
        let tags: Vec<u64> = taken.iter().map(|delivery| delivery.tag).collect();
        let mut well = true;
        for _ in 0..if self.twice { 2 } else { 1 } {
            well = well && self.handle(queue, taken.clone()).await;
        }
        if !well {
            return false;
        }
        let before = self.injector.line().acks;
        let answer = acker.ack(&tags).await;
        let mut line = self.injector.line();
        if line.acks > before {
            *line.waiting.entry(queue.suffix()).or_default() -= count;
        }
        answer.is_ok()
    }

    async fn handle(&self, queue: Queue, taken: Deliveries) -> bool {
        match queue {
            Queue::Notices => notifier::handle(&self.store, &self.broker, &taken).await.is_ok(),
            _ => Arc::clone(&self.worker).handle(queue, taken).await.is_ok(),
        }
    }

    async fn settled(&self, jobs: i64) -> bool {
        let left = format!(
            "(SELECT COUNT(*) FROM jobs WHERE finished_at IS NULL OR notice_due) \
             + (SELECT COUNT(*) FROM outbox) + {jobs} - (SELECT COUNT(*) FROM jobs)"
        );
        let queues: i64 = Queue::ALL.into_iter().map(|queue| self.waiting(queue)).sum();
        queues == 0 && self.world.test.number(&left).await == 0
    }

    async fn state(&self) -> String {
        let (jobs, _) = self.world.store.jobs(None, None, 10).await.expect("jobs");
        let waiting = self.injector.line().waiting.clone();
        format!("{jobs:?}, {} in the outbox, {waiting:?}", self.world.store.unsent().await.expect("outbox"))
    }

    /// It ended once, without a grant, and the order about no job waits or has become one dead letter.
    async fn check_cancelled(&self, what: &str, doomed: JobId) {
        let job = self.world.job(doomed).await;
        assert_eq!((job.state, job.done(), job.attempts), (JobState::Cancelled, 0, 0), "{what}");
        let told = self.injector.line().told.get(&doomed.to_string()).cloned().unwrap_or_default();
        let event = uuid::Uuid::new_v5(&doomed.uuid(), b"terminal/1").to_string();
        assert_eq!(told.iter().collect::<Vec<_>>(), [&event], "{what}");
        let orders = "(SELECT COUNT(*) FROM pending_orders) \
                      + (SELECT COUNT(*) FROM dead_letters WHERE reason = 'unknown_job')";
        assert_eq!(self.world.test.number(orders).await, 1, "{what}");
    }

    async fn check(
        &self,
        what: &str,
        how: How,
        small: JobId,
        others: &[JobRequested; 2],
        large: &JobRequested,
    ) -> i64 {
        let number = async |sql: &str| self.world.test.number(sql).await;
        let job = self.world.job(small).await;
        assert_eq!((job.state, job.counts), (JobState::Completed, counts(2, 0, 0, 0)), "{what}");
        let mut failures = job.attempts;
        // They share pairs: who of them is first depends on the fault, and the sum does not.
        let mut done = counts(0, 0, 0, 0);
        for asked in others {
            let job = self.world.job(asked.job_id).await;
            assert_eq!(job.state, JobState::Completed, "{what}");
            done = done + job.counts;
            failures += job.attempts;
        }
        let job = self.world.job(large.job_id).await;
        assert_eq!(job.state, JobState::CompletedWithRejections, "{what}");
        assert_eq!(done + job.counts, counts(12, 0, 3, 2), "{what}");
        let lines: Vec<_> = job.rejections.iter().map(line).collect();
        assert_eq!(lines, [("secret", 999, "not_found", 2)], "{what}");
        if !matches!(how, How::Transient { calls: 3.. }) {
            assert_eq!((failures, job.attempts), (0, 0), "{what}: no attempt counts");
        }
        let exact = "SELECT COUNT(*) FROM grants WHERE permission = 1 AND \
                     (principal_id = 2 AND secret_id BETWEEN 101 AND 108 OR principal_id = 5 AND secret_id BETWEEN 103 AND 108)";
        assert_eq!((number("SELECT COUNT(*) FROM grants").await, number(exact).await), (14, 14), "{what}");
        assert_eq!(number("SELECT COUNT(*) FROM jobs").await, 5, "{what}");
        let notices = "SELECT COUNT(*) FROM notices n JOIN jobs j ON j.id = n.job AND j.granted = n.granted";
        assert_eq!((number("SELECT COUNT(*) FROM notices").await, number(notices).await), (5, 5), "{what}");
        let told = self.injector.line().told.clone();
        for id in [small, others[0].job_id, others[1].job_id, large.job_id] {
            let event = uuid::Uuid::new_v5(&id.uuid(), b"terminal/1").to_string();
            assert_eq!(
                told.get(&id.to_string()).expect("told").iter().collect::<Vec<_>>(),
                [&event],
                "{what}"
            );
        }
        // Poison that is delivered again after it was buried is buried again: never less than once.
        let most = if self.twice { 4 } else { 2 };
        let others =
            number("SELECT COUNT(*) FROM dead_letters WHERE reason NOT IN ('not_json', 'unknown_job')").await;
        let poison = number("SELECT COUNT(*) FROM dead_letters WHERE reason = 'not_json'").await;
        assert!(
            others == 0 && (1..=most).contains(&poison),
            "{what}: {poison} dead letters and {others} others"
        );
        poison
    }
}
