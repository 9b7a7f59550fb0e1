//! What is told to Prometheus and to the log.

use std::sync::atomic::Ordering;
use std::time::Duration;

use batchshare::broker::{Broker, Embedded, Exchange, Outgoing, Queue, topology};
use batchshare::db::{Clock, Db, Target};
use batchshare::domain::{DeadReason, DeadState, JobState, Origin};
use batchshare::store::Store;
use serde_json::{Value, json};

use crate::dead::letter;
use crate::fixtures::Fixture;
use crate::gateway::app::App;
use crate::on_both_stores;
use crate::process::{Program, http, run, until};
use crate::support::{TestDb, settings};
use crate::world::*;

fn scrape(address: &str) -> String {
    let mut answer = ureq::get(&format!("http://{address}/metrics")).call().expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.body_mut().read_to_string().expect("UTF-8")
}

/// The sum of the samples of a name that have all these labels; none where there is no such sample.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut found = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        let (of, has) = series.split_once('{').unwrap_or((series, ""));
        if of == name && labels.iter().all(|label| has.contains(label)) {
            found = Some(found.unwrap_or(0.0) + value.parse::<f64>().expect("a number"));
        }
    }
    found
}

#[test]
fn both_roles_tell_what_was_done_and_name_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let env = vec![
        ("BATCHSHARE__DATABASE__URL", format!("sqlite://{}", folder.path().join("b.db").display())),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
        ("BATCHSHARE__WORKER__LISTEN", "127.0.0.1:0".to_owned()),
        ("BATCHSHARE__WORKER__CHUNK_PAIRS", "100".to_owned()),
    ];
    let mut program = Program::start(&["up"], &env);
    let gateway = program.address();
    let worker = program.logged("the worker's health is told", "listen=Some(");
    let worker = worker.trim_end_matches(')').to_owned();
    let share = ["share", "--as", "ana", "--tag", "prod", "--user", "bruno", "carla", "--json"];
    let (code, out, err) = run(&share, &env);
    assert_eq!(code, 3, "carla has no account: {err}");
    let job: Value = serde_json::from_str(&out).expect("JSON");
    let id = job["job_id"].as_str().expect("an id");
    assert_eq!(http("GET", &gateway, &format!("/api/v1/share-jobs/{id}"), "ana", None).0, 200);
    assert_eq!(http("GET", &gateway, "/api/v1/nothing/4711", "ana", None).0, 404);

    for address in [&gateway, &worker] {
        let text = until("numbers of the ended job", 20, || {
            let text = scrape(address);
            let ended =
                value(&text, "batchshare_jobs", &["state=\"completed_with_rejections\""]) == Some(1.0);
            let told = value(&text, "messaging_client_consumed_messages_total", &["\"batchshare.notices\""])
                .is_some();
            // For a moment, somebody may wait for the one writer.
            let quiet = value(&text, "batchshare_database_connections_waiting", &[]) == Some(0.0);
            (ended && told && quiet).then_some(text)
        });
        for (name, labels, expected) in [
            ("batchshare_database_up", &[][..], 1.0),
            ("batchshare_broker_up", &[], 1.0),
            ("batchshare_jobs", &["state=\"running\""], 0.0),
            ("batchshare_jobs_ended_total", &["state=\"completed_with_rejections\"", "reason=\"\""], 1.0),
            ("batchshare_job_duration_seconds_count", &[], 1.0),
            ("batchshare_pairs_total", &["outcome=\"granted\""], 300.0),
            ("batchshare_pairs_total", &["outcome=\"rejected\""], 300.0),
            ("batchshare_pairs_total", &["outcome=\"upgraded\""], 0.0),
            ("batchshare_failures_total", &["class=\"transient\""], 0.0),
            ("batchshare_dead_letters", &["reason=\"not_json\"", "state=\"kept\""], 0.0),
            ("batchshare_outbox_oldest_age_seconds", &[], 0.0),
            ("batchshare_jobs_oldest_unfinished_age_seconds", &[], 0.0),
            ("batchshare_build_info", &["version=\"0.1.0\""], 1.0),
            ("batchshare_consumers", &["\"batchshare.jobs\""], 1.0),
            ("batchshare_consumers", &["\"batchshare.notices\""], 1.0),
            // One writer and eight readers.
            ("batchshare_database_connections_max", &[], 9.0),
            ("batchshare_database_connections_waiting", &[], 0.0),
            ("messaging_client_consumed_messages_total", &["\"batchshare.jobs\"", "\"embedded\""], 1.0),
            ("messaging_client_sent_messages_total", &["\"batchshare.jobs\"", "error_type=\"\""], 1.0),
            ("messaging_process_duration_seconds_count", &["\"batchshare.jobs\"", "\"process\""], 1.0),
            (
                "http_server_request_duration_seconds_count",
                &["\"/api/v1/share-jobs/{id}\"", "\"GET\"", "\"200\""],
                1.0,
            ),
            ("http_server_request_duration_seconds_count", &["http_route=\"\"", "\"404\""], 1.0),
        ] {
            assert_eq!(value(&text, name, labels), Some(expected), "{name} {labels:?} in\n{text}");
        }
        for (operation, name) in [("publish", "batchshare.events"), ("ack", "batchshare.jobs")] {
            let labels = [format!("\"{operation}\""), format!("\"{name}\"")];
            let labels = labels.each_ref().map(String::as_str);
            let waited = value(&text, "messaging_client_operation_duration_seconds_count", &labels);
            assert!(waited >= Some(1.0), "{labels:?} in\n{text}");
        }
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs_f64();
        let of_process = |name: &str| value(&text, name, &[]).unwrap_or_else(|| panic!("{name} in\n{text}"));
        assert!((now - 600.0..=now).contains(&of_process("process_start_time_seconds")), "{text}");
        assert!(of_process("process_resident_memory_bytes") > 1e6);
        assert!(of_process("process_cpu_seconds_total") > 0.0);
        assert!((3.0..of_process("process_max_fds")).contains(&of_process("process_open_fds")));
        let connections = value(&text, "batchshare_database_connections", &[]);
        assert!((1.0..=9.0).contains(&connections.expect("connections")), "{text}");
        let steps = value(&text, "messaging_client_consumed_messages_total", &["\"batchshare.steps\""]);
        assert!(steps >= Some(1.0), "{text}");
        for hidden in [id, "4711", "ana", "bruno", "prod"] {
            assert!(!text.contains(hidden), "{hidden} in\n{text}");
        }
        // Each family is described once and before its samples.
        let mut described = std::collections::BTreeSet::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(family) => {
                    assert!(described.insert(family.split(' ').next().expect("a name")), "{line}")
                }
                None if line.starts_with('#') => {}
                None => {
                    let name = line.split(['{', ' ']).next().expect("a name");
                    let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                    assert!(
                        described.contains(name) || described.contains(family.unwrap_or_default()),
                        "{line}"
                    );
                }
            }
        }
    }
    assert_eq!(program.stop(), 0);
}

#[test]
fn every_line_of_a_job_has_its_id_and_its_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let env = vec![
        ("BATCHSHARE__DATABASE__URL", format!("sqlite://{}", folder.path().join("b.db").display())),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
        ("BATCHSHARE__WORKER__CHUNK_PAIRS", "100".to_owned()),
        ("BATCHSHARE__LOG__FORMAT", "json".to_owned()),
        ("BATCHSHARE__LOG__FILTER", "info,batchshare::worker=debug".to_owned()),
    ];
    let mut program = Program::start(&["up"], &env);
    let address = program.logged("the gateway listens", "\"listen\":\"");
    let address = address.split('"').next().expect("an address").to_owned();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = json!({"secrets": {"all": {"tag": "prod"}}, "recipients": [{"kind": "user", "id": 2}]});
    let answer = ureq::post(&format!("http://{address}/api/v1/share-jobs"))
        .header("X-Batchshare-User", "ana")
        .header("traceparent", trace)
        .send_json(&body)
        .expect("an answer")
        .body_mut()
        .read_json::<Value>()
        .expect("JSON");
    let id = answer["job_id"].as_str().expect("an id");
    until("the end in the log", 20, || program.log().contains("job ended").then_some(()));
    let mut lines = 0;
    for line in program.log().lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let spans = line["spans"].as_array().cloned().unwrap_or_default();
        let Some(message) = spans.iter().find(|span| span["name"] == "process") else { continue };
        assert!(
            ["batchshare.jobs", "batchshare.steps"]
                .contains(&message["messaging.destination.name"].as_str().unwrap_or_default())
        );
        assert!(message["messaging.message.id"].as_str().is_some_and(|of| of.contains(id)), "{line}");
        let of_job =
            spans.iter().find(|span| span["job_id"] == id).unwrap_or_else(|| panic!("no job: {line}"));
        assert_eq!(of_job["traceparent"], trace, "{line}");
        lines += 1;
    }
    assert!(lines >= 2, "{}", program.log());
    assert_eq!(program.stop(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_a_dead_letter_fails_is_told_with_its_id_and_its_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("b.db").display());
    let env = vec![
        ("BATCHSHARE__DATABASE__URL", url.clone()),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
        ("BATCHSHARE__LOG__FORMAT", "json".to_owned()),
    ];
    let mut program = Program::start(&["up"], &env);
    program.logged("the gateway listens", "");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let id = batchshare::domain::JobId::generate().to_string();
    let poison = json!({"specversion": "1.0", "id": id, "source": "/t", "type": "batchshare.job.requested.v1",
                        "data": {"requested_by": 1, "secrets": {"ids": [1]}, "recipients": "nobody"}});
    let message = Outgoing {
        exchange: Exchange::Jobs,
        routing_key: topology::KEY_REQUESTED.to_owned(),
        traceparent: Some(trace.to_owned()),
        body: poison.to_string().into_bytes(),
        ..crate::broker::to(Queue::Jobs, "from outside")
    };
    let db = Db::new(Target::parse(&url).expect("url"), settings(&url).db_options(), Clock::default());
    let broker = Broker::new(Embedded::new(db));
    broker.publish(&[message]).await.remove(0).expect("published");
    until("the end in the log", 20, || program.log().contains("job ended").then_some(()));
    let log = program.log();
    let mut messages = Vec::new();
    for line in log.lines().filter(|line| line.contains(&id)) {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let spans = line["spans"].as_array().cloned().unwrap_or_default();
        let has = |key: &str, value: &str| spans.iter().chain([&line]).any(|fields| fields[key] == value);
        assert!(has("job_id", &id) && has("traceparent", trace), "{line}");
        messages.push(line["message"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(messages, ["dead letter", "job ended"], "{log}");
    assert_eq!(program.stop(), 0);
}

on_both_stores! {
    async fn the_numbers_are_those_of_the_tables(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        world.run(&share([101], &[BRUNO])).await;
        for wait in [60, 0] {
            let asked = share([101], &[EVA]);
            let delays = vec![Duration::from_secs(wait); usize::from(wait > 0)];
            world.store.request_failed(asked, Vec::new(), "broken".to_owned(), delays).await.expect("recorded");
        }
        world.store.bury(letter(DeadReason::NotJson, Origin::Request, Vec::new())).await.expect("bury");
        world.store.discard_letter(2).await.expect("discard");
        let figures = world.store.figures().await.expect("figures");
        let jobs = |state| figures.jobs.iter().filter(|of| of.0 == state).map(|of| of.1).sum::<i64>();
        let counts = [JobState::Completed, JobState::Failed, JobState::Retrying, JobState::Queued].map(jobs);
        assert_eq!(counts, [1, 1, 1, 0]);
        let mut dead = figures.dead_letters;
        dead.sort_by_key(|of| of.0.as_str());
        let expected = [
            (DeadReason::AttemptsExhausted, DeadState::Kept, 1),
            (DeadReason::NotJson, DeadState::Discarded, 1),
        ];
        assert_eq!(dead, expected);
        assert_eq!(figures.unsent, 1, "the second end; the first was taken");
        world.test.sql("UPDATE outbox SET created_at = created_at - 90000").await;
        let age = world.store.figures().await.expect("figures").unsent_for_ms;
        assert!((90_000..150_000).contains(&age), "{age}");
        world.test.sql("UPDATE jobs SET requested_at = requested_at - 50000 WHERE finished_at IS NULL").await;
        world.test.sql("UPDATE jobs SET requested_at = requested_at - 500000 WHERE finished_at IS NOT NULL").await;
        let age = world.store.figures().await.expect("figures").unfinished_for_ms;
        assert!((50_000..150_000).contains(&age), "{age}");
        world.test.sql("UPDATE jobs SET finished_at = 1 WHERE finished_at IS NULL").await;
        assert_eq!(world.store.figures().await.expect("figures").unfinished_for_ms, 0);
        world.take_messages().await;
        let empty = world.store.figures().await.expect("figures");
        assert_eq!((empty.unsent, empty.unsent_for_ms), (0, 0));
    }

    async fn a_lane_that_waits_makes_its_job_one_that_retries(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=106).await;
        world.begin(&share(101..=106, &[BRUNO, EVA])).await;
        world.test.sql("UPDATE lanes SET attempts = 1 WHERE lane = 0").await;
        let figures = world.store.figures().await.expect("figures");
        assert_eq!(figures.jobs, [(JobState::Retrying, 1), (JobState::Running, 0)]);
    }

    async fn metrics_are_answered_while_servers_are_away(kind: Kind) {
        let app = App::start(kind, Fixture::new()).await;
        app.broker_is_there.store(false, Ordering::Relaxed);
        let text = app.request("GET", "//metrics").send().await.text;
        assert_eq!(value(&text, "batchshare_broker_up", &[]), Some(0.0));
        assert_eq!(value(&text, "batchshare_jobs", &["state=\"queued\""]), Some(0.0));

        let options = settings("sqlite://unused.db").db_options();
        let target = Target::parse("sqlite:///no/such/folder/test.db").expect("url");
        let away = Store::new(Db::new(target, options, Clock::default()));
        let app = App::serve(TestDb::new(kind).await, away, |_| {}).await;
        let answer = app.request("GET", "//metrics").send().await;
        assert_eq!(answer.status, 200);
        assert_eq!(value(&answer.text, "batchshare_database_up", &[]), Some(0.0));
        assert_eq!(value(&answer.text, "batchshare_jobs", &[]), None);
        assert_eq!(value(&answer.text, "batchshare_pairs_total", &["outcome=\"granted\""]), Some(0.0));
    }
}
