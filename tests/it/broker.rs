//! What both brokers promise: each test runs on RabbitMQ and on the embedded broker.

use std::collections::HashSet;
use std::time::Duration;

use batchshare::broker::topology;
use batchshare::broker::topology::KEY_REQUESTED;
use batchshare::broker::{
    Broker, BrokerError, Consumer, Delivery, Embedded, Exchange, Outgoing, Queue, Rabbit, RabbitOptions,
    Topology,
};
use batchshare::telemetry::metrics::Metrics;

use crate::support::{Kind as Store, TestDb, eventually, server, unique};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rabbit,
    Embedded,
}

/// Makes each test twice: `name::on_rabbitmq` and `name::on_embedded`.
macro_rules! on_both_brokers {
    ($($(#[$meta:meta])* async fn $name:ident($site:ident: Site) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;
            async fn test($site: Site) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_rabbitmq() {
                test(Site::new(Kind::Rabbit).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_embedded() {
                test(Site::new(Kind::Embedded).await).await;
            }
        }
    )+};
}

/// A broker with names, or a file, of the test's own.
struct Site {
    broker: Broker,
    options: RabbitOptions,
    db: Option<TestDb>,
}

impl Site {
    async fn new(kind: Kind) -> Self {
        let options = options();
        let (broker, db) = match kind {
            Kind::Rabbit => (Broker::new(Rabbit::new(options.clone())), None),
            Kind::Embedded => {
                let db = TestDb::new(Store::Sqlite).await;
                (Broker::new(Embedded::new(db.db.clone())), Some(db))
            }
        };
        broker.declare().await.expect("declared");
        Self { broker, options, db }
    }

    async fn publish(&self, messages: &[Outgoing]) {
        for answer in self.broker.publish(messages).await {
            answer.expect("published");
        }
    }

    async fn consume(&self, queue: Queue, prefetch: u16) -> Consumer {
        self.broker.consume(queue, prefetch).await.expect("a consumer")
    }

    /// What a process that takes over sees: the same place, after the one before it is gone.
    async fn crash(&self) -> Broker {
        match &self.db {
            None => {
                close_connections(&self.options.name).await;
                Broker::new(Rabbit::new(self.options.clone()))
            }
            Some(db) => {
                let embedded = Embedded::new(db.db.clone());
                embedded.recover().await.expect("recovered");
                Broker::new(embedded)
            }
        }
    }

    /// Nothing waits in the queue and nobody gave anything back: what is sent now comes first.
    async fn assert_drained(&self, queue: Queue) {
        let mut consumer = self.consume(queue, 1).await;
        self.publish(&[to(queue, "marker")]).await;
        assert_eq!(id(&take(&mut consumer).await), "marker");
    }
}

pub(crate) fn options() -> RabbitOptions {
    let name = unique("bs-broker");
    RabbitOptions {
        url: server("BATCHSHARE_TEST_AMQP_URL"),
        topology: Topology { prefix: name.clone() },
        heartbeat: 10,
        connect_timeout: Duration::from_secs(5),
        operation_timeout: Duration::from_secs(10),
        name,
        ca_file: None,
        metrics: Metrics::default(),
    }
}

/// A message that goes to one queue.
pub(crate) fn to(queue: Queue, id: &str) -> Outgoing {
    let (exchange, routing_key) = queue.bindings()[0];
    Outgoing {
        exchange,
        routing_key: routing_key.to_owned(),
        message_id: id.to_owned(),
        kind: "batchshare.test.v1".to_owned(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        mandatory: true,
        timestamp: 1_795_376_700_123,
        headers: vec![("x-batchshare-dead-reason".to_owned(), "not_json".to_owned())],
        body: format!("body of {id}").into_bytes(),
    }
}

fn many(queue: Queue, count: usize) -> Vec<Outgoing> {
    (0..count).map(|number| to(queue, &format!("m{number}"))).collect()
}

pub(crate) async fn take(consumer: &mut Consumer) -> Delivery {
    let next = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await;
    next.expect("a message within 20 s").expect("a consumer that works")
}

pub(crate) fn id(delivery: &Delivery) -> String {
    delivery.message_id.clone().expect("a message id")
}

async fn take_ids(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(id(&take(consumer).await));
    }
    ids
}

fn header<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a str> {
    delivery.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Closes the connections whose client gave itself this name, from the server's side.
async fn close_connections(name: &str) {
    let ctl = server("BATCHSHARE_TEST_RABBITMQCTL");
    let run = |arguments: Vec<String>| {
        let ctl = ctl.clone();
        async move {
            let output = tokio::task::spawn_blocking(move || {
                std::process::Command::new(ctl).args(arguments).output().expect("rabbitmqctl runs")
            });
            let output = output.await.expect("rabbitmqctl");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let list = run(words("--quiet --silent list_connections pid client_properties")).await;
    let mut closed = 0;
    for line in list.lines() {
        let Some((pid, given)) = line.split_once('\t') else { continue };
        if given.contains(&format!("\"{name} ")) {
            run(["--quiet", "close_connection", pid, "crash of a test"].map(str::to_owned).into()).await;
            closed += 1;
        }
    }
    assert!(closed > 0, "no connection of {name} in: {list}");
}

on_both_brokers! {
    async fn what_was_published_is_delivered_whole(site: Site) {
        let sent = to(Queue::Jobs, "whole");
        site.publish(std::slice::from_ref(&sent)).await;
        let mut consumer = site.consume(Queue::Jobs, 10).await;
        let mut got = take(&mut consumer).await;
        assert_eq!((got.body.clone(), id(&got)), (sent.body.clone(), "whole".to_owned()));
        assert_eq!((got.routing_key.as_str(), got.redelivered), (KEY_REQUESTED, false));
        assert!(site.broker.is_from(&got, &["nobody".to_owned()]), "our own messages say whose they are");
        got.headers.sort();
        let mut expected = sent.headers.clone();
        expected.push((topology::HEADER_TRACEPARENT.to_owned(), sent.traceparent.clone().expect("set")));
        expected.sort();
        assert_eq!(got.headers, expected);
        consumer.acker().ack(&[got.tag]).await.expect("acknowledged");
    }

    async fn a_batch_is_answered_in_its_order(site: Site) {
        let mut batch = many(Queue::Steps, 20);
        for place in [0, 7, 19] {
            batch[place].routing_key = "no.such.key".to_owned();
        }
        let answers = site.broker.publish(&batch).await;
        assert_eq!(answers.len(), 20);
        for (place, answer) in answers.iter().enumerate() {
            if [0, 7, 19].contains(&place) {
                let Err(BrokerError::Unroutable { exchange, routing_key }) = answer else {
                    panic!("{place}: {answer:?}");
                };
                assert!(exchange.ends_with(".internal"), "{exchange}");
                assert_eq!(routing_key, "no.such.key");
            } else {
                assert_eq!(*answer, Ok(()), "{place}");
            }
        }
        let mut consumer = site.consume(Queue::Steps, 20).await;
        let got: HashSet<String> = take_ids(&mut consumer, 17).await.into_iter().collect();
        assert_eq!(got.len(), 17);
        assert!(!got.contains("m0") && !got.contains("m7") && !got.contains("m19"));
    }

    async fn an_event_that_nobody_listens_to_is_published(site: Site) {
        let mut message = to(Queue::Notices, "accepted");
        message.routing_key = "job.accepted".to_owned();
        message.mandatory = false;
        site.publish(&[message]).await;
        site.assert_drained(Queue::Notices).await;
    }

    async fn each_binding_leads_to_its_queue(site: Site) {
        for queue in Queue::ALL {
            for (exchange, key) in queue.bindings() {
                let mut message = to(queue, key);
                (message.exchange, message.routing_key) = (*exchange, (*key).to_owned());
                site.publish(&[message]).await;
            }
        }
        for queue in Queue::ALL {
            let mut consumer = site.consume(queue, 10).await;
            let got = take_ids(&mut consumer, queue.bindings().len()).await;
            assert_eq!(got, queue.bindings().iter().map(|(_, key)| *key).collect::<Vec<&str>>());
        }
    }

    async fn prefetch_bounds_what_a_consumer_holds(site: Site) {
        let mut first = site.consume(Queue::Jobs, 3).await;
        site.publish(&many(Queue::Jobs, 10)).await;
        let held: HashSet<String> = take_ids(&mut first, 3).await.into_iter().collect();
        // All others reach somebody else, so the first holds three and no more.
        let mut second = site.consume(Queue::Jobs, 10).await;
        let others: HashSet<String> = take_ids(&mut second, 7).await.into_iter().collect();
        assert_eq!(held.union(&others).count(), 10);
    }

    async fn an_acknowledgement_makes_room_for_another(site: Site) {
        site.publish(&many(Queue::Steps, 50)).await;
        let mut consumer = site.consume(Queue::Steps, 1).await;
        let acker = consumer.acker();
        for number in 0..50 {
            let delivery = take(&mut consumer).await;
            assert_eq!(id(&delivery), format!("m{number}"));
            acker.ack(&[delivery.tag]).await.expect("acknowledged");
        }
    }

    async fn what_was_acknowledged_never_comes_again(site: Site) {
        site.publish(&many(Queue::Jobs, 20)).await;
        let mut consumer = site.consume(Queue::Jobs, 20).await;
        let acker = consumer.acker();
        for _ in 0..20 {
            let delivery = take(&mut consumer).await;
            acker.ack(&[delivery.tag]).await.expect("acknowledged");
        }
        drop(consumer);
        site.assert_drained(Queue::Jobs).await;
    }

    async fn what_was_requeued_comes_again_as_redelivered(site: Site) {
        site.publish(&[to(Queue::Steps, "again")]).await;
        let mut consumer = site.consume(Queue::Steps, 5).await;
        let first = take(&mut consumer).await;
        assert!(!first.redelivered);
        consumer.acker().requeue(first.tag).await.expect("requeued");
        let second = take(&mut consumer).await;
        assert_eq!((id(&second).as_str(), second.redelivered), ("again", true));
        consumer.acker().ack(&[second.tag]).await.expect("acknowledged");
        drop(consumer);
        site.assert_drained(Queue::Steps).await;
    }

    async fn dropping_a_consumer_gives_its_messages_back(site: Site) {
        site.publish(&many(Queue::Jobs, 6)).await;
        let mut first = site.consume(Queue::Jobs, 6).await;
        let acker = first.acker();
        let done = take(&mut first).await;
        acker.ack(&[done.tag]).await.expect("acknowledged");
        let held = take(&mut first).await;
        // An acker that somebody still has does not keep them.
        drop(first);
        let mut second = site.consume(Queue::Jobs, 10).await;
        let mut rest = Vec::new();
        for _ in 0..5 {
            let delivery = take(&mut second).await;
            rest.push((id(&delivery), delivery.redelivered));
        }
        rest.sort();
        let expected: Vec<(String, bool)> = (1..6).map(|number| (format!("m{number}"), true)).collect();
        assert_eq!(rest, expected);
        eventually("acknowledging for a consumer that is gone fails", 10, async || {
            acker.ack(&[held.tag]).await.is_err().then_some(())
        })
        .await;
    }

    async fn a_future_of_next_may_be_dropped(site: Site) {
        let mut consumer = site.consume(Queue::Jobs, 4).await;
        let messages = many(Queue::Jobs, 40);
        let publishing = site.publish(&messages);
        let mut got = Vec::new();
        let taking = async {
            while got.len() < 40 {
                // Most of these give up before something comes, at any point of the way.
                if let Ok(next) = tokio::time::timeout(Duration::from_micros(300), consumer.next()).await {
                    let delivery = next.expect("a consumer that works");
                    consumer.acker().ack(&[delivery.tag]).await.expect("acknowledged");
                    got.push(id(&delivery));
                }
            }
        };
        let both = async { tokio::join!(publishing, taking) };
        tokio::time::timeout(Duration::from_secs(30), both).await.expect("all 40 within 30 s");
        assert_eq!(got, messages.into_iter().map(|message| message.message_id).collect::<Vec<_>>());
    }

    async fn after_a_crash_what_was_not_acknowledged_comes_again(site: Site) {
        site.publish(&many(Queue::Jobs, 3)).await;
        let mut consumer = site.consume(Queue::Jobs, 3).await;
        let acker = consumer.acker();
        let held = take(&mut consumer).await;
        take_ids(&mut consumer, 2).await;
        let successor = site.crash().await;
        if site.db.is_none() {
            // The dead connection is told, and told again: no waiting for ever.
            for _ in 0..2 {
                let next = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await;
                assert!(matches!(next.expect("no hanging"), Err(BrokerError::Unavailable(_))));
            }
        }
        let late = acker.ack(&[held.tag]).await;
        assert!(matches!(late, Err(BrokerError::Unavailable(_))), "{late:?}");
        drop(consumer);
        let mut again = successor.consume(Queue::Jobs, 10).await.expect("a consumer");
        let mut got = Vec::new();
        for _ in 0..3 {
            let delivery = take(&mut again).await;
            assert!(delivery.redelivered);
            again.acker().ack(&[delivery.tag]).await.expect("acknowledged");
            got.push(id(&delivery));
        }
        got.sort();
        assert_eq!(got, ["m0", "m1", "m2"]);
        drop(again);
        // The broker that lost its connections makes new ones.
        site.assert_drained(Queue::Jobs).await;
    }

    async fn a_message_over_the_delivery_limit_ends_in_the_dead_queue(site: Site) {
        let sent = to(Queue::Steps, "poison");
        site.publish(std::slice::from_ref(&sent)).await;
        let mut steps = site.consume(Queue::Steps, 1).await;
        let mut dead = site.consume(Queue::Dead, 1).await;
        let acker = steps.acker();
        let mut deliveries = 0;
        let letter = loop {
            tokio::select! {
                next = steps.next() => {
                    let delivery = next.expect("a consumer that works");
                    deliveries += 1;
                    acker.requeue(delivery.tag).await.expect("requeued");
                }
                next = dead.next() => break next.expect("a consumer that works"),
                () = tokio::time::sleep(Duration::from_secs(20)) => panic!("no dead letter: {deliveries}"),
            }
        };
        // The limit counts returns: there is one delivery more.
        assert_eq!(deliveries, Queue::Steps.delivery_limit() + 1);
        assert_eq!((id(&letter).as_str(), letter.body.clone()), ("poison", sent.body.clone()));
        assert_eq!(letter.routing_key, topology::KEY_DEAD);
        let value = |name| header(&letter, name).unwrap_or_else(|| panic!("{name}: {:?}", letter.headers));
        let death = letter.death.clone().expect("why it died");
        assert_eq!(site.broker.queue_named(&death.queue), Some(Queue::Steps));
        assert_eq!(site.broker.queue_named("other.steps"), None);
        assert_eq!(death.reason, "delivery_limit");
        assert_eq!(value("x-first-death-queue"), death.queue);
        assert_eq!(value(topology::HEADER_DEAD_REASON), "not_json");
        assert_eq!(Some(value(topology::HEADER_TRACEPARENT)), sent.traceparent.as_deref());
        let time: u64 = death.time.parse().expect("seconds since 1970");
        assert!(time > 1_700_000_000, "{time}");
        dead.acker().ack(&[letter.tag]).await.expect("acknowledged");
    }

    async fn depth_counts_what_is_ready(site: Site) {
        assert_eq!(site.broker.depth(Queue::Jobs).await, Ok(0));
        site.publish(&many(Queue::Jobs, 5)).await;
        let until = async |count: u64| {
            eventually(&format!("a depth of {count}"), 20, async || {
                (site.broker.depth(Queue::Jobs).await == Ok(count)).then_some(())
            })
            .await;
        };
        until(5).await;
        let mut consumer = site.consume(Queue::Jobs, 2).await;
        take(&mut consumer).await;
        until(3).await;
        assert_eq!(site.broker.depth(Queue::Dead).await, Ok(0));
    }

    async fn declaring_again_changes_nothing(site: Site) {
        site.publish(&[to(Queue::Jobs, "kept")]).await;
        site.broker.declare().await.expect("declared again");
        site.broker.ping().await.expect("available");
        let mut consumer = site.consume(Queue::Jobs, 1).await;
        assert_eq!(id(&take(&mut consumer).await), "kept");
    }

    async fn a_thousand_in_one_batch_arrive_once_each(site: Site) {
        let batch = many(Queue::Jobs, 1_000);
        site.publish(&batch).await;
        let mut consumer = site.consume(Queue::Jobs, 200).await;
        let mut got = Vec::new();
        let mut acks = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let delivery = take(&mut consumer).await;
            got.push(id(&delivery));
            let acker = consumer.acker();
            acks.spawn(async move { acker.ack(&[delivery.tag]).await });
        }
        while let Some(ack) = acks.join_next().await {
            ack.expect("no panic").expect("acknowledged");
        }
        assert_eq!(got, batch.into_iter().map(|message| message.message_id).collect::<Vec<_>>());
        // The same consumer: RabbitMQ forgets some of many acknowledgements when their channel closes.
        site.publish(&[to(Queue::Jobs, "marker")]).await;
        assert_eq!(id(&take(&mut consumer).await), "marker");
    }

    async fn batches_at_the_same_time_keep_their_own_answers(site: Site) {
        let batch = |good: bool| {
            let mut messages = many(Queue::Jobs, 100);
            for message in &mut messages {
                if !good {
                    message.exchange = Exchange::Internal;
                }
            }
            messages
        };
        let (good, bad) = (batch(true), batch(false));
        let (good, bad) = tokio::join!(site.broker.publish(&good), site.broker.publish(&bad));
        assert!(good.iter().all(Result::is_ok), "{good:?}");
        assert!(bad.iter().all(|answer| matches!(answer, Err(BrokerError::Unroutable { .. }))), "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_message_whose_lease_ended_goes_to_another() {
    let site = Site::new(Kind::Embedded).await;
    let db = site.db.as_ref().expect("a database");
    site.publish(&[to(Queue::Steps, "slow")]).await;
    let mut consumer = site.consume(Queue::Steps, 1).await;
    let delivery = take(&mut consumer).await;
    // As after a holder that gave no sign of life for so long.
    db.db.clock().advance(Duration::from_secs(61));
    let mut other = site.consume(Queue::Steps, 1).await;
    assert!(take(&mut other).await.redelivered);
    // The first one's acknowledgement does not delete what is the other's now.
    assert!(consumer.acker().ack(&[delivery.tag]).await.is_err());
    assert_eq!(db.number("SELECT count(*) FROM queue_messages").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_consumer_renews_what_it_works_on() {
    let site = Site::new(Kind::Embedded).await;
    let db = site.db.as_ref().expect("a database");
    site.publish(&[to(Queue::Steps, "slow")]).await;
    let mut consumer = site.consume(Queue::Steps, 1).await;
    let delivery = take(&mut consumer).await;
    for _ in 0..5 {
        let until = db.number("SELECT visible_at FROM queue_messages").await;
        db.db.clock().advance(Duration::from_secs(40));
        eventually("a longer lease", 10, async || {
            (db.number("SELECT visible_at FROM queue_messages").await >= until + 40_000).then_some(())
        })
        .await;
    }
    consumer.acker().ack(&[delivery.tag]).await.expect("acknowledged");
}
