//! Taking messages while something is away: what is held, and how often it is delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use batchshare::broker::{Broker, Embedded, Exchange, Outgoing, Queue, topology};
use batchshare::consume::{Deliveries, Handler, Outage, Takes, take};
use batchshare::db::{Db, DbError};
use batchshare::shutdown;
use batchshare::telemetry::metrics::Metrics;
use tokio::sync::mpsc;

use crate::support::{Kind, TestDb};

fn request(id: usize) -> Outgoing {
    Outgoing {
        exchange: Exchange::Jobs,
        routing_key: topology::KEY_REQUESTED.to_owned(),
        message_id: id.to_string(),
        kind: "test".to_owned(),
        traceparent: None,
        mandatory: true,
        timestamp: 0,
        headers: Vec::new(),
        body: Vec::new(),
    }
}

/// Handles the first message, then none until it was called so often.
struct FullDisk {
    db: Db,
    calls: AtomicUsize,
    last_failure: usize,
    /// How often the messages were delivered by then, at least and at most.
    deliveries: mpsc::UnboundedSender<(i64, i64)>,
}

impl Handler for FullDisk {
    async fn handle(self: Arc<Self>, _: Deliveries) -> Result<(), Outage> {
        use diesel::prelude::*;
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            least: i64,
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            most: i64,
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call == 0 || call > self.last_failure {
            return Ok(());
        }
        if call == self.last_failure {
            let sql = "SELECT MIN(deliveries) AS least, MAX(deliveries) AS most FROM queue_messages";
            let row: Result<Row, _> =
                self.db.read(move |conn| Ok(diesel::sql_query(sql).get_result(conn)?)).await;
            let row = row.expect("sql");
            self.deliveries.send((row.least, row.most)).expect("the test waits");
        }
        Err(DbError::Unsuitable("no space left on device".to_owned()).into())
    }
}

/// In paused time, so that hours of a full disk are over in a moment.
#[tokio::test(start_paused = true)]
async fn a_server_that_answers_and_does_not_work_costs_no_message_its_deliveries() {
    let test = TestDb::new(Kind::Sqlite).await;
    let broker = Broker::new(Embedded::new(test.db.clone()));
    for result in broker.publish(&(0..6).map(request).collect::<Vec<_>>()).await {
        result.expect("published");
    }
    let (deliveries, mut told) = mpsc::unbounded_channel();
    let (stopper, stop) = shutdown::channel();
    let last_failure = usize::try_from(Queue::Jobs.delivery_limit()).expect("a number") * 2;
    let handler =
        Arc::new(FullDisk { db: test.db.clone(), calls: AtomicUsize::new(0), last_failure, deliveries });
    let takes = Takes { queue: Queue::Jobs, prefetch: 5, concurrency: 1, together: 1 };
    let taking =
        tokio::spawn(take(broker.clone(), test.db.clone(), Metrics::default(), takes, handler, stop));
    // All were held once, when the first failed. From then on only the one that is tried, all the time (it
    // may have been on its way before to the consumer that took the very first).
    let (least, most) = told.recv().await.expect("told");
    assert!(least == 1 && most <= 3, "delivered {least} to {most} times");
    crate::support::eventually("every message is handled", 20, async || {
        (test.number("SELECT COUNT(*) FROM queue_messages").await == 0).then_some(())
    })
    .await;
    stopper.stop();
    taking.await.expect("it ends");
}

/// Says what it is given, and handles it when the test lets it.
struct Told {
    says: mpsc::UnboundedSender<Vec<String>>,
    let_on: tokio::sync::Semaphore,
    /// Panics over this message while it is set.
    panics: std::sync::atomic::AtomicBool,
}

impl Told {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Vec<String>>) {
        let (says, heard) = mpsc::unbounded_channel();
        let panics = std::sync::atomic::AtomicBool::new(true);
        (Arc::new(Self { says, let_on: tokio::sync::Semaphore::new(0), panics }), heard)
    }
}

impl Handler for Told {
    async fn handle(self: Arc<Self>, taken: Deliveries) -> Result<(), Outage> {
        let ids: Vec<String> = taken.iter().filter_map(|of| of.message_id.clone()).collect();
        let bad = ids.iter().any(|id| id == "13") && self.panics.load(Ordering::SeqCst);
        self.says.send(ids).expect("the test listens");
        self.let_on.acquire().await.expect("open").forget();
        assert!(!bad, "on purpose");
        Ok(())
    }
}

/// A queue that is taken from, its first message handled: from then on messages come together.
async fn taking(
    test: &TestDb,
    handler: Arc<Told>,
    heard: &mut mpsc::UnboundedReceiver<Vec<String>>,
    concurrency: usize,
) -> (Broker, shutdown::Stopper, tokio::task::JoinHandle<()>) {
    let broker = Broker::new(Embedded::new(test.db.clone()));
    let (stopper, stop) = shutdown::channel();
    let takes = Takes { queue: Queue::Jobs, prefetch: 50, concurrency, together: 20 };
    let metrics = Metrics::default();
    let taking = tokio::spawn(take(broker.clone(), test.db.clone(), metrics, takes, handler.clone(), stop));
    publish(&broker, [0]).await;
    assert_eq!(heard.recv().await.expect("told"), ["0"]);
    handler.let_on.add_permits(1);
    (broker, stopper, taking)
}

async fn publish(broker: &Broker, ids: impl IntoIterator<Item = usize>) {
    for result in broker.publish(&ids.into_iter().map(request).collect::<Vec<_>>()).await {
        result.expect("published");
    }
}

async fn all_held(test: &TestDb) {
    crate::support::eventually("every message is held", 20, async || {
        (test.number("SELECT COUNT(*) FROM queue_messages WHERE holder IS NULL").await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_others_are_in_work_is_handled_together() {
    let test = TestDb::new(Kind::Sqlite).await;
    let (handler, mut heard) = Told::new();
    let (broker, stopper, taking) = taking(&test, handler.clone(), &mut heard, 1).await;
    // A single message waits for no other.
    publish(&broker, [1]).await;
    assert_eq!(heard.recv().await.expect("told"), ["1"]);
    publish(&broker, 20..48).await;
    all_held(&test).await;
    handler.let_on.add_permits(10);
    // In their order, and no more than there may be.
    let ids = |ids: std::ops::Range<usize>| ids.map(|id| id.to_string()).collect::<Vec<_>>();
    assert_eq!(heard.recv().await.expect("told"), ids(20..40));
    assert_eq!(heard.recv().await.expect("told"), ids(40..48));
    crate::support::eventually("every message is handled", 20, async || {
        (test.number("SELECT COUNT(*) FROM queue_messages").await == 0).then_some(())
    })
    .await;
    stopper.stop();
    taking.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_in_work_hold_up_no_others() {
    let test = TestDb::new(Kind::Sqlite).await;
    let (handler, mut heard) = Told::new();
    let (broker, stopper, taking) = taking(&test, handler.clone(), &mut heard, 2).await;
    publish(&broker, [1]).await;
    assert_eq!(heard.recv().await.expect("told"), ["1"]);
    // The first is never let on until this one was told.
    publish(&broker, [2]).await;
    assert_eq!(heard.recv().await.expect("told"), ["2"]);
    handler.let_on.add_permits(2);
    stopper.stop();
    taking.await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_over_one_of_many_sends_that_one_back_alone() {
    let test = TestDb::new(Kind::Sqlite).await;
    let (handler, mut heard) = Told::new();
    let (broker, stopper, taking) = taking(&test, handler.clone(), &mut heard, 1).await;
    publish(&broker, [1]).await;
    assert_eq!(heard.recv().await.expect("told"), ["1"]);
    publish(&broker, 12..15).await;
    all_held(&test).await;
    handler.let_on.add_permits(100);
    for told in [&["12", "13", "14"][..], &["12"], &["13"], &["14"]] {
        assert_eq!(heard.recv().await.expect("told"), told);
    }
    // It went back, and comes again by itself. The others were delivered once.
    handler.panics.store(false, Ordering::SeqCst);
    assert_eq!(heard.recv().await.expect("told"), ["13"]);
    crate::support::eventually("every message is handled", 20, async || {
        (test.number("SELECT COUNT(*) FROM queue_messages").await == 0).then_some(())
    })
    .await;
    stopper.stop();
    taking.await.expect("it ends");
}
