//! Measures the broker alone: it carries the same pattern of messages, and nothing of our program runs.

use std::time::{Duration, Instant};

use diesel::RunQueryDsl as _;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use tokio::sync::mpsc;

use crate::client::{
    WINDOW, ack_up_to, bind, confirming, connect, consume, delete_queue, publish_window, quorum_queue,
};
use crate::servers;

/// The sizes of the messages of one job, in bytes.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub request: usize,
    pub event: usize,
}

/// A pipeline that only moves messages: a request goes to A, and A answers with an event that goes to B and C.
struct Pipeline {
    connections: Vec<Connection>,
    name: String,
}

impl Pipeline {
    async fn new(url: &str, name: &str) -> Self {
        let mut connections = Vec::new();
        for _ in 0..4 {
            connections.push(connect(url).await);
        }
        let channel = connections[0].create_channel().await.expect("a channel");
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let exchange = format!("{name}.events");
        let declared = channel.exchange_declare(
            exchange.as_str().into(),
            ExchangeKind::Topic,
            options,
            FieldTable::default(),
        );
        declared.await.expect("an exchange");
        for queue in ["a", "b", "c"] {
            quorum_queue(&channel, &format!("{name}.{queue}")).await;
        }
        for queue in ["b", "c"] {
            bind(&channel, &format!("{name}.{queue}"), &exchange, "job.completed").await;
        }
        Self { connections, name: name.to_owned() }
    }

    async fn channel(&self, connection: usize) -> Channel {
        self.connections[connection].create_channel().await.expect("a channel")
    }

    async fn close(self) {
        let channel = self.channel(0).await;
        for queue in ["a", "b", "c"] {
            delete_queue(&channel, &format!("{}.{queue}", self.name)).await;
        }
        let exchange = format!("{}.events", self.name);
        let deleted = channel.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default());
        deleted.await.expect("deleted");
        for connection in &self.connections {
            let _ = connection.close(200, "done".into()).await;
        }
    }

    /// A consumer of one queue, on a channel of its own.
    async fn consumer(&self, connection: usize, queue: &str) -> (Channel, lapin::Consumer) {
        let channel = self.channel(connection).await;
        let consumer = consume(&channel, &format!("{}.{queue}", self.name)).await;
        (channel, consumer)
    }

    /// Takes `count` messages. Messages that came together are acknowledged together.
    async fn drain(&self, (channel, consumer): (Channel, lapin::Consumer), count: usize) {
        let (mut seen, mut batches) = (0, consumer.ready_chunks(WINDOW));
        while seen < count {
            let batch = batches.next().await.expect("the queue is there");
            seen += batch.len();
            let last = batch.last().expect("some").as_ref().expect("a delivery").delivery_tag;
            ack_up_to(&channel, last).await;
        }
    }

    /// The bare worker publishes an event for each request, and acknowledges the request when the event is confirmed.
    async fn forward(
        &self,
        (channel, consumer): (Channel, lapin::Consumer),
        publish: Channel,
        count: usize,
        body: &[u8],
    ) {
        let exchange = format!("{}.events", self.name);
        let (mut seen, mut batches) = (0, consumer.ready_chunks(WINDOW));
        while seen < count {
            let batch = batches.next().await.expect("the queue is there");
            seen += batch.len();
            let mut confirms = Vec::with_capacity(batch.len());
            for _ in &batch {
                let properties = BasicProperties::default().with_delivery_mode(2);
                let options = BasicPublishOptions::default();
                let key = "job.completed".into();
                let sent = publish.basic_publish(exchange.as_str().into(), key, options, body, properties);
                confirms.push(sent.await.expect("published"));
            }
            try_join_all(confirms).await.expect("confirmed");
            let last = batch.last().expect("some").as_ref().expect("a delivery").delivery_tag;
            ack_up_to(&channel, last).await;
        }
    }
}

/// How long the messages of some jobs take, counted from the first publish.
pub struct Took {
    /// The time until the client has taken its last event.
    pub heard: Duration,
    /// The time until the notifier has taken its last event as well.
    pub noticed: Duration,
}

/// How long the messages of `count` jobs take. All consumers are ready before the first message is published.
pub async fn messages(url: String, name: String, count: usize, sizes: Sizes) -> Took {
    let pipeline = Pipeline::new(&url, &name).await;
    let publish = confirming(&pipeline.connections[0]).await;
    let (request, event) = (vec![b'x'; sizes.request], vec![b'x'; sizes.event]);
    let queue = format!("{name}.a");
    let window = vec![request; WINDOW];
    let (a, b, c) =
        (pipeline.consumer(1, "a").await, pipeline.consumer(2, "b").await, pipeline.consumer(3, "c").await);
    let events = confirming(&pipeline.connections[2]).await;
    let began = Instant::now();
    let sending = async {
        let mut left = count;
        while left > 0 {
            let now = left.min(WINDOW);
            publish_window(&publish, "", &queue, &window[..now]).await;
            left -= now;
        }
    };
    let drained = async |from| {
        pipeline.drain(from, count).await;
        began.elapsed()
    };
    let ((), (), heard, noticed) =
        tokio::join!(sending, pipeline.forward(a, events, count, &event), drained(b), drained(c));
    pipeline.close().await;
    Took { heard, noticed: noticed.max(heard) }
}

/// Measures the same on a thread with a single-threaded runtime of its own, on which lapin is faster at times.
pub async fn messages_alone(url: String, name: String, count: usize, sizes: Sizes) -> Took {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(messages(url, name, count, sizes))
    };
    tokio::task::spawn_blocking(run).await.expect("the bare broker")
}

/// Two hops through quorum queues, with or without a commit of one row between them.
pub struct Hops {
    publish: Channel,
    back: mpsc::UnboundedReceiver<Instant>,
    name: String,
    request: Vec<u8>,
    connections: Vec<Connection>,
}

impl Hops {
    /// If there is a database in `commit`, its table `bare` gets a row for each message.
    pub async fn new(url: &str, name: &str, sizes: Sizes, commit: Option<String>) -> Self {
        let mut connections = Vec::new();
        for _ in 0..4 {
            connections.push(connect(url).await);
        }
        let publish = confirming(&connections[0]).await;
        let (a, b) = (format!("{name}.a"), format!("{name}.b"));
        for queue in [&a, &b] {
            quorum_queue(&publish, queue).await;
        }
        let on = connections[1].create_channel().await.expect("a channel");
        let events = confirming(&connections[2]).await;
        let mut requests = consume(&on, &a).await;
        let (event, to) = (vec![b'x'; sizes.event], b.clone());
        tokio::spawn(async move {
            let mut database = commit.map(|url| servers::connect(&url));
            while let Some(Ok(delivery)) = requests.next().await {
                if let Some(mut conn) = database.take() {
                    let insert = move || {
                        let sql = "INSERT INTO bare (at) VALUES (1)";
                        diesel::sql_query(sql).execute(&mut conn).expect("a row");
                        conn
                    };
                    database = Some(tokio::task::spawn_blocking(insert).await.expect("a commit"));
                }
                publish_window(&events, "", &to, std::slice::from_ref(&event)).await;
                ack_up_to(&on, delivery.delivery_tag).await;
            }
        });
        let listener = connections[3].create_channel().await.expect("a channel");
        let mut events = consume(&listener, &b).await;
        let (tell, back) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = events.next().await {
                let _ = tell.send(Instant::now());
                ack_up_to(&listener, delivery.delivery_tag).await;
            }
        });
        Self { publish, back, name: name.to_owned(), request: vec![b'x'; sizes.request], connections }
    }

    /// Sends one message on both hops, and waits until it has arrived.
    pub async fn one(&mut self) -> Duration {
        let began = Instant::now();
        let queue = format!("{}.a", self.name);
        publish_window(&self.publish, "", &queue, std::slice::from_ref(&self.request)).await;
        self.back.recv().await.expect("it comes back") - began
    }

    pub async fn close(self) {
        for queue in ["a", "b"] {
            delete_queue(&self.publish, &format!("{}.{queue}", self.name)).await;
        }
        for connection in &self.connections {
            let _ = connection.close(200, "done".into()).await;
        }
    }
}
