//! The relay: what is in the table leaves, whatever else there is to send.

use std::time::Duration;

use batchshare::broker::{Broker, BrokerError, Embedded, Queue, Rabbit};
use batchshare::domain::Limits;
use batchshare::relay;
use batchshare::relay::{Relay, RelayOptions};
use batchshare::shutdown;
use batchshare::store::{Committed, Store, Submission};
use tokio::sync::mpsc;

use crate::broker::{options, to};
use crate::support::{Kind, eventually, server};
use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_new_messages_does_not_keep_the_table_waiting() {
    let world = World::new(Kind::Sqlite).await;
    world.secrets(ANA, [101]).await;
    world.begin(&share([101], &[BRUNO])).await;
    let event = world.take_messages().await.pop().expect("the terminal event");
    world.begin(&share([101], &[EVA])).await;
    assert_eq!(world.store.unsent().await.expect("outbox"), 1, "free for any relay to take");

    let (sender, committed) = mpsc::channel(16);
    let (stopper, stop) = shutdown::channel();
    let options =
        RelayOptions { lease: Duration::from_secs(20), interval: Duration::from_millis(50), batch: 4 };
    let broker = Broker::new(Embedded::new(world.test.db.clone()));
    let relay = tokio::spawn(relay::run(world.store.clone(), broker, committed, options, stop));
    let feeder =
        tokio::spawn(async move { while sender.send(Committed::Row(event.clone())).await.is_ok() {} });
    eventually("the table is empty", 20, async || {
        (world.store.unsent().await.expect("outbox") == 0).then_some(())
    })
    .await;
    feeder.abort();
    stopper.stop();
    relay.await.expect("it ends");
}

fn submission(secrets: Vec<i64>) -> Submission {
    Submission { request: share(secrets, &[BRUNO]).request, idempotency_key: None, traceparent: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_too_large_to_hand_over_leaves_at_once_and_in_small_batches() {
    let world = World::new(Kind::Sqlite).await;
    let large = "x".repeat(3 * 1024 * 1024);
    let row = |number: usize| {
        format!(
            "INSERT INTO outbox (letter, message_id, traceparent, body, created_at, leased_until) \
             VALUES (5, 'large-{number}', '', CAST('{large}' AS BLOB), 0, 0);"
        )
    };
    world.test.sql(&(0..3).map(row).collect::<String>()).await;
    let taken = world.store.take_unsent(200, Duration::from_secs(20)).await.expect("outbox");
    assert_eq!(taken.len(), 1, "two of them are more than a relay takes at once");
    world.test.sql("DELETE FROM outbox").await;

    // Ids of sixteen digits: more than is handed over in memory.
    let ids = (0..5_000).map(|number| 9_000_000_000_000_000 + number);
    let (sender, committed) = mpsc::channel(16);
    let (stopper, stop) = shutdown::channel();
    // The table's own turn never comes: only the wake-up can be why it leaves.
    let options =
        RelayOptions { lease: Duration::from_secs(600), interval: Duration::from_secs(600), batch: 4 };
    let store = Store::with_relay(world.test.db.clone(), sender, options.lease);
    let broker = Broker::new(Embedded::new(world.test.db.clone()));
    let relay = tokio::spawn(relay::run(store.clone(), broker, committed, options, stop));
    // Its first look at the table is over when this has left.
    store.submit(submission([101].into()), Limits::default(), 1_000).await.expect("asked");
    let sent = async |what| {
        eventually(what, 20, async || (store.unsent().await.expect("outbox") == 0).then_some(())).await;
    };
    sent("the small request has left").await;
    store.submit(submission(ids.collect()), Limits::default(), 1_000).await.expect("asked");
    sent("the large request has left").await;
    assert_eq!(world.test.number("SELECT COUNT(*) FROM queue_messages WHERE length(body) > 65536").await, 1);
    stopper.stop();
    relay.await.expect("it ends");
}

/// RabbitMQ closes the channel over a message that is larger than it takes, and every other message of that
/// channel is lost with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_broker_rejects_keeps_no_other_waiting() {
    const LARGEST: usize = 17 * 1024 * 1024;
    let set = format!("application:set_env(rabbit, max_message_size, {LARGEST}).");
    let ctl = std::process::Command::new(server("BATCHSHARE_TEST_RABBITMQCTL")).args(["eval", &set]).output();
    assert!(ctl.expect("rabbitmqctl runs").status.success());
    let broker = Broker::new(Rabbit::new(options()));
    broker.declare().await.expect("declared");
    let mut batch = ["a", "b", "c", "d"].map(|id| to(Queue::Steps, id));
    batch[1].body = vec![b'x'; LARGEST + 1];
    let answers = broker.publish(&batch).await;
    assert!(matches!(answers[1], Err(BrokerError::Rejected(_))), "{answers:?}");
    let others = [&answers[0], &answers[2], &answers[3]];
    assert!(others.iter().all(|answer| answer.is_ok()), "{answers:?}");

    let world = World::new(Kind::Postgres).await;
    world.secrets(ANA, [101]).await;
    world.begin(&share([101], &[BRUNO])).await;
    world.begin(&share([101], &[EVA])).await;
    let oldest = "(SELECT MIN(id) FROM outbox)";
    let grow = format!(
        "UPDATE outbox SET body = convert_to(repeat('x', {}), 'UTF8') WHERE id = {oldest}",
        LARGEST + 1
    );
    world.test.sql(&grow).await;
    // The oldest first, and always the same: a batch of one shows who waits for it.
    let options = RelayOptions { lease: Duration::from_secs(20), interval: Duration::from_secs(1), batch: 1 };
    let mut relay = Relay::new(world.store.clone(), broker, options);
    for _ in 0..2 {
        relay.sweep().await;
    }
    assert_eq!(world.store.unsent().await.expect("outbox"), 1, "the one that is too large");
    let tries = "SELECT tries FROM outbox";
    assert_eq!(world.test.number(tries).await, 1, "its lease holds");
    let held = async || world.store.figures().await.expect("figures").held;
    for expected in 2..=10 {
        assert_eq!(held().await, 0);
        world.test.sql("UPDATE outbox SET leased_until = 0").await;
        relay.sweep().await;
        assert_eq!(world.test.number(tries).await, expected);
    }
    // It is kept aside, counted, and tried again only now and then.
    assert_eq!(held().await, 1);
    assert!(world.test.number("SELECT leased_until - now_ms() FROM outbox").await > 200_000);
    world.begin(&share([101], &[EVA])).await;
    relay.sweep().await;
    assert_eq!(world.store.unsent().await.expect("outbox"), 1, "others leave");
}
