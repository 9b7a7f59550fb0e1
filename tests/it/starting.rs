//! HTTP from the first moment: what a program answers while the servers that it needs are away.

use serde_json::{Value, json};
use ureq::http::Request;

use crate::chaos::relay::{Mode, TcpRelay};
use crate::outages::{port, through};
use crate::process::{Env, Program, http, until};
use crate::production::Site;
use crate::support::{server, unique};

/// A site whose own roles are stopped, with its settings led through relays.
struct Behind {
    /// Its database and files are there as long as this is.
    _site: Site,
    pg: TcpRelay,
    mq: TcpRelay,
    env: Env,
}

impl Behind {
    async fn new() -> Self {
        let mut site = Site::start().await;
        for program in site.serve.iter_mut().chain(&mut site.work) {
            assert_eq!(program.stop(), 0);
        }
        let amqp = server("BATCHSHARE_TEST_AMQP_URL");
        let (pg, mq) = (TcpRelay::start(port(&site.db.url)).await, TcpRelay::start(port(&amqp)).await);
        let mut env: Env = site.env.clone();
        env.retain(|(name, _)| !name.ends_with("__URL"));
        env.extend([
            ("BATCHSHARE__DATABASE__URL", through(&site.db.url, &pg)),
            ("BATCHSHARE__BROKER__URL", through(&amqp, &mq)),
            ("BATCHSHARE__BROKER__CONNECT_TIMEOUT_MS", "2000".to_owned()),
            ("BATCHSHARE__BROKER__OPERATION_TIMEOUT_MS", "3000".to_owned()),
            ("BATCHSHARE__DATABASE__CALL_TIMEOUT_MS", "3000".to_owned()),
            ("BATCHSHARE__DATABASE__STATEMENT_TIMEOUT_MS", "3000".to_owned()),
            ("BATCHSHARE__DATABASE__LOCK_TIMEOUT_MS", "3000".to_owned()),
            ("BATCHSHARE__DATABASE__READ_TIMEOUT_MS", "3000".to_owned()),
            ("BATCHSHARE__DATABASE__CONNECT_TIMEOUT_S", "2".to_owned()),
            ("BATCHSHARE__LOG__FILTER", "info,batchshare=debug,lapin=off".to_owned()),
        ]);
        Self { pg, mq, env, _site: site }
    }

    /// A gateway and a worker, and where each answers.
    fn start(&self) -> [(Program, String); 2] {
        let (mut serve, mut work) =
            (Program::start(&["serve"], &self.env), Program::start(&["work"], &self.env));
        let gateway = serve.logged("HTTP is answered", "listen=");
        let health = work.logged("a worker's HTTP is answered", "listen=Some(");
        [(serve, gateway), (work, health.trim_end_matches(')').to_owned())]
    }
}

fn share(gateway: &str) -> (u16, Value) {
    let body = json!({"secrets": {"ids": [1_001]}, "recipients": [{"kind": "user", "id": 3}]});
    http("POST", gateway, "/api/v1/share-jobs", "ana", Some(&body))
}

fn ready(address: &str) -> (u16, Value) {
    http("GET", address, "/readyz", "ana", None)
}

fn ended(gateway: &str, id: &Value) -> Value {
    let path = format!("/api/v1/share-jobs/{}", id.as_str().expect("an id"));
    until("the job's end", 60, || {
        let (status, job) = http("GET", gateway, &path, "ana", None);
        (status == 200 && !job["finished_at"].is_null()).then_some(job)
    })
}

/// As a supervisor asks: by an address that is on no list. The status and the text.
fn probe(address: &str, path: &str) -> (u16, String) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(std::time::Duration::from_secs(20)))
        .build();
    let request = Request::builder().uri(format!("http://{address}{path}")).header("Host", "10.244.0.5:8080");
    let mut answer =
        ureq::Agent::new_with_config(config).run(request.body(()).expect("a request")).expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_to_string().expect("UTF-8"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_a_start_answers_supervisors_and_tells_everybody_else_to_come_again() {
    let behind = Behind::new().await;
    for mode in [Mode::Cut, Mode::Stall] {
        behind.pg.set(mode);
        let [(mut serve, gateway), (mut work, health)] = behind.start();
        for address in [&gateway, &health] {
            assert_eq!(probe(address, "/healthz").0, 200);
            let (status, body) = ready(address);
            assert_eq!(status, 503, "{body}");
            let words = [&body["status"], &body["waiting_for"], &body["database"]];
            assert_eq!(words, ["starting", "database", "unavailable"], "{body}");
            let (status, text) = probe(address, "/metrics");
            assert_eq!(status, 200);
            assert!(text.contains("\nbatchshare_database_up 0\n"), "{text}");
        }
        let (status, problem) = share(&gateway);
        assert_eq!((status, problem["type"].as_str()), (503, Some("urn:batchshare:problem:starting")));
        for path in ["/", "/assets/js/main.js", "/api/v1/secrets", "/no-such-path"] {
            assert_eq!(http("GET", &gateway, path, "ana", None).0, 503, "{path}");
        }
        behind.pg.set(Mode::Flow);
        // The same port, without a moment between.
        let (_, job) = until("the gateway serves", 40, || Some(share(&gateway)).filter(|of| of.0 == 202));
        assert_eq!(ended(&gateway, &job["job_id"])["state"], "completed");
        for address in [&gateway, &health] {
            until("it is ready", 20, || (ready(address).0 == 200).then_some(()));
        }
        for program in [&mut serve, &mut work] {
            assert_eq!(program.stop(), 0, "{}", program.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_broker_a_start_serves_and_the_work_begins_when_it_comes() {
    let mut behind = Behind::new().await;
    for mode in [Mode::Cut, Mode::Stall] {
        // Of a broker that has nothing of ours: who comes first declares it.
        behind.env.retain(|(name, _)| *name != "BATCHSHARE__BROKER__PREFIX");
        behind.env.push(("BATCHSHARE__BROKER__PREFIX", unique("late")));
        behind.mq.set(mode);
        let [(mut serve, gateway), (mut work, health)] = behind.start();
        let (_, job) = until("the gateway serves", 30, || Some(share(&gateway)).filter(|of| of.0 == 202));
        let (status, body) = ready(&gateway);
        assert_eq!((status, &body["status"], &body["broker"]), (200, &json!("degraded"), &json!("degraded")));
        let (status, body) = ready(&health);
        assert_eq!((status, &body["broker"], &body["database"]), (503, &json!("unavailable"), &json!("ok")));
        behind.mq.set(Mode::Flow);
        let job = ended(&gateway, &job["job_id"]);
        assert_eq!((&job["state"], &job["attempts"]), (&json!("completed"), &json!(0)));
        until("the worker is ready", 20, || (ready(&health).0 == 200).then_some(()));
        until("the gateway is ready", 20, || (ready(&gateway).1["status"] == "ok").then_some(()));
        for program in [&mut serve, &mut work] {
            assert_eq!(program.stop(), 0, "{}", program.log());
            assert_eq!(program.log().matches("waiting for the broker").count(), 1, "{}", program.log());
        }
    }
}

/// One that refuses at once ends the start (startup.rs).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_late_and_refuses_is_told_and_can_be_mended() {
    let mut behind = Behind::new().await;
    let user = unique("late_user");
    ctl(&["add_user", &user, "one-password"]);
    ctl(&["set_permissions", &user, ".*", ".*", ".*"]);
    let url = through(&server("BATCHSHARE_TEST_AMQP_URL"), &behind.mq);
    behind.env.retain(|(name, _)| *name != "BATCHSHARE__BROKER__URL");
    behind
        .env
        .push(("BATCHSHARE__BROKER__URL", url.replace("guest:guest@", &format!("{user}:other-passw0rd@"))));
    behind.mq.set(Mode::Cut);
    let [(mut serve, gateway), (mut work, health)] = behind.start();
    let (_, job) = until("the gateway serves", 30, || Some(share(&gateway)).filter(|of| of.0 == 202));
    behind.mq.set(Mode::Flow);
    for program in [&mut serve, &mut work] {
        until("it is told", 30, || program.log().contains("the broker refuses").then_some(()));
        assert!(!program.log().contains("other-passw0rd"));
    }
    assert_eq!(ready(&gateway).1["broker"], "degraded");
    assert_eq!(ready(&health).0, 503);
    assert_eq!(share(&gateway).0, 202, "people are served meanwhile");
    ctl(&["change_password", &user, "other-passw0rd"]);
    assert_eq!(ended(&gateway, &job["job_id"])["state"], "completed");
    until("the worker is ready", 20, || (ready(&health).0 == 200).then_some(()));
    for program in [&mut serve, &mut work] {
        assert_eq!(program.stop(), 0, "{}", program.log());
    }
    ctl(&["delete_user", &user]);
}

/// `rabbitmqctl` of the private server.
pub fn ctl(args: &[&str]) {
    let output = std::process::Command::new(server("BATCHSHARE_TEST_RABBITMQCTL")).args(args).output();
    let output = output.expect("rabbitmqctl");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
