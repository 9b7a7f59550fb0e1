//! A publisher with write permission on the jobs alone, who lets messages die: the broker moves them to the dead
//! letters with whatever headers they carry.

use std::process::Command;
use std::time::Duration;

use batchshare::broker::{Broker, Queue, Rabbit};
use batchshare::contract::{Step, encode_step};
use serde_json::{Value, json};

use super::raw::{Answer, EXPIRATION, MESSAGE_ID, Properties, RawPublisher, Table, USER_ID, long};
use super::{a_good_job_is_done, good_request, request};
use crate::broker::options;
use crate::process::{Program, http, run, until};
use crate::production::Site;
use crate::support::{eventually, server};

pub(super) fn ctl(arguments: &[&str]) {
    let done = Command::new(server("BATCHSHARE_TEST_RABBITMQCTL")).args(arguments).output().expect("it runs");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A RabbitMQ user that may write to one exchange, and nothing else. Gone with the value.
struct User(String);

impl User {
    fn who_may_write(exchange: &str) -> Self {
        let name = format!("{exchange}-publisher");
        ctl(&["add_user", &name, "pass"]);
        let pattern = format!("^{}$", exchange.replace('.', "\\."));
        ctl(&["set_permissions", "-p", "/", &name, "^$", &pattern, "^$"]);
        Self(name)
    }

    fn publisher(&self) -> RawPublisher {
        let url = server("BATCHSHARE_TEST_AMQP_URL");
        let (_, host) = url.rsplit_once('@').expect("a user");
        RawPublisher::connect(&format!("amqp://{}:pass@{host}", self.0))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Command::new(server("BATCHSHARE_TEST_RABBITMQCTL")).args(["delete_user", &self.0]).output();
    }
}

/// A policy on the queues of a test's own prefix. Gone with the value.
struct Policy(String);

impl Policy {
    fn on(site: &Site, queue: Queue, definition: &Value) -> Self {
        let name = format!("{}-policy", site.prefix);
        let pattern = format!("^{}\\.{}$", site.prefix, queue.suffix());
        ctl(&["set_policy", "--apply-to", "queues", &name, &pattern, &definition.to_string()]);
        Self(name)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let _ = Command::new(server("BATCHSHARE_TEST_RABBITMQCTL")).args(["clear_policy", &self.0]).output();
    }
}

fn broker(site: &Site) -> Broker {
    let mut options = options();
    options.topology.prefix.clone_from(&site.prefix);
    Broker::new(Rabbit::new(options))
}

pub(super) async fn waits(site: &Site, queue: Queue, count: u64) {
    let broker = broker(site);
    eventually("the messages are in their queue", 60, async || {
        (broker.depth(queue).await == Ok(count)).then_some(())
    })
    .await;
}

pub(super) fn stop_workers(site: &mut Site) {
    for work in &mut site.work {
        assert_eq!(work.stop(), 0);
    }
}

pub(super) fn start_workers(site: &mut Site) {
    for work in &mut site.work {
        *work = Program::start(&["work"], &site.env);
    }
}

pub(super) fn state(site: &Site, job: &str) -> Value {
    http("GET", &site.addresses[0], &format!("/api/v1/share-jobs/{job}"), "ana", None).1
}

pub(super) fn ask(
    site: &Site,
    secrets: std::ops::RangeInclusive<i64>,
    recipients: std::ops::RangeInclusive<i64>,
) -> String {
    let recipients: Vec<_> = recipients.map(|id| json!({"kind": "user", "id": id})).collect();
    let body = json!({"secrets": {"ids": secrets.collect::<Vec<_>>()}, "recipients": recipients});
    let (status, job) = http("POST", &site.addresses[0], "/api/v1/share-jobs", "ana", Some(&body));
    assert_eq!(status, 202, "{job}");
    job["job_id"].as_str().expect("an id").to_owned()
}

/// One entry of `x-death`, as RabbitMQ writes it.
pub(super) fn death(queue: &str, reason: &str) -> Table {
    Table::default()
        .raw(b"count", b'l', &7_i64.to_be_bytes())
        .text("exchange", "")
        .text("queue", queue)
        .text("reason", reason)
        .array(b"routing-keys", &[(b'S', long(b"job.requested"))])
        .raw(b"time", b'T', &1_700_000_000_u64.to_be_bytes())
}

pub(super) fn deaths(entries: &[Table]) -> Vec<(u8, Vec<u8>)> {
    entries.iter().map(|entry| (b'F', entry.encoded())).collect()
}

/// Headers that pass a message for one of ours, or for one that the broker gave up, from jobs or from steps.
fn forged(prefix: &str) -> Vec<Table> {
    let mut all = vec![Table::default()];
    for queue in ["jobs", "steps", "dead"] {
        let full = format!("{prefix}.{queue}");
        for reason in ["delivery_limit", "attempts_exhausted", "invalid_field"] {
            all.push(
                Table::default()
                    .text("x-batchshare-dead-id", &format!("exhausted/{queue}/{reason}"))
                    .text("x-batchshare-dead-reason", reason)
                    .text("x-batchshare-dead-detail", "forged")
                    .text("x-batchshare-dead-queue", queue),
            );
        }
        let first = |table: Table| {
            table
                .text("x-first-death-queue", &full)
                .text("x-first-death-reason", "delivery_limit")
                .text("x-first-death-exchange", &format!("{prefix}.internal"))
        };
        all.push(first(Table::default()));
        if queue == "dead" {
            // A death in the dead queue itself is taken for a circle and goes nowhere: see below.
            continue;
        }
        let gave_up = death(&full, "delivery_limit");
        all.push(first(Table::default().array(b"x-death", &deaths(std::slice::from_ref(&gave_up)))));
        // The broker adds to the entry of the same queue and reason, where there is one.
        let expired = death(&format!("{prefix}.jobs"), "expired");
        all.push(Table::default().array(b"x-death", &deaths(&[gave_up.clone(), expired.clone()])));
        all.push(Table::default().array(b"x-death", &deaths(&[expired, gave_up.clone()])));
        // A name that stands there twice: a reader may take the other one than the broker.
        let twice = death(&format!("{prefix}.jobs"), "expired");
        let twice = twice.text("queue", &full).text("reason", "delivery_limit");
        all.push(Table::default().array(b"x-death", &deaths(&[twice])));
        all.push(
            Table::default()
                .array(b"x-death", &deaths(&[death(&format!("{prefix}.jobs"), "expired")]))
                .array(b"x-death", &deaths(&[gave_up])),
        );
    }
    // Keys that only we have, as copies.
    let keys = ["dead.own", "dead", "job.step", "job.requested"].map(|key| (b'S', long(key.as_bytes())));
    all.push(Table::default().array(b"CC", &keys));
    all.push(Table::default().array(b"BCC", &keys));
    all
}

/// Everything that a publisher can say of other people's jobs, in messages that die in the queue of the jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_that_dies_touches_the_job_of_another() {
    let mut site = Site::start_with(vec![
        ("BATCHSHARE__WORKER__CHUNK_PAIRS", "100".to_owned()),
        ("BATCHSHARE__WORKER__SLICE_MS", "20".to_owned()),
    ])
    .await;
    let exchange = format!("{}.jobs", site.prefix);
    let user = User::who_may_write(&exchange);
    // One job that runs and one that waits, neither of which moves until the letters are read.
    let running = ask(&site, 1_001..=2_200, 3..=22);
    until("the job runs", 30, || (state(&site, &running)["done_pairs"].as_u64()? > 0).then_some(()));
    stop_workers(&mut site);
    let queued = ask(&site, 1_001..=1_002, 3..=4);
    site.quiet().await;
    // A queue lets messages die from its head: nothing that lives is to be before them. Due work asks again.
    ctl(&["purge_queue", &exchange]);
    let later = "(extract(epoch FROM now()) * 1000)::bigint + 3600000";
    site.db.sql(&format!("UPDATE lanes SET not_before = {later}, due_at = {later}")).await;
    site.db
        .sql(&format!("UPDATE jobs SET not_before = {later}, due_at = {later} WHERE job_id = '{queued}'"))
        .await;
    let before = (state(&site, &running), state(&site, &queued));
    assert_eq!((&before.0["state"], &before.1["state"]), (&json!("running"), &json!("queued")));

    let lanes = "SELECT concat(lane, ' ', turn) AS t FROM lanes ORDER BY lane";
    let mut steps = site.db.texts(lanes).await.into_iter().map(|of| {
        let (lane, turn) = of.split_once(' ').expect("two numbers");
        let [lane, turn] = [lane, turn].map(|text| text.parse().expect("a number"));
        encode_step(&Step { job_id: running.parse().expect("an id"), run: 1, lane, turn }, "")
    });
    let step = steps.next_back().expect("a lane");
    let recipients = json!([{"kind": "user", "id": 3}, {"kind": "user", "id": 4}]);
    let same = json!({"requested_by": 1, "secrets": {"ids": [1_001, 1_002]}, "recipients": recipients});
    let invalid = |job: &str| request(job, &json!({"requested_by": 1, "secrets": {"ids": []}}));
    let free = uuid::Uuid::now_v7().to_string();
    let bodies = [step, request(&queued, &same), invalid(&queued), invalid(&free), b"{".to_vec()];
    let (mut sent, mut publisher) = (0, user.publisher());
    for headers in forged(&site.prefix) {
        for body in &bodies {
            for message_id in [running.clone(), format!("{queued}/2")] {
                let key = if sent % 2 == 0 { "job.requested" } else { "dead.own" };
                // A key of ours, and the right one as a copy.
                let copy = Table::default().array(b"CC", &[(b'S', long(b"job.requested"))]);
                let headers = if key == "dead.own" { headers.clone().with(&copy) } else { headers.clone() };
                let properties = Properties::persistent()
                    .short(EXPIRATION, b"1")
                    .short(MESSAGE_ID, message_id.as_bytes())
                    .headers(&headers);
                // No two alike: those would be one letter.
                let body =
                    [body.as_slice(), " ".repeat(usize::try_from(sent).expect("few")).as_bytes()].concat();
                assert_eq!(publisher.publish(&exchange, key, &properties, &body), Answer::Taken);
                sent += 1;
            }
        }
    }
    waits(&site, Queue::Dead, sent).await;
    start_workers(&mut site);
    let all = i64::try_from(sent).expect("a number");
    eventually("every letter is kept", 120, async || {
        (site.db.number("SELECT COUNT(*) FROM dead_letters").await == all).then_some(())
    })
    .await;
    let touching =
        "SELECT COUNT(*) FROM dead_letters WHERE reason NOT IN ('expired', 'delivery_limit', 'unexplained')";
    assert_eq!(site.db.number(touching).await, 0, "no letter passes for one of ours");
    assert_eq!((state(&site, &running), state(&site, &queued)), before);
    assert_eq!(state(&site, &free)["status"], 404, "no job was made");

    // They go on as if nothing had been, and so do others.
    site.db.sql("UPDATE lanes SET not_before = NULL, due_at = 0").await;
    site.db.sql(&format!("UPDATE jobs SET not_before = NULL, due_at = 0 WHERE job_id = '{queued}'")).await;
    for (job, pairs) in [(&running, 24_000), (&queued, 4)] {
        until("the job's end", 120, || (!state(&site, job)["finished_at"].is_null()).then_some(()));
        let ended = state(&site, job);
        assert_eq!((&ended["state"], &ended["done_pairs"]), (&json!("completed"), &json!(pairs)));
    }
    a_good_job_is_done(&site, 1_003);
    assert!(site.work.iter().all(|work| !work.log().contains("panicked")));
}

/// Each stays a message of its own, with who sent it and what it said; and none is replayed by the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_who_is_not_allowed_gains_nothing_by_letting_messages_die() {
    let allowed = ("BATCHSHARE__WORKER__ALLOWED_PUBLISHERS", "mysafe-ui".to_owned());
    let mut site = Site::start_with(vec![allowed]).await;
    let exchange = format!("{}.jobs", site.prefix);
    let user = User::who_may_write(&exchange);
    stop_workers(&mut site);
    let job = uuid::Uuid::now_v7().to_string();
    let headers = Table::default()
        .text("x-batchshare-dead-reason", "expired")
        .text("app", "crm \u{e9}")
        .table(b"nested", &Table::default().text("a", "b"));
    let dies = Properties::persistent().short(EXPIRATION, b"1").headers(&headers);
    let mut publisher = user.publisher();
    let signed = dies.clone().short(USER_ID, user.0.as_bytes());
    for properties in [&dies, &signed] {
        assert_eq!(
            publisher.publish(&exchange, "job.requested", properties, &good_request(&job, 1_001)),
            Answer::Taken
        );
    }
    waits(&site, Queue::Dead, 2).await;
    start_workers(&mut site);
    eventually("the letters", 60, async || (site.dead("publisher_not_allowed").await == 2).then_some(()))
        .await;
    assert_eq!(state(&site, &job)["status"], 404);
    let dead = |arguments: &[&str]| run(&[&["dead"], arguments].concat(), &site.env);
    let (code, _, err) = dead(&["replay", "--all"]);
    assert!(code == 5 && err.contains("2 of publisher_not_allowed left out"), "{err}");
    let (_, out, _) = dead(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&out).expect("JSON");
    // The broker moves the two in any order; the signed one says who sent it.
    let show = |item: &Value| -> Value {
        serde_json::from_str(&dead(&["show", &item["id"].to_string(), "--json"]).1).expect("JSON")
    };
    let letters: Vec<Value> = listed["items"].as_array().expect("items").iter().map(show).collect();
    let signed = letters.iter().find(|letter| letter["user_id"] == user.0.as_str());
    let shown = signed.unwrap_or_else(|| panic!("none is signed: {letters:?}"));
    let id = shown["id"].to_string();
    let (code, out, _) = dead(&["replay", &id]);
    assert!(code == 1 && out.contains("--trust-publisher"), "{out}");
    assert_eq!(shown["headers"]["app"], "crm \u{e9}");
    assert_eq!(shown["headers"]["nested"], "{\"a\":\"b\"}");
    let (code, out, _) = dead(&["replay", &id, "--trust-publisher"]);
    assert_eq!(code, 0, "{out}");
    until("the job's end", 60, || (state(&site, &job)["state"] == "completed").then_some(()));
}

/// What is buried by us keeps who sent it, and its headers, none of which passes for ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_keeps_its_sender_and_its_headers() {
    let site = Site::start().await;
    let exchange = format!("{}.jobs", site.prefix);
    let user = User::who_may_write(&exchange);
    let headers = Table::default()
        .text("app", "crm")
        .text("x-batchshare-dead-reason", "too_large")
        .text("x-large", &"x".repeat(100_000));
    let properties = Properties::persistent().short(USER_ID, user.0.as_bytes()).headers(&headers);
    assert_eq!(user.publisher().publish(&exchange, "job.requested", &properties, b"{"), Answer::Taken);
    eventually("the letter", 30, async || (site.dead("not_json").await == 1).then_some(())).await;
    let texts = site.db.texts("SELECT user_id || headers AS t FROM dead_letters").await;
    let expected =
        json!({"app": "crm", "x-batchshare-dead-reason": "too_large", "x-batchshare-headers-left-out": "1"});
    assert_eq!(texts, [format!("{}{expected}", user.0)]);
}

/// A death header that is no list of tables, or one of a death in the dead queue, which RabbitMQ takes for a circle.
/// RabbitMQ 3.10 may stop moving dead letters of that queue for good, so nobody waits for them here; jobs go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_death_headers_stop_no_job() {
    let site = Site::start().await;
    let exchange = format!("{}.jobs", site.prefix);
    let user = User::who_may_write(&exchange);
    let mut publisher = user.publisher();
    let no_reason = Table::default().text("queue", &exchange);
    let numbers = Table::default().raw(b"queue", b'I', &[0; 4]).raw(b"reason", b'I', &[0; 4]);
    let odd = [
        Table::default().text("x-death", "text"),
        Table::default().table(b"x-death", &death(&exchange, "delivery_limit")),
        Table::default().array(b"x-death", &[]),
        Table::default().array(b"x-death", &deaths(&[no_reason])),
        Table::default().array(b"x-death", &deaths(&[numbers])),
        Table::default().array(b"x-death", &deaths(&[death(&format!("{}.dead", site.prefix), "expired")])),
        Table::default().array(b"x-death", &[(b'S', long(b"text"))]),
    ];
    for headers in &odd {
        for expiration in [Some(b"0"), None] {
            let properties = Properties::persistent().headers(headers);
            let properties = expiration.iter().fold(properties, |of, text| of.short(EXPIRATION, *text));
            let answer = publisher.publish(&exchange, "job.requested", &properties, b"{");
            if matches!(answer, Answer::Closed(..)) {
                publisher = user.publisher();
            }
        }
    }
    assert!(a_good_job_is_done(&site, 1_001) < Duration::from_secs(60));
}

/// Messages of any size die, and what reads them stays small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_that_die_cost_a_worker_little_memory() {
    // Below what RabbitMQ 4 takes by default (16 MiB), with the request around it.
    const BYTES: usize = 15 * 1024 * 1024;
    let mut site = Site::start().await;
    let exchange = format!("{}.jobs", site.prefix);
    let user = User::who_may_write(&exchange);
    stop_workers(&mut site);
    // A tree of this would be fifty times as large.
    let ids = "1,".repeat(BYTES / 2);
    let body = format!("{{\"specversion\":\"1.0\",\"data\":{{\"x\":[{ids}1]}}}}").into_bytes();
    let dies = Properties::persistent().short(EXPIRATION, b"1");
    let mut publisher = user.publisher();
    for number in 0..4 {
        let properties = dies.clone().short(MESSAGE_ID, format!("large-{number}").as_bytes());
        assert_eq!(publisher.publish(&exchange, "job.requested", &properties, &body), Answer::Taken);
    }
    waits(&site, Queue::Dead, 4).await;
    start_workers(&mut site);
    for work in &mut site.work {
        work.logged("the worker's health is told", "listen=");
    }
    eventually("the letters", 120, async || (site.dead("expired").await == 4).then_some(())).await;
    let whole = format!("SELECT COUNT(*) FROM dead_letters WHERE length(body) = {}", body.len());
    assert_eq!(site.db.number(&whole).await, 4, "each is kept whole");
    a_good_job_is_done(&site, 1_001);
    for work in &site.work {
        let peak = work.memory_kib("VmHWM") / 1024;
        eprintln!("peak of a worker: {peak} MiB");
        assert!(peak < 140, "{peak} MiB, of which a worker without them has about 25");
    }
}

/// An operator's time limit on the jobs, and the workers are away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_limit_on_the_jobs_loses_none_that_has_a_row_and_keeps_the_others() {
    let mut site = Site::start().await;
    let exchange = format!("{}.jobs", site.prefix);
    stop_workers(&mut site);
    let _policy = Policy::on(&site, Queue::Jobs, &json!({"message-ttl": 200}));
    let asked = ask(&site, 1_001..=1_002, 3..=4);
    let foreign = uuid::Uuid::now_v7().to_string();
    let sent = super::publisher().publish(
        &exchange,
        "job.requested",
        &Properties::persistent(),
        &good_request(&foreign, 1_003),
    );
    assert_eq!(sent, Answer::Taken);
    waits(&site, Queue::Dead, 2).await;
    start_workers(&mut site);
    eventually("the letters", 60, async || (site.dead("expired").await == 2).then_some(())).await;
    assert_eq!(state(&site, &asked)["state"], "queued", "the row is the truth");
    site.db.sql("UPDATE jobs SET due_at = 0 WHERE due_at IS NOT NULL").await;
    until("the job runs after all", 60, || (state(&site, &asked)["state"] == "completed").then_some(()));
    assert_eq!(state(&site, &foreign)["status"], 404, "of this one there is the letter alone");
    let (code, out, err) = run(&["dead", "replay", "--reason", "expired"], &site.env);
    assert_eq!(code, 0, "{out}{err}");
    until("it can be replayed", 60, || (state(&site, &foreign)["state"] == "completed").then_some(()));
    site.quiet().await;
}

/// An operator's limit on how many jobs may wait: the rest waits here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_how_many_jobs_wait_loses_none() {
    let mut site = Site::start_with(vec![("BATCHSHARE__RELAY__INTERVAL_MS", "200".to_owned())]).await;
    stop_workers(&mut site);
    let policy = Policy::on(&site, Queue::Jobs, &json!({"max-length": 1, "overflow": "reject-publish"}));
    // RabbitMQ takes a few more than the limit, and needs a moment until it heeds a policy.
    let mut secrets = 1_001..2_200;
    let mut jobs = Vec::new();
    eventually("the queue is full", 60, async || {
        let secret = secrets.next()?;
        jobs.push(ask(&site, secret..=secret, 3..=4));
        (site.db.number("SELECT COUNT(*) FROM outbox WHERE tries > 0").await > 0).then_some(())
    })
    .await;
    start_workers(&mut site);
    for job in &jobs {
        until("each runs", 120, || (state(&site, job)["state"] == "completed").then_some(()));
    }
    site.quiet().await;
    assert_eq!(site.db.number("SELECT COUNT(*) FROM dead_letters").await, 0);
    drop(policy);
}
