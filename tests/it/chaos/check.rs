//! Checks the promises when everything is quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use batchshare::domain::Permission;
use batchshare::domain::event::{EventKind, event_id};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use serde_json::Value;

use super::control::{Act, Noted};
use super::load::Ledger;
use super::model;
use super::site::{PREFIX, Site};
use crate::wishes::Pair;

/// A durable queue that gets every event from the start of the run on.
pub struct EventLog {
    queue: String,
}

pub struct Found {
    pub events: usize,
    pub worker_mib: u64,
    /// How many jobs of each kind ended in each state.
    pub kinds: Vec<String>,
}

async fn channel(site: &Site) -> lapin::Channel {
    let url = site.servers.amqp_url(site.servers.mq_port);
    let connection =
        Connection::connect(&url, ConnectionProperties::default()).await.expect("RabbitMQ answers");
    connection.create_channel().await.expect("a channel")
}

impl EventLog {
    pub async fn declare(site: &Site) -> Self {
        let queue = format!("{PREFIX}-log");
        let channel = channel(site).await;
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        channel.queue_declare(queue.as_str().into(), durable, quorum).await.expect("a queue");
        let exchange = format!("{PREFIX}.events");
        let options = QueueBindOptions::default();
        let (queue_name, exchange) = (queue.as_str().into(), exchange.as_str().into());
        channel
            .queue_bind(queue_name, exchange, "#".into(), options, FieldTable::default())
            .await
            .expect("bound");
        Self { queue }
    }

    async fn read(&self, site: &Site) -> Vec<Value> {
        let channel = channel(site).await;
        let mut events = Vec::new();
        let no_ack = BasicGetOptions { no_ack: true };
        while let Some(message) =
            channel.basic_get(self.queue.as_str().into(), no_ack).await.expect("an event")
        {
            events.push(serde_json::from_slice(&message.delivery.data).expect("JSON"));
        }
        events
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    text: String,
}

fn connect(site: &Site) -> diesel::PgConnection {
    let url = site.servers.pg_url(site.servers.pg_port, "batchshare");
    <diesel::PgConnection as diesel::Connection>::establish(&url).expect("PostgreSQL answers")
}

fn number(conn: &mut diesel::PgConnection, sql: &str) -> i64 {
    diesel::sql_query(format!("SELECT CAST(({sql}) AS BIGINT) AS n"))
        .get_result::<Number>(conn)
        .expect("sql")
        .n
}

fn lines(conn: &mut diesel::PgConnection, sql: &str) -> Vec<String> {
    let rows = diesel::sql_query(format!("SELECT CAST(t AS TEXT) AS text FROM ({sql}) AS x(t)"));
    rows.load::<Line>(conn).expect("sql").into_iter().map(|line| line.text).collect()
}

/// The number of jobs that have ended.
pub fn ended(site: &Site) -> usize {
    let ended = number(&mut connect(site), "SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL");
    usize::try_from(ended).expect("a count")
}

/// Waits until nothing is under way, and returns since when that is so.
pub async fn quiet(site: &Site, ledger: &Ledger) -> Instant {
    let mut conn = connect(site);
    let broker = site.broker();
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        let jobs =
            number(&mut conn, "SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL AND NOT notice_due");
        let outbox = number(&mut conn, "SELECT count(*) FROM outbox");
        let poison = "SELECT count(DISTINCT body) FROM dead_letters WHERE reason = 'not_json' \
                      AND position('poison '::bytea in body) = 1";
        let dead = number(&mut conn, poison);
        let hostile = number(
            &mut conn,
            "SELECT count(DISTINCT body) FROM dead_letters WHERE position('hostile '::bytea in body) = 1",
        );
        let mut waiting = 0;
        for queue in batchshare::broker::Queue::ALL {
            waiting += broker.depth(queue).await.unwrap_or(1_000);
        }
        let orders = number(&mut conn, "SELECT count(*) FROM pending_orders");
        let expected = (ledger.jobs().len() as i64, ledger.poison.len() as i64);
        let all_kept = hostile >= ledger.hostile.len() as i64;
        if (jobs, dead) == expected && all_kept && outbox + orders == 0 && waiting == 0 {
            return Instant::now();
        }
        if Instant::now() > end {
            let stuck = lines(
                &mut conn,
                "SELECT row_to_json(j) FROM (SELECT job_id, state, run, attempts, open_lanes, due_at - now_ms() AS due, \
                 last_error, notice_due, finished_at IS NULL AS open FROM jobs WHERE finished_at IS NULL OR notice_due LIMIT 5) j",
            );
            let lanes =
                lines(&mut conn, "SELECT row_to_json(l) FROM (SELECT * FROM lanes WHERE open LIMIT 5) l");
            for program in site.work.iter().chain(&site.serve) {
                let log = program.log();
                let tail: Vec<&str> =
                    log.lines().rev().filter(|line| !line.contains("INFO")).take(15).collect();
                eprintln!("--- {tail:#?}");
            }
            eprintln!("--- RabbitMQ: {}", site.servers.log("rabbitmq"));
            panic!(
                "not quiet: {jobs} of {} jobs done, {dead} of {} poison, {outbox} in the outbox, {waiting} in queues, \
                 {orders} orders\n{stuck:#?}\n{lanes:#?}",
                expected.0, expected.1
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Checks every promise, and panics with the one that was broken.
pub async fn everything(site: &mut Site, ledger: &Ledger, log: EventLog) -> Found {
    let events = log.read(site).await;
    let conn = &mut connect(site);
    jobs(conn, ledger);
    grants(conn, ledger);
    dead_letters(conn, ledger);
    super::received::entries(conn);
    told(&events, ledger);
    let mut worker_kib = 0;
    for work in &site.work {
        worker_kib = worker_kib.max(work.memory_kib("VmHWM"));
    }
    let running: Vec<String> =
        site.work.iter().chain(&site.serve).map(crate::process::Program::log).collect();
    for log in site.logs.iter().chain(&running) {
        assert!(!log.contains("panicked"), "{log}");
    }
    let kinds = lines(
        conn,
        "SELECT count(*) || ' ' || kind || ' ' || state FROM jobs GROUP BY kind, state ORDER BY kind, state",
    );
    Found { events: events.len(), worker_mib: worker_kib / 1_024, kinds }
}

/// Every accepted job has ended, once, and has one notice. No outage has made a job fail: only what was cancelled is not
/// completed, and an undo that was published with its job, if it came before the job's end.
fn jobs(conn: &mut diesel::PgConnection, ledger: &Ledger) {
    let ids: BTreeSet<String> = lines(conn, "SELECT job_id FROM jobs").into_iter().collect();
    let accepted: BTreeSet<String> = ledger.jobs().into_iter().cloned().collect();
    assert_eq!(
        ids.difference(&accepted).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "jobs that nobody asked for"
    );
    assert_eq!(accepted.difference(&ids).collect::<Vec<_>>(), Vec::<&String>::new(), "lost jobs");
    let wrong = lines(
        conn,
        "SELECT row_to_json(j) FROM (SELECT job_id, run, state, reason, pairs, granted + upgraded + unchanged + rejected AS done, \
         revoked, lowered, kept, untouched, open_lanes, last_error FROM jobs WHERE run <> 1 OR open_lanes <> 0 OR rejected > 0 \
         OR (state = 'completed' AND pairs <> granted + upgraded + unchanged + \
           COALESCE(revoked + lowered + kept + untouched, 0))) j",
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    let early: BTreeSet<&String> = ledger
        .acts
        .iter()
        .filter(|noted| matches!(noted.act, Act::Undo { early: true, .. }))
        .filter_map(|noted| noted.job.as_ref())
        .collect();
    for (id, job) in model::ended(conn) {
        let may = match (job.state.as_str(), job.reason.as_deref()) {
            ("completed", None) => true,
            ("cancelled", None) => ledger.cancels.contains(&id),
            ("failed", Some("job_not_ended")) => early.contains(&id),
            _ => false,
        };
        assert!(may, "{id} ended as {}, because of {:?}", job.state, job.reason);
    }
    let notices =
        "SELECT count(*) FROM jobs j WHERE (SELECT count(*) FROM notices n WHERE n.job = j.id) <> 1";
    assert_eq!(number(conn, notices), 0, "jobs without exactly one notice");
    let open = number(conn, "SELECT count(*) FROM lanes WHERE open");
    assert_eq!(open, 0, "open lanes of ended jobs");
}

/// The grants are those of the jobs, except those that were taken back, each with the permission that it must have. Each was
/// granted once, and taken away once at most.
fn grants(conn: &mut diesel::PgConnection, ledger: &Ledger) {
    let mut expected: BTreeMap<Pair, i16> =
        ledger.accepted.values().flatten().map(|pair| (*pair, Permission::View.code())).collect();
    let granted_once = expected.len() as i64;
    expected.retain(|pair, _| !ledger.revoked.contains(pair));
    let ended = model::ended(conn);
    expected.extend(model::expected(&ended, ledger));
    let rows = lines(conn, "SELECT secret_id || ' ' || principal_id || ' ' || permission FROM grants");
    let row = |row: &String| {
        let mut parts = row.split(' ');
        let pair = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((pair, parts.next()?.parse().ok()?))
    };
    let found: BTreeMap<Pair, i16> = rows.iter().filter_map(row).collect();
    let few = |a: &BTreeMap<Pair, i16>, b: &BTreeMap<Pair, i16>| {
        let differs = |(pair, permission): &(&Pair, &i16)| b.get(pair) != Some(permission);
        a.iter().filter(differs).take(5).map(|(pair, of)| (*pair, *of)).collect::<Vec<_>>()
    };
    assert_eq!(few(&expected, &found), [], "grants that are lost");
    assert_eq!(few(&found, &expected), [], "grants that came back, or that nobody asked for");
    let ids: Vec<String> = ledger.accepted.keys().map(|id| format!("'{id}'")).collect();
    let of_those = format!("SELECT sum(granted) FROM jobs WHERE job_id IN ({})", ids.join(", "));
    assert_eq!(number(conn, &of_those), granted_once, "each pair is granted by one job");
    let left = "SELECT (SELECT sum(granted) FROM jobs) - (SELECT COALESCE(sum(revoked), 0) FROM jobs) \
                - (SELECT count(*) FROM audit WHERE action = 'grant_revoked')";
    assert_eq!(number(conn, left), found.len() as i64, "what was granted and was not taken is there");
}

/// Each poison message is kept, and nothing else is: no outage has used up attempts or deliveries. The messages of the
/// hostile publisher are kept, too, and some of them expired before anybody took them.
fn dead_letters(conn: &mut diesel::PgConnection, ledger: &Ledger) {
    let others = lines(
        conn,
        "SELECT row_to_json(d) FROM (SELECT reason, detail, job_id, origin FROM dead_letters WHERE reason <> 'not_json' \
         AND NOT (reason = 'expired' AND position('hostile '::bytea in body) = 1)) d",
    );
    assert!(others.is_empty(), "{others:#?}");
    let bodies = lines(conn, "SELECT DISTINCT convert_from(body, 'UTF8') FROM dead_letters");
    let marked = |word: &str| -> BTreeSet<String> {
        bodies.iter().filter_map(|body| body.strip_prefix(word)).map(str::to_owned).collect()
    };
    assert_eq!(marked("poison "), ledger.poison, "poison that is lost, or that nobody sent");
    // A message that was not confirmed may have arrived all the same.
    let kept = marked("hostile ");
    let lost: Vec<&String> = ledger.hostile.difference(&kept).collect();
    assert!(lost.is_empty(), "hostile messages that are lost: {lost:?}");
}

/// The end of every job was told by an event. However often it was sent, it had the same id and the same content.
fn told(events: &[Value], ledger: &Ledger) {
    let mut ends: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let is_terminal =
        |of: &str| [".completed.v1", ".failed.v1", ".cancelled.v1"].iter().any(|end| of.ends_with(end));
    for event in events {
        if event["type"].as_str().is_some_and(is_terminal) {
            let id = event["data"]["job_id"].as_str().expect("a job id");
            let told = format!("{} {} {}", event["id"], event["type"], event["data"]);
            ends.entry(id).or_default().insert(told);
        }
    }
    let acts: BTreeMap<&String, &Act> =
        ledger.acts.iter().filter_map(|Noted { job, act }| Some((job.as_ref()?, act))).collect();
    for job in ledger.jobs() {
        let told = ends.get(job.as_str()).unwrap_or_else(|| panic!("nobody was told of the end of {job}"));
        assert_eq!(told.len(), 1, "one terminal event: {told:#?}");
        let id = event_id(job.parse().expect("an id"), 1, EventKind::Completed, "");
        let of = match acts.get(job) {
            None | Some(Act::Share(..) | Act::Hand(..)) => "batchshare.job.",
            Some(Act::Undo { .. }) => "batchshare.undo.",
            Some(Act::Unshare(..)) => "batchshare.unshare.",
        };
        assert!(told.iter().all(|text| text.contains(&id.to_string()) && text.contains(of)), "{told:#?}");
    }
}
