//! The production shape on private RabbitMQ and PostgreSQL: two gateways, two workers, and messages
//! published by a program that is not ours (Debian's amqp-publish).

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::process::{Env, Program, file, http, run, until};
use crate::support::{Kind, TestDb, server, unique};

pub struct Site {
    pub db: TestDb,
    pub env: Env,
    pub prefix: String,
    pub serve: Vec<Program>,
    pub work: Vec<Program>,
    pub addresses: Vec<String>,
    _folder: tempfile::TempDir,
}

const ANA: i64 = 1;

impl Site {
    /// Two of each, on a database with ana, 20 recipients (3 to 22) and her secrets 1001 to 2200.
    pub async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// The same with further settings.
    pub async fn start_with(further: Env) -> Self {
        let db = TestDb::new(Kind::Postgres).await;
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = unique("site");
        let key = folder.path().join("key");
        let mut env: Env = vec![
            ("BATCHSHARE__DATABASE__URL", db.url.clone()),
            ("BATCHSHARE__BROKER__URL", server("BATCHSHARE_TEST_AMQP_URL")),
            ("BATCHSHARE__BROKER__PREFIX", prefix.clone()),
            ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
            ("BATCHSHARE__WORKER__LISTEN", "127.0.0.1:0".to_owned()),
            ("BATCHSHARE__WORKER__LANE_LEASE_MS", "2000".to_owned()),
            ("BATCHSHARE__RELAY__LEASE_MS", "2000".to_owned()),
        ];
        env.extend(further);
        let (code, out, err) = run(&["keygen"], &env);
        assert_eq!(code, 0, "{err}");
        file(&folder, "key", &out);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, mode).expect("chmod");
        env.push(("BATCHSHARE__VAULT__KEY_FILE", key.display().to_string()));
        let lines = file(&folder, "company.jsonl", &company());
        let (code, _, err) = run(&["import", lines.to_str().expect("a path")], &env);
        assert_eq!(code, 0, "{err}");
        let mut site = Self {
            db,
            env,
            prefix,
            serve: Vec::new(),
            work: Vec::new(),
            addresses: Vec::new(),
            _folder: folder,
        };
        for _ in 0..2 {
            let mut serve = Program::start(&["serve"], &site.env);
            site.addresses.push(serve.address());
            site.serve.push(serve);
            site.work.push(Program::start(&["work"], &site.env));
        }
        for work in &mut site.work {
            work.logged("the worker's health is told", "listen=");
        }
        site
    }

    /// Publishes a body as a foreign program does: no message id, no type, no confirm.
    pub fn amqp_publish(&self, body: &[u8]) {
        let mut child = Command::new("amqp-publish")
            .arg(format!("--url={}", server("BATCHSHARE_TEST_AMQP_URL")))
            .arg(format!("--exchange={}.jobs", self.prefix))
            .args(["--routing-key=job.requested", "--persistent"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("amqp-publish (Debian's amqp-tools)");
        child.stdin.take().expect("stdin").write_all(body).expect("write");
        assert!(child.wait().expect("wait").success());
    }

    fn job(&self, id: &str) -> Value {
        http("GET", &self.addresses[0], &format!("/api/v1/share-jobs/{id}"), "ana", None).1
    }

    fn ended(&self, id: &str) -> Value {
        until("the job's end", 60, || Some(self.job(id)).filter(|job| !job["finished_at"].is_null()))
    }

    fn notices(&self, id: &str) -> Vec<Value> {
        // From the other gateway than the one that was asked for the job.
        let (_, notices) = http("GET", &self.addresses[1], "/api/v1/notices", "ana", None);
        let all = notices["items"].as_array().expect("items").iter();
        all.filter(|notice| notice["job_id"] == id).cloned().collect()
    }

    pub async fn dead(&self, reason: &str) -> i64 {
        self.db.number(&format!("SELECT COUNT(*) FROM dead_letters WHERE reason = '{reason}'")).await
    }

    /// Nothing is under way any more: outbox and queues are empty.
    pub async fn quiet(&self) {
        crate::support::eventually("an empty outbox", 20, async || {
            (self.db.number("SELECT COUNT(*) FROM outbox").await == 0).then_some(())
        })
        .await;
    }
}

fn company() -> String {
    let mut lines = String::new();
    let mut add = |line: Value| lines.push_str(&format!("{line}\n"));
    for id in 1..=22 {
        let name = if id == ANA { "ana".to_owned() } else { format!("user{id}") };
        add(json!({"type": "user", "id": id, "username": name, "name": name, "email": ""}));
    }
    for id in 1_001..=2_200 {
        add(
            json!({"type": "secret", "id": id, "owner": ANA, "name": format!("API {id}"), "url": "https://a.example",
                   "client_id": "ci", "client_secret": "tops3cret-value"}),
        );
    }
    lines
}

pub fn message(
    id: &str,
    secrets: std::ops::RangeInclusive<i64>,
    recipients: std::ops::RangeInclusive<i64>,
) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/mysafe/ui", "type": "batchshare.job.requested.v1",
        "data": {
            "requested_by": ANA,
            "secrets": {"ids": secrets.collect::<Vec<_>>()},
            "recipients": recipients.map(|id| json!({"kind": "user", "id": id})).collect::<Vec<_>>(),
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_published_from_outside_has_one_effect_however_often_it_comes() {
    let site = Site::start().await;
    let id = uuid::Uuid::now_v7().to_string().to_uppercase();
    let body = message(&id, 1_001..=2_200, 3..=22).to_string();
    let id = id.to_lowercase();
    for _ in 0..3 {
        site.amqp_publish(body.as_bytes());
    }
    // On a busy machine it may have ended before anybody looks: then the next message comes after its end.
    until("the job begins", 30, || {
        let job = site.job(&id);
        job["state"].as_str().filter(|state| *state != "queued").map(|_| ())
    });
    site.amqp_publish(body.as_bytes());
    let job = site.ended(&id);
    for _ in 0..2 {
        site.amqp_publish(body.as_bytes());
    }
    assert_eq!(job["state"], "completed");
    assert_eq!(job["counts"], json!({"granted": 24_000, "upgraded": 0, "unchanged": 0, "rejected": 0}));
    assert_eq!(site.db.number("SELECT COUNT(*) FROM grants").await, 24_000);

    // The same id with other content is a dead letter and touches nothing.
    site.amqp_publish(message(&id, 1_001..=1_001, 3..=3).to_string().as_bytes());
    crate::support::eventually("the dead letter", 20, async || {
        (site.dead("id_conflict").await == 1).then_some(())
    })
    .await;
    // Delivered again after a grant was taken back, it does not bring the grant back.
    let path = "/api/v1/secrets/1001/grants/3";
    assert_eq!(http("DELETE", &site.addresses[1], path, "ana", None).0, 204);
    site.amqp_publish(body.as_bytes());
    // Messages of one queue go in turn: when this one is done, the one before it was handled.
    let last = uuid::Uuid::now_v7().to_string();
    site.amqp_publish(message(&last, 1_002..=1_002, 3..=3).to_string().as_bytes());
    assert_eq!(site.ended(&last)["counts"]["unchanged"], 1);
    site.quiet().await;
    assert_eq!(site.db.number("SELECT COUNT(*) FROM grants").await, 23_999);
    assert_eq!(site.job(&id), job, "it is as it was");
    until("the notice", 20, || (site.notices(&id).len() == 1).then_some(()));
    assert_eq!(site.db.number("SELECT COUNT(*) FROM notices").await, 2, "one a job");
    let logs: String = site.serve.iter().chain(&site.work).map(Program::log).collect();
    assert!(!logs.contains("tops3cret"), "no secret value in a log");
    assert!(!logs.contains("panicked"), "{logs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_kept_with_its_reason_and_stops_nobody() {
    let site = Site::start().await;
    let good = uuid::Uuid::now_v7().to_string();
    let fresh = || uuid::Uuid::now_v7().to_string();
    let with = |path: &str, value: Value| {
        let mut body = message(&fresh(), 1_001..=1_002, 3..=4);
        *body.pointer_mut(path).expect("a field") = value;
        body.to_string().into_bytes()
    };
    let without = |path: &str, field: &str| {
        let mut body = message(&fresh(), 1_001..=1_002, 3..=4);
        body.pointer_mut(path).expect("an object").as_object_mut().expect("an object").remove(field);
        body.to_string().into_bytes()
    };
    let poison: Vec<(&str, Vec<u8>)> = vec![
        ("not_json", b"hello".to_vec()),
        ("not_json", b"".to_vec()),
        ("not_json", vec![0xff, 0xfe, 0x00]),
        ("not_json", b"{\"specversion\":\"1.0\"".to_vec()),
        ("not_cloudevent", b"[1,2,3]".to_vec()),
        ("not_cloudevent", without("", "source")),
        ("not_cloudevent", without("", "data")),
        ("not_cloudevent", without("", "specversion")),
        ("unknown_version", with("/type", json!("batchshare.job.requested.v2"))),
        ("unknown_type", with("/type", json!("com.example.other"))),
        ("invalid_field", with("/id", json!("not-a-uuid"))),
        ("invalid_field", with("/data/requested_by", json!(-1))),
        ("invalid_field", with("/data/requested_by", json!(9_007_199_254_740_992_i64))),
        ("invalid_field", with("/data/secrets", json!({"ids": []}))),
        ("invalid_field", with("/data/secrets", json!({"ids": [1.5]}))),
        ("invalid_field", with("/data/secrets", json!({"ids": ["1"]}))),
        ("invalid_field", with("/data/secrets", json!({"ids": [1], "all": {}}))),
        ("invalid_field", with("/data/secrets", json!({"all": {"search": "a\u{0}b"}}))),
        ("invalid_field", with("/data/recipients", json!([]))),
        ("invalid_field", with("/data/recipients/0/kind", json!("robot"))),
        (
            "invalid_field",
            with("/data/recipients/0", json!({"kind": "user", "id": 3, "permission": "owner"})),
        ),
        ("too_large", vec![b' '; 2 * 1024 * 1024 + 1]),
    ];
    for (_, body) in &poison {
        site.amqp_publish(body);
    }
    site.amqp_publish(message(&good, 1_001..=1_002, 3..=4).to_string().as_bytes());
    assert_eq!(site.ended(&good)["state"], "completed", "good jobs keep flowing");
    let total = i64::try_from(poison.len()).expect("a number");
    crate::support::eventually("every poison in the dead letters", 30, async || {
        (site.db.number("SELECT COUNT(*) FROM dead_letters").await == total).then_some(())
    })
    .await;
    for reason in
        ["not_json", "not_cloudevent", "unknown_version", "unknown_type", "invalid_field", "too_large"]
    {
        let expected = poison.iter().filter(|(found, _)| *found == reason).count();
        assert_eq!(site.dead(reason).await, i64::try_from(expected).expect("a number"), "{reason}");
    }
    // A job fails only where the id is a UUID, the requester an id, and the reason one of two.
    let failed = "SELECT COUNT(*) FROM jobs WHERE state = 'failed' AND reason = 'invalid_request'";
    assert_eq!(site.db.number(failed).await, 2 + 8);
    site.quiet().await;
    until("their notices", 20, || {
        let (_, notices) = http("GET", &site.addresses[0], "/api/v1/notices?limit=50", "ana", None);
        (notices["items"].as_array()?.len() == 11).then_some(())
    });
    for program in site.work.iter().chain(&site.serve) {
        assert!(!program.log().contains("panicked"), "{}", program.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_killed_in_the_middle_of_a_large_job_lose_nothing() {
    let mut site = Site::start().await;
    site.env.push(("BATCHSHARE__WORKER__CHUNK_PAIRS", "100".to_owned()));
    site.env.push(("BATCHSHARE__WORKER__SLICE_MS", "20".to_owned()));
    for work in &mut site.work {
        assert_eq!(work.stop(), 0, "a stop finishes the work in hand");
        *work = Program::start(&["work"], &site.env);
    }
    let id = uuid::Uuid::now_v7().to_string();
    site.amqp_publish(message(&id, 1_001..=2_200, 3..=22).to_string().as_bytes());
    for part in 1..=3 {
        until("some progress", 60, || (site.job(&id)["done_pairs"].as_u64()? >= part * 5_000).then_some(()));
        for work in &mut site.work {
            work.kill();
            *work = Program::start(&["work"], &site.env);
        }
    }
    let job = site.ended(&id);
    assert_eq!(job["counts"], json!({"granted": 24_000, "upgraded": 0, "unchanged": 0, "rejected": 0}));
    assert_eq!(site.db.number("SELECT COUNT(*) FROM grants").await, 24_000);
    site.quiet().await;
    until("the notice", 20, || (site.notices(&id).len() == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_allowed_publishers_ask_for_jobs_where_there_is_a_list() {
    let allowed = ("BATCHSHARE__WORKER__ALLOWED_PUBLISHERS", "mysafe-ui".to_owned());
    let site = Site::start_with(vec![allowed]).await;
    // amqp-publish says nothing of who it is.
    let id = uuid::Uuid::now_v7().to_string();
    site.amqp_publish(message(&id, 1_001..=1_001, 3..=3).to_string().as_bytes());
    crate::support::eventually("the dead letter", 20, async || {
        (site.dead("publisher_not_allowed").await == 1).then_some(())
    })
    .await;
    assert_eq!(http("GET", &site.addresses[0], &format!("/api/v1/share-jobs/{id}"), "ana", None).0, 404);
    // Our own gateway may.
    let body = json!({"secrets": {"ids": [1_001]}, "recipients": [{"kind": "user", "id": 3}]});
    let (status, job) = http("POST", &site.addresses[0], "/api/v1/share-jobs", "ana", Some(&body));
    assert_eq!(status, 202);
    assert_eq!(site.ended(job["job_id"].as_str().expect("an id"))["state"], "completed");
}
