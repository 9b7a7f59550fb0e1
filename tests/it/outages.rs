//! Servers that are away or do not answer: what people and operators see meanwhile, and that work goes
//! on by itself afterwards, with no attempt counted.

use std::time::{Duration, Instant};

use batchshare::db::{Clock, Db, DbError, DbOptions, Target};
use serde_json::{Value, json};

use crate::chaos::relay::{Mode, Silence, TcpRelay};
use crate::held::Psql;
use crate::process::{Env, Program, http, until};
use crate::production::Site;
use crate::support::{Kind, TestDb, eventually, server};

/// A gateway and a worker behind relays, on a site of its own.
struct Away {
    site: Site,
    pg: TcpRelay,
    mq: TcpRelay,
    gateway: String,
    health: String,
    /// They run as long as this is there.
    _programs: [Program; 2],
}

pub fn port(url: &str) -> u16 {
    let place = url.rsplit_once('@').expect("a user").1;
    place
        .split(['/', '?'])
        .next()
        .and_then(|place| place.rsplit_once(':'))
        .expect("a port")
        .1
        .parse()
        .expect("a port")
}

pub fn through(url: &str, relay: &TcpRelay) -> String {
    url.replace(&format!(":{}/", port(url)), &format!(":{}/", relay.port))
}

impl Away {
    async fn start() -> Self {
        let mut site = Site::start().await;
        // The site's own roles would do the work in our place.
        for program in site.serve.iter_mut().chain(&mut site.work) {
            assert_eq!(program.stop(), 0);
        }
        let amqp = server("BATCHSHARE_TEST_AMQP_URL");
        let (pg, mq) = (TcpRelay::start(port(&site.db.url)).await, TcpRelay::start(port(&amqp)).await);
        let mut env: Env = site.env.clone();
        env.retain(|(name, _)| !name.ends_with("__URL"));
        env.push(("BATCHSHARE__DATABASE__URL", through(&site.db.url, &pg)));
        env.push(("BATCHSHARE__BROKER__URL", through(&amqp, &mq)));
        env.push(("BATCHSHARE__BROKER__HEARTBEAT_S", "2".to_owned()));
        env.push(("BATCHSHARE__BROKER__OPERATION_TIMEOUT_MS", "3000".to_owned()));
        env.push(("BATCHSHARE__DATABASE__CALL_TIMEOUT_MS", "3000".to_owned()));
        env.push(("BATCHSHARE__DATABASE__STATEMENT_TIMEOUT_MS", "3000".to_owned()));
        env.push(("BATCHSHARE__DATABASE__LOCK_TIMEOUT_MS", "3000".to_owned()));
        env.push(("BATCHSHARE__DATABASE__READ_TIMEOUT_MS", "3000".to_owned()));
        env.push(("BATCHSHARE__DATABASE__CONNECT_TIMEOUT_S", "2".to_owned()));
        let (mut serve, mut work) = (Program::start(&["serve"], &env), Program::start(&["work"], &env));
        let gateway = serve.address();
        let health = work.logged("the worker's health is told", "listen=");
        let health = health.trim_start_matches("Some(").trim_end_matches(')').to_owned();
        Self { site, pg, mq, gateway, health, _programs: [serve, work] }
    }

    fn share(&self, secret: i64) -> (u16, Value) {
        let body = json!({"secrets": {"ids": [secret]}, "recipients": [{"kind": "user", "id": 3}]});
        http("POST", &self.gateway, "/api/v1/share-jobs", "ana", Some(&body))
    }

    fn ready(&self, address: &str) -> (u16, Value) {
        http("GET", address, "/readyz", "ana", None)
    }

    fn ended(&self, id: &Value) -> Value {
        let path = format!("/api/v1/share-jobs/{}", id.as_str().expect("an id"));
        until("the job's end", 40, || {
            let (status, job) = http("GET", &self.gateway, &path, "ana", None);
            (status == 200 && !job["finished_at"].is_null()).then_some(job)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_broker_jobs_are_accepted_and_run_when_it_is_back() {
    let away = Away::start().await;
    let (_, first) = away.share(1_001);
    assert_eq!(away.ended(&first["job_id"])["state"], "completed");
    for mode in [Mode::Cut, Mode::Stall] {
        away.mq.set(mode);
        until("the worker is not ready", 20, || (away.ready(&away.health).0 == 503).then_some(()));
        let (status, body) = away.ready(&away.health);
        assert_eq!((status, &body["broker"], &body["database"]), (503, &json!("unavailable"), &json!("ok")));
        let (status, body) = away.ready(&away.gateway);
        assert_eq!((status, &body["broker"]), (200, &json!("degraded")), "{body}");
        let asked = Instant::now();
        let (status, job) = away.share(1_002);
        assert_eq!(status, 202);
        assert!(asked.elapsed() < Duration::from_secs(2), "nobody waits for the broker");
        away.mq.set(Mode::Flow);
        let job = away.ended(&job["job_id"]);
        assert_eq!((&job["state"], &job["attempts"]), (&json!("completed"), &json!(0)));
        until("the worker is ready", 20, || (away.ready(&away.health).0 == 200).then_some(()));
    }
}

/// A failover behind a proxy that keeps the old connections alive: nothing ends them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fall_silent_for_ever_keep_no_place_in_the_pool() {
    let test = TestDb::new(Kind::Postgres).await;
    let relay = TcpRelay::start(port(&test.url)).await;
    let options = DbOptions { pool_size: 4, call_timeout: Duration::from_millis(1_500), ..options() };
    let target = Target::parse(&through(&test.url, &relay)).expect("a URL");
    let places = options.pool_size;
    let db = Db::new(target, options, Clock::default());
    let all_at_once = async || {
        let gate = std::sync::Arc::new(std::sync::Barrier::new(places));
        let calls = (0..places).map(|_| {
            let gate = gate.clone();
            // As many connections as there are places: each call waits for the others.
            db.write(move |_| Ok(gate.wait()))
        });
        futures_util::future::join_all(calls).await
    };
    assert!(all_at_once().await.iter().all(Result::is_ok));
    relay.silence_open(Silence::ForEver);
    let silent = all_at_once().await;
    assert!(silent.iter().all(|call| matches!(call, Err(DbError::Deadline(_)))), "{silent:?}");
    let again = all_at_once().await;
    assert!(again.iter().all(Result::is_ok), "{again:?}");
    assert_eq!(db.abandoned(), places as u64, "their threads wait for an answer still");
    relay.set(Mode::Cut);
    eventually("no thread waits", 30, async || (db.abandoned() == 0).then_some(())).await;
}

/// A handle on a database with further options, and its sessions' process ids.
async fn sessions(db: &Db, count: usize) -> Vec<i64> {
    use diesel::prelude::*;
    #[derive(diesel::QueryableByName)]
    struct Session {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        pid: i32,
    }
    let gate = std::sync::Arc::new(std::sync::Barrier::new(count));
    let calls = (0..count).map(|_| {
        let gate = gate.clone();
        db.write(move |conn| {
            gate.wait();
            Ok(i64::from(
                diesel::sql_query("SELECT pg_backend_pid() AS pid").get_result::<Session>(conn)?.pid,
            ))
        })
    });
    let mut pids: Vec<i64> = futures_util::future::try_join_all(calls).await.expect("sessions");
    pids.sort_unstable();
    pids
}

/// A balancer's limit on idle connections, an administrator, a server that was restarted: nobody hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_while_they_are_idle_cost_nobody_an_answer() {
    let test = TestDb::new(Kind::Postgres).await;
    let target = Target::parse(&test.url).expect("a URL");
    let db = Db::new(target, DbOptions { pool_size: 3, ..options() }, Clock::default());
    for reading in [false, true] {
        let pids = sessions(&db, 3).await;
        for pid in &pids {
            test.number(&format!("SELECT COUNT(*) FROM (SELECT pg_terminate_backend({pid})) AS x")).await;
        }
        let alive = format!(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = ANY('{{{}}}')",
            pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        );
        eventually("no session", 20, async || (test.number(&alive).await == 0).then_some(())).await;
        if reading {
            // What was used a moment ago is not tested before it reads.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            db.read(|_| Ok(())).await.expect("a session");
            db.ping().await.expect("a read");
        } else {
            db.write(|_| Ok(())).await.expect("a write");
        }
        assert_ne!(sessions(&db, 3).await, pids);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_closed_at_its_age() {
    let test = TestDb::new(Kind::Postgres).await;
    let target = Target::parse(&test.url).expect("a URL");
    let short = Duration::from_millis(400);
    let db = Db::new(target, DbOptions { pool_size: 1, max_lifetime: short, ..options() }, Clock::default());
    let first = sessions(&db, 1).await;
    assert_eq!(sessions(&db, 1).await, first, "it is used again while it is young");
    eventually("another session", 20, async || (sessions(&db, 1).await != first).then_some(())).await;
}

/// A disk that is full, a standby that stands still: every question is answered and nothing is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_answers_and_keeps_nothing_is_not_ready() {
    let away = Away::start().await;
    let mut psql = Psql::connect(&away.site.db.url);
    psql.sql("BEGIN; LOCK TABLE write_checks IN ACCESS EXCLUSIVE MODE");
    for address in [&away.gateway, &away.health] {
        let (_, body) = until("it is not ready", 60, || Some(away.ready(address)).filter(|(s, _)| *s == 503));
        assert_eq!(body["database"], "unavailable", "{body}");
    }
    psql.sql("ROLLBACK");
    for address in [&away.gateway, &away.health] {
        until("it is ready", 60, || Some(away.ready(address)).filter(|(s, _)| *s == 200));
    }
}

fn options() -> DbOptions {
    crate::support::settings("sqlite://unused.db").db_options()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_people_are_told_to_come_again_and_nothing_is_counted() {
    let away = Away::start().await;
    let (_, first) = away.share(1_001);
    away.ended(&first["job_id"]);
    for mode in [Mode::Cut, Mode::Stall] {
        away.pg.set(mode);
        let (status, problem) = away.share(1_003);
        assert_eq!((status, problem["status"].as_u64()), (503, Some(503)), "{problem}");
        for address in [&away.gateway, &away.health] {
            let (status, body) = away.ready(address);
            assert_eq!((status, &body["database"]), (503, &json!("unavailable")));
        }
        away.pg.set(Mode::Flow);
        let (status, job) =
            until("the gateway answers", 30, || Some(away.share(1_004)).filter(|(s, _)| *s == 202));
        assert_eq!(status, 202);
        let job = away.ended(&job["job_id"]);
        assert_eq!((&job["state"], &job["attempts"]), (&json!("completed"), &json!(0)));
    }
    assert_eq!(away.site.db.number("SELECT COUNT(*) FROM dead_letters").await, 0);
}
