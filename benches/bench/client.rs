//! A client that shares over RabbitMQ and listens to the events, with one connection for each of the two.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::servers::{REQUESTER, Site};

/// The number of messages that are published together, and the most messages that are held unacknowledged.
pub const WINDOW: usize = 200;
/// The benchmark gives up on anything that takes longer than this.
const PATIENCE: Duration = Duration::from_secs(600);

pub async fn connect(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.expect("RabbitMQ answers")
}

/// Opens a channel on which the broker confirms messages.
pub async fn confirming(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    channel
}

/// Declares a durable quorum queue.
pub async fn quorum_queue(channel: &Channel, name: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), options, arguments).await.expect("a queue");
}

pub async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) {
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.into(), exchange.into(), key.into(), options, none).await.expect("bound");
}

pub async fn delete_queue(channel: &Channel, name: &str) {
    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.expect("deleted");
}

pub async fn consume(channel: &Channel, queue: &str) -> lapin::Consumer {
    let prefetch = u16::try_from(WINDOW).expect("small");
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.expect("qos");
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(queue.into(), "".into(), options, none).await.expect("a consumer")
}

/// Acknowledges all messages up to this tag.
pub async fn ack_up_to(channel: &Channel, tag: u64) {
    channel.basic_ack(tag, BasicAckOptions { multiple: true }).await.expect("acknowledged");
}

/// Publishes these messages as persistent, and waits until all of them are confirmed.
pub async fn publish_window(channel: &Channel, exchange: &str, key: &str, bodies: &[Vec<u8>]) {
    let mut confirms = Vec::with_capacity(bodies.len());
    for body in bodies {
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/cloudevents+json".into());
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await;
        confirms.push(sent.expect("published"));
    }
    let confirmed = try_join_all(confirms).await.expect("confirmed");
    assert!(confirmed.iter().all(|confirm| matches!(confirm, Confirmation::Ack(None))), "not all confirmed");
}

/// Deletes the exchanges and queues that the program declared under a prefix.
pub async fn delete_topology(url: &str, prefix: &str) {
    let connection = connect(url).await;
    let channel = connection.create_channel().await.expect("a channel");
    for queue in ["jobs", "steps", "notices", "dead", "bench"] {
        delete_queue(&channel, &format!("{prefix}.{queue}")).await;
    }
    for exchange in ["jobs", "internal", "events"] {
        let name = format!("{prefix}.{exchange}");
        let deleted = channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await;
        deleted.expect("deleted");
    }
    let _ = connection.close(200, "done".into()).await;
}

/// The id and the body of a request.
pub struct Request {
    pub id: Uuid,
    pub body: Vec<u8>,
}

/// A request that shares some secrets with some users. Both are given by the first id and the number of ids.
pub fn request(secrets: (i64, i64), users: (i64, i64)) -> Request {
    asked(&share(secrets, users))
}

/// The message that requests the same as this body of an HTTP request.
pub fn asked(data: &Value) -> Request {
    message("batchshare.job.requested.v1", data)
}

/// The message that takes away what [`request`] gives.
pub fn unshare(secrets: (i64, i64), users: (i64, i64)) -> Request {
    message("batchshare.unshare.requested.v1", &share(secrets, users))
}

fn message(kind: &str, data: &Value) -> Request {
    let id = Uuid::now_v7();
    let event = json!({
        "specversion": "1.0", "id": id.to_string(), "source": "/bench", "type": kind,
        "data": {"requested_by": REQUESTER, "secrets": data["secrets"], "recipients": data["recipients"]},
    });
    Request { id, body: event.to_string().into_bytes() }
}

/// The body of an HTTP request for the same.
pub fn share(secrets: (i64, i64), users: (i64, i64)) -> Value {
    let ids: Vec<i64> = (secrets.0..secrets.0 + secrets.1).collect();
    let recipients: Vec<Value> =
        (users.0..users.0 + users.1).map(|id| json!({"kind": "user", "id": id})).collect();
    json!({"secrets": {"ids": ids}, "recipients": recipients})
}

/// A job that has ended, and the time when its event came.
pub struct Ended {
    pub id: Uuid,
    pub at: Instant,
    pub body_bytes: usize,
}

/// Publishes requests and receives the events of their ends, on a quorum queue of its own.
pub struct Client {
    publish: Channel,
    exchange: String,
    ended: mpsc::UnboundedReceiver<Ended>,
    _connections: [Connection; 2],
}

impl Client {
    pub async fn new(site: &Site) -> Self {
        let (publisher, listener) = (connect(&site.servers.amqp).await, connect(&site.servers.amqp).await);
        let publish = confirming(&publisher).await;
        let channel = listener.create_channel().await.expect("a channel");
        let queue = format!("{}.bench", site.prefix);
        quorum_queue(&channel, &queue).await;
        for key in [
            "job.completed",
            "job.failed",
            "undo.completed",
            "undo.failed",
            "unshare.completed",
            "unshare.failed",
        ] {
            bind(&channel, &queue, &format!("{}.events", site.prefix), key).await;
        }
        let consumer = consume(&channel, &queue).await;
        let (tell, ended) = mpsc::unbounded_channel();
        tokio::spawn(listen(channel, consumer, tell));
        let exchange = format!("{}.jobs", site.prefix);
        Self { publish, exchange, ended, _connections: [publisher, listener] }
    }

    /// Publishes all requests in windows. Each window is confirmed before the next one is published.
    pub async fn publish(&self, requests: &[Request]) {
        for window in requests.chunks(WINDOW) {
            let bodies: Vec<Vec<u8>> = window.iter().map(|request| request.body.clone()).collect();
            publish_window(&self.publish, &self.exchange, "job.requested", &bodies).await;
        }
    }

    /// Waits for the next job that completes.
    pub async fn next(&mut self) -> Ended {
        let next = tokio::time::timeout(PATIENCE, self.ended.recv()).await;
        next.expect("an event in time").expect("the listener runs: see above if a job failed")
    }

    /// Publishes one request and waits for its end. Returns how long both took together.
    pub async fn one(&mut self, request: &Request) -> Duration {
        let began = Instant::now();
        self.publish(std::slice::from_ref(request)).await;
        self.end_of(request.id).await - began
    }

    /// Waits for the end of this job, which somebody has asked for.
    pub async fn end_of(&mut self, job: Uuid) -> Instant {
        loop {
            let ended = self.next().await;
            if ended.id == job {
                return ended.at;
            }
        }
    }

    /// Publishes one request and waits for its end, while other jobs run. The times at which these end are added to `others`.
    pub async fn one_beside(&mut self, request: &Request, others: &mut HashMap<Uuid, Instant>) -> Duration {
        let began = Instant::now();
        self.publish(std::slice::from_ref(request)).await;
        loop {
            let ended = self.next().await;
            if ended.id == request.id {
                return ended.at - began;
            }
            others.insert(ended.id, ended.at);
        }
    }

    /// The jobs whose end has been received and was not returned yet.
    pub fn ended_meanwhile(&mut self) -> Vec<Ended> {
        std::iter::from_fn(|| self.ended.try_recv().ok()).collect()
    }

    /// Publishes all requests, and receives their ends meanwhile. Returns the time from the start to each end.
    pub async fn all(&mut self, requests: &[Request]) -> (Duration, HashMap<Uuid, Duration>) {
        let began = Instant::now();
        let Self { publish, exchange, ended, .. } = self;
        let sending = async {
            for window in requests.chunks(WINDOW) {
                let bodies: Vec<Vec<u8>> = window.iter().map(|request| request.body.clone()).collect();
                publish_window(publish, exchange, "job.requested", &bodies).await;
            }
        };
        let hearing = async {
            let mut times = HashMap::new();
            let mut last = Duration::ZERO;
            while times.len() < requests.len() {
                let next = tokio::time::timeout(PATIENCE, ended.recv()).await.expect("an event in time");
                let next = next.expect("the listener runs");
                last = next.at - began;
                times.insert(next.id, last);
            }
            (last, times)
        };
        let ((), heard) = tokio::join!(sending, hearing);
        assert!(requests.iter().all(|request| heard.1.contains_key(&request.id)), "jobs of somebody else");
        heard
    }
}

/// Hands on each end that is received, and acknowledges all messages that have come together.
async fn listen(channel: Channel, mut consumer: lapin::Consumer, tell: mpsc::UnboundedSender<Ended>) {
    let mut held = 0;
    while let Some(delivery) = consumer.next().await {
        let Ok(delivery) = delivery else { return };
        let at = Instant::now();
        let event: Value = serde_json::from_slice(&delivery.data).expect("JSON");
        assert_eq!(event["data"]["state"], "completed", "a job ended otherwise: {event}");
        let id = event["subject"].as_str().and_then(|text| text.parse().ok()).expect("a job's id");
        if tell.send(Ended { id, at, body_bytes: delivery.data.len() }).is_err() {
            return;
        }
        held += 1;
        if held >= WINDOW / 4 || delivery.routing_key.as_str().ends_with(".failed") {
            ack_up_to(&channel, delivery.delivery_tag).await;
            held = 0;
        }
    }
}
