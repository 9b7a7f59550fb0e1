//! What only a server over a network can do to us: refuse, contradict, block, fall silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use batchshare::broker::{Broker, BrokerError, Exchange, Outgoing, Queue, Rabbit, RabbitOptions};
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

use crate::broker::{id, options, take, to};
use crate::support::{eventually, server};

fn rabbit(options: &RabbitOptions) -> Broker {
    Broker::new(Rabbit::new(options.clone()))
}

/// The URL's address in place of the server's.
fn at(url: &str, address: SocketAddr) -> String {
    let (before, rest) = url.rsplit_once('@').expect("a URL with a user");
    let (_, vhost) = rest.split_once('/').expect("a URL with a virtual host");
    format!("{before}@{address}/{vhost}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contradicting_queue_is_named_with_the_difference() {
    let options = options();
    let name = options.topology.queue(Queue::Steps);
    let other = Connection::connect(&options.url, ConnectionProperties::default()).await.expect("connected");
    let channel = other.create_channel().await.expect("a channel");
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.as_str().into(), durable, FieldTable::default()).await.expect("declared");
    let declared = rabbit(&options).declare().await;
    let Err(BrokerError::Topology(text)) = declared else { panic!("{declared:?}") };
    assert!(text.contains(&name) && text.contains("inequivalent arg 'x-"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_and_not_told() {
    let options = options();
    let url = options.url.replace(":guest@", ":Wr0ng-secret@");
    assert_ne!(url, options.url);
    let refused = rabbit(&RabbitOptions { url, ..options }).declare().await;
    let Err(error @ BrokerError::Refused(_)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("ACCESS_REFUSED"), "{error}");
    assert!(!error.to_string().contains("Wr0ng"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_virtual_host_is_refused() {
    let options = options();
    let url = format!("{}-none", options.url);
    let refused = rabbit(&RabbitOptions { url, ..options }).ping().await;
    assert!(matches!(refused, Err(BrokerError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_refused_and_not_told() {
    let options = RabbitOptions { url: "amqp://me:Wr0ng-secret@host:port/".to_owned(), ..options() };
    assert!(!format!("{options:?}").contains("Wr0ng"));
    let refused = rabbit(&options).ping().await;
    let Err(error @ BrokerError::Refused(_)) = refused else { panic!("{refused:?}") };
    assert!(!error.to_string().contains("Wr0ng"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_is_unavailable_in_time() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its number");
    let options = options();
    let url = at(&options.url, closed);
    let broker = rabbit(&RabbitOptions { url, ..options });
    let start = Instant::now();
    let answers = broker.publish(&[to(Queue::Jobs, "a"), to(Queue::Jobs, "b")]).await;
    assert_eq!(answers.len(), 2);
    for answer in answers {
        assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");
    }
    assert!(matches!(broker.declare().await, Err(BrokerError::Unavailable(_))));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_unavailable_in_time_and_found_again() {
    let relay = Relay::start().await;
    relay.flowing.send_replace(false);
    let options = options();
    let url = at(&options.url, relay.address);
    let limit = Duration::from_millis(500);
    let broker = rabbit(&RabbitOptions { url, connect_timeout: limit, ..options });
    for _ in 0..3 {
        let start = Instant::now();
        let silent = broker.ping().await;
        assert!(matches!(silent, Err(BrokerError::Unavailable(_))), "{silent:?}");
        assert!(start.elapsed() < limit * 3);
    }
    relay.flowing.send_replace(true);
    eventually("connected", 20, async || broker.ping().await.ok()).await;
}

/// lapin's attempt goes on in a thread of its own, whoever waits for it: it is ended with its socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up_on_a_silent_server_leave_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let (made, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&made), Arc::clone(&open));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (made, open) = counts.clone();
            open.fetch_add(1, Ordering::SeqCst);
            made.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                while let Ok(1..) = client.read(&mut [0; 64]).await {}
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    let options = options();
    let broker = rabbit(&RabbitOptions {
        url: at(&options.url, address),
        connect_timeout: Duration::from_secs(60),
        ..options
    });
    for attempts in 1..=5 {
        tokio::select! {
            answer = broker.ping() => panic!("{answer:?} of a server that says nothing"),
            () = eventually("an attempt", 20, async || {
                (made.load(Ordering::SeqCst) >= attempts).then_some(())
            }) => {}
        }
    }
    eventually("all are closed", 20, async || (open.load(Ordering::SeqCst) == 0).then_some(())).await;
}

/// The URL with these hosts in place of the server's.
fn at_hosts(url: &str, hosts: &[SocketAddr]) -> String {
    let first = at(url, hosts[0]);
    let more: String = hosts[1..].iter().map(|host| format!(",{host}")).collect();
    let (before, vhost) = first.rsplit_once('/').expect("a virtual host");
    format!("{before}{more}/{vhost}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_hosts_one_that_answers_is_enough() {
    let options = options();
    let live = Relay::start().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its number");
    // It accepts, by its backlog, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = (silent.local_addr().expect("its number"), silent);
    rabbit(&options).declare().await.expect("declared");
    for hosts in
        [vec![dead, live.address], vec![silent.0, live.address], vec![dead, silent.0, dead, live.address]]
    {
        let url = at_hosts(&options.url, &hosts);
        let broker =
            rabbit(&RabbitOptions { url, connect_timeout: Duration::from_secs(4), ..options.clone() });
        let start = Instant::now();
        assert_eq!(broker.publish(&[to(Queue::Jobs, "a")]).await, [Ok(())], "{hosts:?}");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        broker.declare().await.expect("declared");
        broker.close().await;
    }
    let url = at_hosts(&options.url, &[dead, silent.0]);
    let limit = Duration::from_secs(1);
    let none = rabbit(&RabbitOptions { url, connect_timeout: limit, ..options }).ping().await;
    let Err(BrokerError::Unavailable(text)) = none else { panic!("{none:?}") };
    assert!(text.contains(&dead.to_string()) && text.contains(&silent.0.to_string()), "{text}");
    assert!(!text.contains("guest"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_begins_at_another_host() {
    let options = options();
    rabbit(&options).declare().await.expect("declared");
    let (first, second) = (Relay::start().await, Relay::start().await);
    let url = at_hosts(&options.url, &[first.address, second.address]);
    let limit = Duration::from_secs(8);
    let broker = rabbit(&RabbitOptions {
        url,
        connect_timeout: limit,
        operation_timeout: Duration::from_secs(1),
        ..options
    });
    for (away, here) in [(&first, &second), (&second, &first), (&first, &second)] {
        assert_eq!(broker.publish(&[to(Queue::Jobs, "before")]).await, [Ok(())]);
        away.flowing.send_replace(false);
        here.flowing.send_replace(true);
        let lost = broker.publish(&[to(Queue::Jobs, "lost")]).await;
        assert!(matches!(lost[..], [Err(BrokerError::Unavailable(_))]), "{lost:?}");
        let start = Instant::now();
        assert_eq!(broker.publish(&[to(Queue::Jobs, "after")]).await, [Ok(())]);
        // Had it begun at the silent one, half of the time for connecting would be gone.
        assert!(start.elapsed() < limit / 2, "{:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_tried_at_each_of_its_addresses() {
    let live = Relay::start().await;
    let options = options();
    // On most machines it is ::1 first, where nobody listens.
    let url = at(&options.url, live.address).replace("127.0.0.1", "localhost");
    assert!(url.contains("localhost"));
    rabbit(&RabbitOptions { url, ..options }).ping().await.expect("connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_falls_silent_is_given_up_and_replaced() {
    let relay = Relay::start().await;
    let options = options();
    let url = at(&options.url, relay.address);
    let broker = rabbit(&RabbitOptions { url, operation_timeout: Duration::from_secs(1), ..options.clone() });
    rabbit(&options).declare().await.expect("declared");
    assert_eq!(broker.publish(&[to(Queue::Jobs, "before")]).await, [Ok(())]);
    relay.flowing.send_replace(false);
    let start = Instant::now();
    let answers = broker.publish(&[to(Queue::Jobs, "lost"), to(Queue::Jobs, "too")]).await;
    for answer in answers {
        assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(4));
    // What hangs on the old connection stays there; a new one works at once.
    relay.flowing.send_replace(true);
    eventually("published", 20, async || {
        broker.publish(&[to(Queue::Jobs, "after")]).await.pop().and_then(Result::ok)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_connection_says_so_at_once_and_comes_back() {
    let relay = Relay::start().await;
    let options = options();
    let url = at(&options.url, relay.address);
    let broker = rabbit(&RabbitOptions { url, ..options });
    broker.declare().await.expect("declared");
    let mut consumer = broker.consume(Queue::Jobs, 10).await.expect("a consumer");
    assert_eq!(broker.publish(&[to(Queue::Jobs, "before")]).await, [Ok(())]);
    let held = take(&mut consumer).await;
    // Both connections of the broker are told: only the one that publishes minds.
    relay.say(&blocked_frame());
    let low = Err(BrokerError::Unavailable("blocked: low on memory".to_owned()));
    eventually("blocked", 10, async || (broker.ping().await == low).then_some(())).await;
    let start = Instant::now();
    assert_eq!(broker.publish(&[to(Queue::Jobs, "x"), to(Queue::Jobs, "y")]).await, vec![low; 2]);
    assert!(start.elapsed() < Duration::from_secs(1));
    relay.say(&unblocked_frame());
    eventually("available again", 10, async || broker.ping().await.ok()).await;
    assert_eq!(broker.publish(&[to(Queue::Jobs, "after")]).await, [Ok(())]);
    assert_eq!(id(&take(&mut consumer).await), "after");
    consumer.acker().ack(&[held.tag]).await.expect("acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_under_way_ends_when_the_connection_is_blocked() {
    let relay = Relay::start().await;
    let options = options();
    let url = at(&options.url, relay.address);
    let broker = rabbit(&RabbitOptions { url, ..options });
    broker.declare().await.expect("declared");
    assert_eq!(broker.publish(&[to(Queue::Jobs, "before")]).await, [Ok(())]);
    // Nothing flows to the server, so no confirm can come.
    relay.flowing.send_replace(false);
    let publishing = tokio::spawn({
        let broker = broker.clone();
        async move { broker.publish(&[to(Queue::Jobs, "under way")]).await }
    });
    let start = Instant::now();
    let answers = loop {
        relay.say(&blocked_frame());
        tokio::time::sleep(Duration::from_millis(20)).await;
        if publishing.is_finished() {
            break publishing.await.expect("no panic");
        }
    };
    assert!(matches!(&answers[..], [Err(BrokerError::Unavailable(text))] if text.starts_with("blocked")));
    assert!(start.elapsed() < Duration::from_secs(5), "long before the deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_broker_connects_anew_when_it_is_used() {
    let options = options();
    let broker = rabbit(&options);
    broker.declare().await.expect("declared");
    broker.close().await;
    assert_eq!(broker.publish(&[to(Queue::Jobs, "after")]).await, [Ok(())]);
}

/// `connection.blocked("low on memory")` as a frame.
fn blocked_frame() -> Vec<u8> {
    let reason = b"low on memory";
    let mut payload = vec![0, 10, 0, 60, u8::try_from(reason.len()).expect("short")];
    payload.extend_from_slice(reason);
    frame(&payload)
}

fn unblocked_frame() -> Vec<u8> {
    frame(&[0, 10, 0, 61])
}

/// A method frame on channel 0.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, 0, 0];
    frame.extend_from_slice(&u32::try_from(payload.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(payload);
    frame.push(0xCE);
    frame
}

/// A TCP relay before the server: it can hold back what flows to it, and speak in its place.
struct Relay {
    address: SocketAddr,
    flowing: Arc<watch::Sender<bool>>,
    words: broadcast::Sender<Vec<u8>>,
}

impl Relay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let url = server("BATCHSHARE_TEST_AMQP_URL");
        let behind = url.rsplit_once('@').and_then(|(_, rest)| rest.split('/').next()).expect("an address");
        let behind = behind.to_owned();
        let flowing = Arc::new(watch::Sender::new(true));
        let words = broadcast::Sender::new(1_000);
        let (gate, speech) = (Arc::clone(&flowing), words.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&behind).await.expect("the server");
                tokio::spawn(relay(client, server, gate.subscribe(), speech.subscribe()));
            }
        });
        Self { address, flowing, words }
    }

    /// Sends bytes to all clients, as if they were the server's. Only while the server is silent: they
    /// must not come between the bytes of a frame of its own.
    fn say(&self, bytes: &[u8]) {
        let _ = self.words.send(bytes.to_vec());
    }
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    mut gate: watch::Receiver<bool>,
    mut words: broadcast::Receiver<Vec<u8>>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut bytes = vec![0; 65_536];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            if gate.wait_for(|flowing| *flowing).await.is_err()
                || to_server.write_all(&bytes[..count]).await.is_err()
            {
                break;
            }
        }
    };
    let down = async {
        let mut bytes = vec![0; 65_536];
        loop {
            let chunk = tokio::select! {
                read = from_server.read(&mut bytes) => match read {
                    Ok(count @ 1..) => bytes[..count].to_vec(),
                    _ => break,
                },
                Ok(word) = words.recv() => word,
            };
            if to_client.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { () = up => {}, () = down => {} }
}

/// AMQP has one frame for all headers of a message, however large their publisher made them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_headers_of_somebody_else_break_no_consumer() {
    let options = options();
    let broker = rabbit(&options);
    broker.declare().await.expect("declared");
    let other = Connection::connect(&options.url, ConnectionProperties::default()).await.expect("connected");
    let channel = other.create_channel().await.expect("a channel");
    let mut headers = FieldTable::default();
    headers.insert("x-large".into(), AMQPValue::LongString("x".repeat(100 * 1024).into()));
    headers.insert("traceparent".into(), AMQPValue::LongString("x".repeat(20 * 1024).into()));
    let properties = BasicProperties::default().with_headers(headers);
    let queue = options.topology.queue(Queue::Jobs);
    let sent = channel.basic_publish(
        "".into(),
        queue.as_str().into(),
        BasicPublishOptions::default(),
        b"large",
        properties,
    );
    sent.await.expect("published").await.expect("sent");
    let mut consumer = broker.consume(Queue::Jobs, 1).await.expect("a consumer");
    let delivery = take(&mut consumer).await;
    assert_eq!(delivery.body, b"large");
    assert_eq!(delivery.traceparent(), None, "nothing of that size is a trace");
    consumer.acker().ack(&[delivery.tag]).await.expect("acknowledged");
}

/// Whoever cleans up at the broker may take one thing of ours, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_a_queue_or_a_binding_that_is_deleted_is_declared_again() {
    let options = options();
    rabbit(&options).declare().await.expect("declared");
    let other = Connection::connect(&options.url, ConnectionProperties::default()).await.expect("connected");
    let messages = [to(Queue::Jobs, "a"), to(Queue::Steps, "b"), to(Queue::Jobs, "c"), to(Queue::Dead, "d")];
    for what in ["exchange", "binding", "queue", "all"] {
        let channel = other.create_channel().await.expect("a channel");
        let (jobs, internal) =
            (options.topology.exchange(Exchange::Jobs), options.topology.exchange(Exchange::Internal));
        let (queue, steps) = (options.topology.queue(Queue::Jobs), options.topology.queue(Queue::Steps));
        if what == "exchange" || what == "all" {
            channel.exchange_delete(jobs.as_str().into(), Default::default()).await.expect("deleted");
            channel.exchange_delete(internal.as_str().into(), Default::default()).await.expect("deleted");
        }
        if what == "binding" {
            let none = FieldTable::default();
            let unbound =
                channel.queue_unbind(queue.as_str().into(), jobs.into(), "job.requested".into(), none);
            unbound.await.expect("unbound");
        }
        if what == "queue" || what == "all" {
            channel.queue_delete(queue.as_str().into(), Default::default()).await.expect("deleted");
            channel.queue_delete(steps.as_str().into(), Default::default()).await.expect("deleted");
        }
        // A program that had a connection before.
        let broker = rabbit(&options);
        broker.ping().await.expect("connected");
        assert_eq!(broker.publish(&messages).await, vec![Ok(()); 4], "{what}");
        let mut consumer = broker.consume(Queue::Jobs, 10).await.expect("a consumer");
        let mut found: Vec<String> = Vec::new();
        while !(found.contains(&"a".to_owned()) && found.contains(&"c".to_owned())) {
            let delivery = take(&mut consumer).await;
            found.push(id(&delivery));
            consumer.acker().ack(&[delivery.tag]).await.expect("acknowledged");
        }
        broker.close().await;
    }
    // What has nowhere to go even then is told, and soon.
    let broker = rabbit(&options);
    let nowhere = Outgoing { routing_key: "nowhere".to_owned(), ..to(Queue::Jobs, "n") };
    for _ in 0..3 {
        let answers = broker.publish(&[nowhere.clone(), to(Queue::Jobs, "good")]).await;
        assert!(matches!(answers[..], [Err(BrokerError::Unroutable { .. }), Ok(())]), "{answers:?}");
    }
}
