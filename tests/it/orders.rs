//! Orders by message, on both databases with their brokers: cancels that come in time, too early, too late, twice, by
//! somebody else, and beside broken servers.

use std::sync::Arc;
use std::time::Duration;

use batchshare::broker::{Broker, Consumer, Embedded, Exchange, Outgoing, Queue, Rabbit, topology};
use batchshare::consume::Deliveries;
use batchshare::contract;
use batchshare::contract::{JobRequested, Order};
use batchshare::domain::{DeadReason, EndedBy, JobId, JobState, OrderId, OrderKind};
use batchshare::shutdown;
use batchshare::shutdown::Stopper;
use batchshare::store::{DeadFilter, DeadItem, Publisher, Replayed, Waits};
use batchshare::worker::Worker;
use serde_json::{Value, json};

use crate::on_both_stores;
use crate::support::Kind;
use crate::world::*;

/// A worker and its broker, which do one thing after the other.
struct Office {
    world: World,
    broker: Broker,
    worker: Arc<Worker>,
    _stopper: Stopper,
}

/// The message of an order, as another program writes it.
fn order(kind: &str, id: &str, job: JobId, by: i64) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/mysafe/ui", "type": format!("batchshare.{kind}.requested.v1"),
        "data": {"requested_by": by, "job_id": job},
    })
}

fn new_id() -> String {
    JobId::generate().to_string()
}

fn body_of(asked: &JobRequested) -> Value {
    let body = contract::encode_request(asked.job_id, &asked.request, &contract::new_traceparent(), 0);
    serde_json::from_slice(&body).expect("JSON")
}

impl Office {
    async fn open(kind: Kind) -> Self {
        let world = World::with_chunks(kind, 4).await;
        let broker = match kind {
            Kind::Sqlite => Broker::new(Embedded::new(world.test.db.clone())),
            Kind::Postgres => Broker::new(Rabbit::new(crate::broker::options())),
        };
        broker.declare().await.expect("declared");
        let (stopper, stop) = shutdown::channel();
        let worker = Worker::new(world.store.clone(), broker.clone(), worker_options(), stop);
        Self { world, broker, worker, _stopper: stopper }
    }

    /// Publishes these messages, and has the worker handle them together.
    async fn deliver(&self, bodies: &[Value]) {
        let messages: Vec<Outgoing> = bodies
            .iter()
            .map(|body| Outgoing {
                exchange: Exchange::Jobs,
                routing_key: topology::KEY_REQUESTED.to_owned(),
                message_id: "from outside".to_owned(),
                kind: String::new(),
                traceparent: None,
                mandatory: true,
                timestamp: 0,
                headers: Vec::new(),
                body: body.to_string().into_bytes(),
            })
            .collect();
        for answer in self.broker.publish(&messages).await {
            answer.expect("published");
        }
        let prefetch = u16::try_from(bodies.len()).expect("a few");
        let mut consumer = self.broker.consume(Queue::Jobs, prefetch).await.expect("a consumer");
        self.handle(Queue::Jobs, &mut consumer, bodies.len()).await;
    }

    async fn handle(&self, queue: Queue, consumer: &mut Consumer, count: usize) {
        let mut taken = Vec::new();
        for _ in 0..count {
            let next = tokio::time::timeout(Duration::from_secs(20), consumer.next()).await;
            taken.push(next.expect("a message comes").expect("a message"));
        }
        let tags: Vec<u64> = taken.iter().map(|delivery| delivery.tag).collect();
        let taken: Deliveries = taken.into();
        Arc::clone(&self.worker).handle(queue, taken).await.expect("handled");
        consumer.acker().ack(&tags).await.expect("acknowledged");
    }

    /// Takes so many dead letters from the broker, and returns all that are kept.
    async fn dead(&self, come: usize) -> Vec<DeadItem> {
        if come > 0 {
            let mut consumer = self.broker.consume(Queue::Dead, 1).await.expect("a consumer");
            for _ in 0..come {
                self.handle(Queue::Dead, &mut consumer, 1).await;
            }
        }
        let (letters, _) =
            self.world.store.dead_letters(DeadFilter::default(), None, 100).await.expect("letters");
        letters
    }

    async fn waiting(&self) -> i64 {
        self.world.test.number("SELECT COUNT(*) FROM pending_orders").await
    }

    /// What a look at due work settles after so many seconds.
    async fn settled_after(&self, seconds: i64) -> usize {
        self.world.time_passes(seconds).await;
        self.worker.settle_orders().await.expect("orders that are due")
    }

    async fn state(&self, job: JobId) -> (JobState, Option<EndedBy>) {
        let job = self.world.job(job).await;
        (job.state, job.ended_by)
    }
}

fn by_ana() -> Option<EndedBy> {
    Some(EndedBy::Person(principal(ANA)))
}

on_both_stores! {
    async fn an_order_to_cancel_ends_a_running_job_and_comes_twice_without_harm(kind: Kind) {
        let office = Office::open(kind).await;
        office.world.secrets(ANA, 101..=106).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        let cancel = order("cancel", &new_id(), asked.job_id, ANA);
        office.deliver(&[body_of(&asked)]).await;
        assert_eq!(office.state(asked.job_id).await, (JobState::Running, None));
        office.deliver(std::slice::from_ref(&cancel)).await;
        assert_eq!(office.state(asked.job_id).await, (JobState::Cancelled, by_ana()));
        let ended = office.world.job(asked.job_id).await;
        // Again, twice at once, and by another order.
        office.deliver(&[cancel.clone(), cancel, order("cancel", &new_id(), asked.job_id, ANA)]).await;
        assert_eq!(office.world.job(asked.job_id).await, ended);
        assert_eq!((office.waiting().await, office.dead(0).await.len()), (0, 0));
        let terminal = "SELECT COUNT(*) FROM outbox WHERE letter % 10 >= 5";
        assert_eq!(office.world.test.number(terminal).await, 1);
    }

    async fn an_order_that_came_with_its_job_finds_it_whichever_was_first(kind: Kind) {
        let office = Office::open(kind).await;
        office.world.secrets(ANA, 101..=106).await;
        for cancel_first in [true, false] {
            let asked = share(101..=106, &[BRUNO, EVA]);
            let cancel = order("cancel", &new_id(), asked.job_id, ANA);
            let mut both = [body_of(&asked), cancel];
            if cancel_first {
                both.reverse();
            }
            office.deliver(&both).await;
            assert_eq!(office.state(asked.job_id).await, (JobState::Cancelled, by_ana()));
            assert_eq!(office.waiting().await, 0);
        }
    }

    async fn an_order_that_overtakes_its_job_ends_it_as_soon_as_it_is_there(kind: Kind) {
        let office = Office::open(kind).await;
        office.world.secrets(ANA, 101..=106).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        let cancel = order("cancel", &new_id(), asked.job_id, ANA);
        office.deliver(std::slice::from_ref(&cancel)).await;
        office.deliver(&[cancel]).await;
        assert_eq!(office.waiting().await, 1, "a second delivery is no second order");
        assert_eq!(office.world.test.number("SELECT COUNT(*) FROM jobs").await, 0, "it makes no job");
        for seconds in [1, 1, 5, 60] {
            assert_eq!(office.settled_after(seconds).await, 0);
        }
        office.deliver(&[body_of(&asked)]).await;
        assert_eq!(office.state(asked.job_id).await, (JobState::Running, None), "its id was free");
        assert_eq!(office.settled_after(5).await, 1);
        assert_eq!(office.state(asked.job_id).await, (JobState::Cancelled, by_ana()));
        assert_eq!((office.waiting().await, office.dead(0).await.len()), (0, 0));
        assert_eq!(office.settled_after(3_600).await, 0);
    }

    async fn an_order_whose_job_never_comes_becomes_a_dead_letter_that_can_be_replayed(kind: Kind) {
        let office = Office::open(kind).await;
        office.world.secrets(ANA, 101..=106).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        let job = asked.job_id;
        for (count, kind) in [(1, "cancel"), (2, "undo")] {
            let id = new_id();
            office.deliver(&[order(kind, &id, job, ANA)]).await;
            assert_eq!(office.settled_after(590).await, 0);
            assert_eq!(office.dead(0).await.len(), count - 1);
            assert_eq!(office.settled_after(11).await, 1);
            let letters = office.dead(0).await;
            assert_eq!((letters.len(), office.waiting().await), (count, 0));
            let letter = &letters[0];
            assert_eq!((letter.reason, letter.job_id, letter.message_id.as_ref()), (DeadReason::UnknownJob, Some(job), Some(&id)));
            assert!(!letter.detail.contains(&job.to_string()), "{}", letter.detail);
        }
        assert_eq!(office.world.test.number("SELECT COUNT(*) FROM jobs").await, 0);
        // The job comes after all, and an operator replays the cancel.
        office.deliver(&[body_of(&asked)]).await;
        let cancel = office.dead(0).await[1].id;
        let replayed = office.world.store.replay_letter(cancel, Duration::from_secs(30), Publisher::AsItIs).await;
        assert_eq!(replayed.expect("replay"), Replayed::Sent);
        let sent = office.world.take_messages().await.pop().expect("the order");
        let body: Value = serde_json::from_slice(&sent.body).expect("JSON");
        office.deliver(&[body]).await;
        assert_eq!(office.state(job).await, (JobState::Cancelled, by_ana()));
    }

    /// The letter is of the order, which is decided about anew: it is no attempt of the job that it names.
    async fn the_letter_of_an_order_is_sent_again_whatever_its_job_has_become(kind: Kind) {
        let office = Office::open(kind).await;
        office.world.secrets(ANA, [101]).await;
        let (asked, undo) = (share([101], &[BRUNO]), JobId::generate());
        let early = [order("cancel", &new_id(), asked.job_id, ANA), order("cancel", &new_id(), undo, ANA)];
        office.deliver(&early).await;
        assert_eq!(office.settled_after(601).await, 2);
        // Both jobs come after all: one is undone by the other.
        office.deliver(&[body_of(&asked)]).await;
        office.deliver(&[order("undo", &undo.to_string(), asked.job_id, ANA)]).await;
        office.world.drain().await;
        assert_eq!(office.world.job(asked.job_id).await.undone_by, Some(undo));
        for letter in office.dead(0).await {
            assert_eq!(letter.reason, DeadReason::UnknownJob);
            let replayed = office.world.store.replay_letter(letter.id, Duration::from_secs(30), Publisher::AsItIs).await;
            assert_eq!(replayed.expect("replay"), Replayed::Sent);
        }
    }

    /// Replayed too early it dies once more, and that death is kept, too.
    async fn an_order_that_dies_twice_leaves_two_letters(kind: Kind) {
        let office = Office::open(kind).await;
        let cancel = order("cancel", &new_id(), JobId::generate(), ANA);
        for count in 1..=2 {
            office.deliver(std::slice::from_ref(&cancel)).await;
            assert_eq!(office.settled_after(601).await, 1);
            assert_eq!(office.dead(0).await.len(), count);
        }
    }

    async fn the_job_of_somebody_else_is_as_unknown_as_none(kind: Kind) {
        let office = Office::open(kind).await;
        office.world.secrets(ANA, 101..=106).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        office.deliver(&[body_of(&asked)]).await;
        let theirs = order("cancel", &new_id(), asked.job_id, BRUNO);
        let none = order("cancel", &new_id(), JobId::generate(), BRUNO);
        office.deliver(&[theirs, none]).await;
        assert_eq!((office.state(asked.job_id).await.0, office.waiting().await), (JobState::Running, 2));
        assert_eq!(office.settled_after(5).await, 0);
        assert_eq!(office.settled_after(600).await, 2);
        let letters = office.dead(0).await;
        assert_eq!(letters[0].detail, letters[1].detail, "nobody learns what exists");
        assert_eq!(office.state(asked.job_id).await.0, JobState::Running);
    }

    async fn an_order_about_a_job_that_has_ended_does_nothing(kind: Kind) {
        let office = Office::open(kind).await;
        office.world.secrets(ANA, [101]).await;
        let asked = share([101], &[BRUNO]);
        office.deliver(&[body_of(&asked)]).await;
        let before = office.world.job(asked.job_id).await;
        assert_eq!(before.state, JobState::Completed);
        office.deliver(&[order("cancel", &new_id(), asked.job_id, ANA)]).await;
        assert_eq!(office.world.job(asked.job_id).await, before);
        assert_eq!((office.waiting().await, office.dead(0).await.len()), (0, 0));
    }

    async fn bad_orders_are_dead_letters_and_touch_no_job(kind: Kind) {
        let office = Office::open(kind).await;
        office.world.secrets(ANA, 101..=106).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        office.deliver(&[body_of(&asked)]).await;
        let good = order("cancel", &new_id(), asked.job_id, ANA);
        let with = |pointer: &str, value: Value| {
            let mut bad = good.clone();
            let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
            bad.pointer_mut(parent).expect("it is there")[field] = value;
            bad
        };
        // One whose own id is the job's: it must not fail the job, nor make one.
        let mut own = with("/data/unknown", json!(1));
        own["id"] = json!(asked.job_id);
        let bad = [with("/data/job_id", json!("x")), with("/data/requested_by", json!(0)), with("/type", json!("batchshare.cancel.requested.v2")), with("/data/unknown", json!(1)), own];
        office.deliver(&bad).await;
        let letters = office.dead(bad.len()).await;
        let count = |reason| letters.iter().filter(|letter| letter.reason == reason).count();
        assert_eq!((count(DeadReason::InvalidField), count(DeadReason::UnknownVersion)), (4, 1));
        assert_eq!(office.state(asked.job_id).await.0, JobState::Running);
        assert_eq!((office.world.test.number("SELECT COUNT(*) FROM jobs").await, office.waiting().await), (1, 0));
    }

    async fn the_orders_that_wait_for_one_person_are_limited_and_an_id_is_of_one_order(kind: Kind) {
        let office = Office::open(kind).await;
        let store = &office.world.store;
        let of = |id: &str, job: JobId, by: i64| Order {
            id: id.parse::<OrderId>().expect("an id"), kind: OrderKind::Cancel, job_id: job, requested_by: principal(by), traceparent: None,
        };
        let (id, job) = (new_id(), JobId::generate());
        let wait = async |order: Order| store.order_waits(order, b"{}".to_vec()).await.expect("waits");
        assert_eq!(wait(of(&id, job, ANA)).await, Waits::Yes);
        assert_eq!(wait(of(&id, job, ANA)).await, Waits::Yes);
        assert_eq!(wait(of(&id, JobId::generate(), ANA)).await, Waits::Conflict);
        assert_eq!(wait(of(&id, job, BRUNO)).await, Waits::Conflict);
        assert_eq!(wait(Order { kind: OrderKind::Undo, ..of(&id, job, ANA) }).await, Waits::Conflict);
        assert_eq!(office.waiting().await, 1);
        // 998 more at once, by the database alone.
        let rows = match kind {
            Kind::Sqlite => "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 998) SELECT i FROM n",
            Kind::Postgres => "SELECT i FROM generate_series(1, 998) AS i",
        };
        office.world.test.sql(&format!(
            "INSERT INTO pending_orders (event_id, kind, job_id, requested_by, traceparent, body, due_at, created_at) \
             SELECT 'x' || i, kind, job_id, requested_by, traceparent, body, due_at, created_at FROM pending_orders, ({rows}) AS r"
        )).await;
        assert_eq!(wait(of(&new_id(), job, ANA)).await, Waits::Yes);
        assert_eq!(wait(of(&new_id(), job, ANA)).await, Waits::TooMany);
        assert_eq!(wait(of(&id, job, ANA)).await, Waits::Yes, "one that waits is no new one");
        assert_eq!(wait(of(&new_id(), job, BRUNO)).await, Waits::Yes, "others have room");
        office.deliver(&[order("undo", &new_id(), job, ANA), order("cancel", &id, JobId::generate(), ANA)]).await;
        let mut reasons: Vec<_> = office.dead(2).await.iter().map(|letter| letter.reason.as_str()).collect();
        reasons.sort_unstable();
        assert_eq!(reasons, ["id_conflict", "unknown_job"]);
    }

    /// A row that nobody can read holds up no other, and neither does a job that cannot be cancelled.
    async fn an_order_that_fails_is_tried_again_and_holds_up_no_other(kind: Kind) {
        let office = Office::open(kind).await;
        office.world.secrets(ANA, 101..=106).await;
        let (broken, good) = (share(101..=106, &[BRUNO, EVA]), share(101..=106, &[BRUNO, EVA]));
        office.deliver(&[body_of(&broken), body_of(&good)]).await;
        office.world.test.sql(&format!("UPDATE jobs SET traceparent = traceparent, parent = 'broken' WHERE job_id = '{}'", broken.job_id)).await;
        office.deliver(&[order("cancel", &new_id(), broken.job_id, ANA)]).await;
        assert_eq!(office.waiting().await, 1, "it waits, and its message is done with");
        office.world.test.sql(
            "INSERT INTO pending_orders (event_id, kind, job_id, requested_by, traceparent, body, due_at, created_at) \
             SELECT 'broken', kind, job_id, requested_by, traceparent, body, due_at, created_at FROM pending_orders"
        ).await;
        let waits = Order { id: new_id().parse().expect("an id"), kind: OrderKind::Cancel, job_id: good.job_id, requested_by: principal(ANA), traceparent: None };
        assert_eq!(office.world.store.order_waits(waits, Vec::new()).await.expect("waits"), Waits::Yes);
        assert_eq!(office.settled_after(2).await, 1);
        assert_eq!(office.state(good.job_id).await, (JobState::Cancelled, by_ana()));
        assert_eq!(office.waiting().await, 2);
        assert_eq!(office.settled_after(600).await, 1);
        let letters = office.dead(0).await;
        assert_eq!((letters.len(), letters[0].reason, letters[0].job_id), (1, DeadReason::AttemptsExhausted, None));
        // Repaired, it is cancelled by the letter's replay.
        office.world.test.sql(&format!("UPDATE jobs SET parent = NULL WHERE job_id = '{}'", broken.job_id)).await;
        let replayed = office.world.store.replay_letter(letters[0].id, Duration::from_secs(30), Publisher::AsItIs).await;
        assert_eq!(replayed.expect("replay"), Replayed::Sent);
    }
}
