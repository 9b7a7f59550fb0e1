//! Taking messages while something is away: what is held, and how often it is delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use batchshare::broker::{Broker, Embedded, Exchange, Outgoing, Queue, topology};
use batchshare::db::Db;
use batchshare::metrics::Metrics;
use batchshare::shutdown;
use batchshare::take::{Handler, Outage, Taken, Takes, take};
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
    deliveries: mpsc::UnboundedSender<i64>,
}

impl Handler for FullDisk {
    async fn handle(self: Arc<Self>, _: Taken) -> Result<(), Outage> {
        use diesel::prelude::*;
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            n: i64,
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call == 0 || call > self.last_failure {
            return Ok(());
        }
        if call == self.last_failure {
            let sql = "SELECT MIN(deliveries) AS n FROM queue_messages";
            let least = self.db.read(move |conn| Ok(diesel::sql_query(sql).get_result::<Row>(conn)?.n)).await;
            self.deliveries.send(least.expect("sql")).expect("the test waits");
        }
        Err(Outage("no space left on device".to_owned()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_and_does_not_work_costs_waiting_messages_no_deliveries() {
    let test = TestDb::new(Kind::Sqlite).await;
    let broker = Broker::Embedded(Embedded::new(test.db.clone()));
    for result in broker.publish(&(0..6).map(request).collect::<Vec<_>>()).await {
        result.expect("published");
    }
    let (deliveries, mut told) = mpsc::unbounded_channel();
    let (stopper, stop) = shutdown::channel();
    let handler =
        Arc::new(FullDisk { db: test.db.clone(), calls: AtomicUsize::new(0), last_failure: 4, deliveries });
    let takes = Takes { queue: Queue::Jobs, prefetch: 5, concurrency: 1, together: 1 };
    let taking =
        tokio::spawn(take(broker.clone(), test.db.clone(), Metrics::default(), takes, handler, stop));
    // All were held once, when the first failed; from then on only the one that is tried.
    assert_eq!(told.recv().await, Some(1));
    crate::support::eventually("every message is handled", 20, async || {
        (test.number("SELECT COUNT(*) FROM queue_messages").await == 0).then_some(())
    })
    .await;
    stopper.stop();
    taking.await.expect("it ends");
}
