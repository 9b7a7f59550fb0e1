//! Somebody has a row locked, in a `psql` that was left open: what needs that row waits, and nothing else does.

use std::time::{Duration, Instant};

use batchshare::broker::{Broker, Delivery, Embedded};
use batchshare::notifier;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use serde_json::{Value, json};

use crate::process::{Env, Program, http, until};
use crate::production::{Site, message};
use crate::support::{Kind, TestDb};
use crate::world::*;

/// A person at a prompt.
pub struct Psql(PgConnection);

impl Psql {
    pub fn connect(url: &str) -> Self {
        Self(PgConnection::establish(url).expect("PostgreSQL answers"))
    }

    pub fn sql(&mut self, sql: &str) {
        self.0.batch_execute(sql).expect("SQL");
    }

    /// What the server says to a statement that it refuses.
    pub fn refused(&mut self, sql: &str) -> String {
        self.0.batch_execute(sql).expect_err("refused").to_string()
    }
}

/// A site whose workers stand still until [`Held::work`].
struct Held {
    site: Site,
    work: Option<Program>,
}

impl Held {
    async fn start(further: Env) -> Self {
        let mut site = Site::start_with(further).await;
        for work in &mut site.work {
            assert_eq!(work.stop(), 0);
        }
        Self { site, work: None }
    }

    fn work(&mut self) {
        self.work = Some(Program::start(&["work"], &self.site.env));
    }

    fn share(&self, secrets: &Value, recipients: std::ops::RangeInclusive<i64>) -> String {
        let recipients: Vec<Value> = recipients.map(|id| json!({"kind": "user", "id": id})).collect();
        let body = json!({"secrets": secrets, "recipients": recipients});
        let (status, job) = http("POST", &self.site.addresses[0], "/api/v1/share-jobs", "ana", Some(&body));
        assert_eq!(status, 202, "{job}");
        job["job_id"].as_str().expect("an id").to_owned()
    }

    fn small(&self, secret: i64) -> String {
        self.share(&json!({"ids": [secret]}), 3..=3)
    }

    fn job(&self, id: &str) -> Value {
        http("GET", &self.site.addresses[0], &format!("/api/v1/share-jobs/{id}"), "ana", None).1
    }

    async fn unfinished(&self) -> i64 {
        self.site.db.number("SELECT COUNT(*) FROM jobs WHERE finished_at IS NULL").await
    }

    /// All jobs but these many have ended. How long that took.
    async fn all_but(&self, held: i64) -> Duration {
        let began = Instant::now();
        crate::support::eventually("the others' end", 60, async || {
            (self.unfinished().await <= held).then_some(())
        })
        .await;
        began.elapsed()
    }

    /// `attempts`: failures that may be counted at most.
    async fn ends_unharmed(&self, id: &str, seconds: u64, attempts: u64) {
        let job = until("the held job's end", seconds, || {
            Some(self.job(id)).filter(|job| !job["finished_at"].is_null())
        });
        assert_eq!(job["state"], "completed", "{job}");
        assert!(job["attempts"].as_u64().expect("a number") <= attempts, "{job}");
        assert_eq!(self.site.db.number("SELECT COUNT(*) FROM dead_letters").await, 0);
        let log = self.work.as_ref().expect("a worker").log();
        assert!(!log.contains("taking no messages"), "it was no outage: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_somebody_holds_keeps_no_other_waiting() {
    let mut held = Held::start(Vec::new()).await;
    let id = held.small(1_001);
    let mut psql = Psql::connect(&held.site.db.url);
    psql.sql(&format!(
        "BEGIN; SELECT 1 FROM jobs WHERE job_id = '{id}' FOR UPDATE; SELECT 1 FROM principals FOR UPDATE; \
         SELECT 1 FROM secrets WHERE id < 1100 FOR UPDATE"
    ));
    for secret in 1_002..=1_201 {
        held.small(secret);
    }
    held.work();
    let took = held.all_but(1).await;
    assert!(took < Duration::from_secs(30), "the others waited: {took:?}");
    held.work.as_mut().expect("a worker").logged("put aside", "");
    // Others that come now wait for nothing either.
    for secret in 1_202..=1_210 {
        held.small(secret);
    }
    held.all_but(1).await;
    assert_eq!(held.job(&id)["state"], "queued");
    psql.sql("ROLLBACK");
    held.ends_unharmed(&id, 60, 0).await;
    held.site.quiet().await;
}

/// A fault of data, of any kind: here a constraint that somebody has added. There is no row of the job to say so in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_the_database_refuses_keeps_no_other_waiting() {
    let mut held = Held::start(Vec::new()).await;
    let id = uuid::Uuid::now_v7().to_string();
    held.site.db.sql(&format!("ALTER TABLE jobs ADD CONSTRAINT held CHECK (job_id <> '{id}')")).await;
    held.work();
    held.site.amqp_publish(message(&id, 1_001..=1_001, 3..=3).to_string().as_bytes());
    for secret in 1_002..=1_051 {
        held.small(secret);
    }
    held.work.as_mut().expect("a worker").logged("put aside", "");
    held.all_but(0).await;
    assert_eq!(held.site.db.number("SELECT COUNT(*) FROM jobs").await, 50);
    held.site.db.sql("ALTER TABLE jobs DROP CONSTRAINT held").await;
    until("its row", 60, || (held.job(&id)["job_id"] == id.as_str()).then_some(()));
    held.ends_unharmed(&id, 60, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_somebody_holds_keeps_no_other_waiting() {
    let further = vec![
        ("BATCHSHARE__WORKER__CHUNK_PAIRS", "100".to_owned()),
        ("BATCHSHARE__WORKER__SLICE_MS", "20".to_owned()),
    ];
    let mut held = Held::start(further).await;
    held.work();
    let id = held.share(&json!({"all": {}}), 3..=22);
    until("it has begun", 60, || (held.job(&id)["state"] == "running").then_some(()));
    let mut psql = Psql::connect(&held.site.db.url);
    psql.sql("BEGIN; SELECT 1 FROM lanes FOR UPDATE");
    assert_eq!(held.job(&id)["state"], "running", "it was over before it could be held");
    let large = held.share(&json!({"ids": (1_001..=1_020).collect::<Vec<i64>>()}), 3..=22);
    for secret in 1_002..=1_201 {
        held.small(secret);
    }
    let took = held.all_but(1).await;
    assert!(took < Duration::from_secs(40), "the others waited: {took:?}");
    assert_eq!(held.job(&large)["state"], "completed");
    held.work.as_mut().expect("a worker").logged("due work wakes it again", "");
    psql.sql("ROLLBACK");
    // A chunk of either lane that gave up in the very moment in which they are let go is recorded.
    held.ends_unharmed(&id, 120, 2).await;
}

/// Whoever publishes can send many orders about one job, and each may wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_about_a_job_that_somebody_holds_keep_no_due_work_waiting() {
    let mut held = Held::start(Vec::new()).await;
    let id = held.small(1_001);
    let mut psql = Psql::connect(&held.site.db.url);
    psql.sql(&format!("BEGIN; SELECT 1 FROM jobs WHERE job_id = '{id}' FOR UPDATE"));
    let orders = format!(
        "INSERT INTO pending_orders (event_id, kind, job_id, requested_by, traceparent, body, due_at, created_at) \
         SELECT gen_random_uuid(), 'cancel', '{id}', 1, '', '', 0, now_ms() FROM generate_series(1, 100)"
    );
    held.site.db.sql(&orders).await;
    held.work();
    until("an order waits for the job", 60, || {
        held.work.as_ref().expect("a worker").log().contains("failed, tried again later").then_some(())
    });
    // The notice of another job is due, because its event was lost.
    let other = held.small(1_002);
    let ended =
        format!("SELECT COUNT(*) FROM notices n JOIN jobs j ON j.id = n.job WHERE j.job_id = '{other}'");
    let notices = async |count: i64| {
        crate::support::eventually("its notice", 60, async || {
            (held.site.db.number(&ended).await == count).then_some(())
        })
        .await;
    };
    notices(1).await;
    let lost = format!(
        "DELETE FROM notices WHERE job = (SELECT id FROM jobs WHERE job_id = '{other}'); \
         UPDATE jobs SET notice_due = true, finished_at = finished_at - 60000 WHERE job_id = '{other}'"
    );
    held.site.db.sql(&lost).await;
    let began = Instant::now();
    notices(1).await;
    assert!(began.elapsed() < Duration::from_secs(20), "due work waited: {:?}", began.elapsed());
    psql.sql("ROLLBACK");
    until("the held job's end", 60, || {
        Some(held.job(&id)).filter(|job| job["state"] == "cancelled" && job["ended_by"] == 1)
    });
    held.site.quiet().await;
}

/// What ended while somebody holds its row gets its notice later; the others get theirs now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_of_a_job_that_somebody_holds_keeps_no_other_waiting() {
    let world = World::new(Kind::Postgres).await;
    world.secrets(ANA, 101..=103).await;
    let mut deliveries = Vec::new();
    let mut first = None;
    for secret in 101..=103 {
        let asked = share([secret], &[BRUNO]);
        world.begin(&asked).await;
        first.get_or_insert(asked.job_id);
        for row in world.take_messages().await {
            deliveries.push(Delivery {
                tag: 1,
                redelivered: false,
                routing_key: String::new(),
                message_id: Some(row.message_id),
                content_type: None,
                death: None,
                user_id: None,
                headers: Vec::new(),
                body: row.body,
            });
        }
    }
    let mut psql = Psql::connect(&world.test.url);
    let first = first.expect("a job");
    psql.sql(&format!("BEGIN; SELECT 1 FROM jobs WHERE job_id = '{first}' FOR UPDATE"));
    let nobody = Broker::new(Embedded::new(TestDb::new(Kind::Sqlite).await.db.clone()));
    notifier::handle(&world.store, &nobody, &deliveries).await.expect("done with");
    let notices = "SELECT COUNT(*) FROM notices";
    assert_eq!(world.test.number(notices).await, 2);
    psql.sql("ROLLBACK");
    world.time_passes(60).await;
    world.store.wake_due(true, world.due_options()).await.expect("due work");
    assert_eq!(world.test.number(notices).await, 3);
}
