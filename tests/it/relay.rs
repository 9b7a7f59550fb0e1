//! The relay: what is in the table leaves, whatever else there is to send.

use std::time::Duration;

use batchshare::broker::{Broker, Embedded};
use batchshare::relay::{self, RelayOptions};
use batchshare::shutdown;
use tokio::sync::mpsc;

use crate::support::{Kind, eventually};
use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_new_messages_does_not_keep_the_table_waiting() {
    let world = World::new(Kind::Sqlite).await;
    world.secrets(ANA, [101]).await;
    world.begin(&share([101], &[BRUNO])).await;
    let event = world.take_letters().await.pop().expect("the terminal event");
    world.begin(&share([101], &[EVA])).await;
    assert_eq!(world.store.unsent().await.expect("outbox"), 1, "free for any relay to take");

    let (sender, committed) = mpsc::channel(16);
    let (stopper, stop) = shutdown::channel();
    let options =
        RelayOptions { lease: Duration::from_secs(20), interval: Duration::from_millis(50), batch: 4 };
    let broker = Broker::Embedded(Embedded::new(world.test.db.clone()));
    let relay = tokio::spawn(relay::run(world.store.clone(), broker, committed, options, stop));
    let feeder = tokio::spawn(async move { while sender.send(event.clone()).await.is_ok() {} });
    eventually("the table is empty", 20, async || {
        (world.store.unsent().await.expect("outbox") == 0).then_some(())
    })
    .await;
    feeder.abort();
    stopper.stop();
    relay.await.expect("it ends");
}
