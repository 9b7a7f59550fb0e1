//! Stopping a process: what is finished, what is sent, and that nothing can keep it from ending.

use std::time::{Duration, Instant};

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use serde_json::json;

use crate::process::{Env, Program, http};
use crate::production::Site;

/// A worker with a job in hand that goes on when the lock is given up.
struct InHand {
    site: Site,
    work: Program,
    job: String,
    lock: diesel::PgConnection,
}

impl InHand {
    async fn new(further: Env) -> Self {
        let minute = "60000".to_owned();
        let mut site = Site::start_with(vec![
            ("BATCHSHARE__DATABASE__LOCK_TIMEOUT_MS", minute.clone()),
            ("BATCHSHARE__DATABASE__STATEMENT_TIMEOUT_MS", minute.clone()),
            ("BATCHSHARE__DATABASE__CALL_TIMEOUT_MS", minute),
        ])
        .await;
        for work in &mut site.work {
            assert_eq!(work.stop(), 0);
        }
        let mut env = site.env.clone();
        env.extend(further);
        let mut work = Program::start(&["work"], &env);
        work.logged("the worker's health is told", "listen=");
        let lock = locked(&site.db.url, "LOCK TABLE grants");
        let body = json!({"secrets": {"ids": [1_001, 1_002]}, "recipients": [{"kind": "user", "id": 3}]});
        let (status, job) = http("POST", &site.addresses[0], "/api/v1/share-jobs", "ana", Some(&body));
        assert_eq!(status, 202);
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                       AND datname = current_database()";
        crate::support::eventually("the worker waits for the lock", 20, async || {
            (site.db.number(waiting).await == 1).then_some(())
        })
        .await;
        // Nobody but the worker sends what it has to say.
        for serve in &mut site.serve {
            assert_eq!(serve.stop(), 0);
        }
        let job = job["job_id"].as_str().expect("an id").to_owned();
        Self { site, work, job, lock }
    }

    async fn state(&self) -> Vec<String> {
        let sql = format!("SELECT state || ' ' || granted AS t FROM jobs WHERE job_id = '{}'", self.job);
        self.site.db.texts(&sql).await
    }

    /// What was left is done by the next worker, with no attempt counted.
    async fn ends(&mut self) {
        self.lock.batch_execute("ROLLBACK").expect("rollback");
        let mut next = Program::start(&["work"], &self.site.env);
        crate::support::eventually("the job's end", 30, async || {
            (self.state().await == ["completed 2"]).then_some(())
        })
        .await;
        let counted = "SELECT COALESCE(SUM(failures), 0) + (SELECT COUNT(*) FROM dead_letters) FROM jobs";
        assert_eq!(self.site.db.number(counted).await, 0);
        assert_eq!(next.stop(), 0);
    }
}

/// A connection that has a lock until it is told to roll back.
fn locked(url: &str, sql: &str) -> diesel::PgConnection {
    let mut connection = diesel::PgConnection::establish(url).expect("the private PostgreSQL answers");
    connection.batch_execute("BEGIN").expect("begin");
    connection.batch_execute(sql).expect("a lock");
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_finishes_what_it_has_in_hand_and_sends_its_outbox() {
    let mut in_hand = InHand::new(Vec::new()).await;
    in_hand.work.signal("INT");
    in_hand.work.logged("stopping", "");
    in_hand.lock.batch_execute("ROLLBACK").expect("rollback");
    assert_eq!(in_hand.work.wait(), 0);
    assert_eq!(in_hand.state().await, ["completed 2"]);
    // Of the terminal event: nobody else was there to send it.
    assert_eq!(in_hand.site.db.number("SELECT COUNT(*) FROM outbox").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once_and_loses_nothing() {
    let mut in_hand = InHand::new(Vec::new()).await;
    in_hand.work.signal("TERM");
    in_hand.work.logged("stopping", "");
    in_hand.work.signal("INT");
    let asked = Instant::now();
    assert_eq!(in_hand.work.wait(), 0);
    assert!(asked.elapsed() < Duration::from_secs(10), "the deadline is 25 s");
    assert!(in_hand.work.log().contains("stopped at once"), "{}", in_hand.work.log());
    in_hand.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_ends_what_does_not_finish_and_loses_nothing() {
    let deadline = vec![("BATCHSHARE__SHUTDOWN__DEADLINE_MS", "300".to_owned())];
    let mut in_hand = InHand::new(deadline).await;
    assert_eq!(in_hand.work.stop(), 0);
    assert!(in_hand.work.log().contains("not everything was finished in time"), "{}", in_hand.work.log());
    in_hand.ends().await;
}

/// The database has logged us in and then says nothing: here, somebody else migrates for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_a_start_that_waits_for_a_silent_server() {
    let mut site = Site::start().await;
    assert_eq!(site.serve[0].stop(), 0);
    let _lock = locked(&site.db.url, "SELECT pg_advisory_lock(7220230)");
    let mut serve = Program::start(&["serve", "--migrate"], &site.env);
    let waiting = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    crate::support::eventually("it waits", 20, async || (site.db.number(waiting).await == 1).then_some(()))
        .await;
    assert_eq!(serve.stop(), 0);
    assert!(serve.log().contains("stopped before it was ready"), "{}", serve.log());
}

/// Each role: `up` on a file, `serve` and `work` on servers. Other programs read their settings anew, or
/// open their logs, at these signals; here they end nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_that_mean_nothing_end_nothing_while_a_role_runs() {
    let mut site = Site::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut up = Program::start(
        &["up"],
        &vec![
            ("BATCHSHARE__DATABASE__URL", format!("sqlite://{}", folder.path().join("b.db").display())),
            ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
        ],
    );
    let addresses = [up.address(), site.addresses[0].clone()];
    for program in [&mut up, &mut site.serve[0], &mut site.work[0]] {
        for signal in ["HUP", "USR1", "USR2"] {
            program.signal(signal);
            program.logged(&format!("SIG{signal}"), "");
            program.signal(signal);
        }
    }
    for address in &addresses {
        assert_eq!(http("GET", address, "/api/v1/me", "ana", None).0, 200);
    }
    for program in [&mut up, &mut site.serve[0], &mut site.work[0]] {
        assert_eq!(program.stop(), 0, "{}", program.log());
        for signal in ["SIGHUP", "SIGUSR1", "SIGUSR2"] {
            assert_eq!(program.log().matches(signal).count(), 1, "told once: {}", program.log());
        }
    }
}

/// A command that does one thing is ended by them as any other program, so that a closed terminal leaves
/// none behind.
#[test]
fn signals_end_a_command_that_does_one_thing() {
    use std::os::unix::process::ExitStatusExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let env =
        vec![("BATCHSHARE__DATABASE__URL", format!("sqlite://{}", folder.path().join("b.db").display()))];
    assert_eq!(crate::process::run(&["migrate"], &env).0, 0);
    for (name, number) in [("HUP", 1), ("USR1", 10), ("USR2", 12)] {
        // It reads a stdin that says nothing.
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_batchshare"))
            .args(["import", "-"])
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        let sent =
            std::process::Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        assert_eq!(child.wait().expect("it ends").signal(), Some(number));
    }
}

/// Whoever read the log is gone: lines are lost, and nothing else.
#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    use std::io::{BufRead as _, BufReader};
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_batchshare"))
            .arg("up")
            .env("BATCHSHARE__DATABASE__URL", format!("sqlite://{}", folder.path().join("b.db").display()))
            .env("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0")
            .env("BATCHSHARE__LOG__FORMAT", format)
            .env("BATCHSHARE__LOG__FILTER", "debug")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut log = BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("the gateway listens")).expect("it listens");
        let at = line.find("127.0.0.1:").expect("an address");
        let address: String = line[at..].chars().take_while(|c| !"\" ,".contains(*c)).collect();
        drop(log);
        drop(child.stdout.take());
        let body = json!({"secrets": {"all": {"tag": "prod"}}, "recipients": [{"kind": "user", "id": 2}]});
        for _ in 0..3 {
            let (status, job) = http("POST", &address, "/api/v1/share-jobs", "ana", Some(&body));
            assert_eq!(status, 202);
            let path = format!("/api/v1/share-jobs/{}", job["job_id"].as_str().expect("an id"));
            crate::process::until("its end, which is logged", 30, || {
                let job = http("GET", &address, &path, "ana", None).1;
                (!job["finished_at"].is_null()).then_some(())
            });
        }
        assert!(child.try_wait().expect("a child").is_none(), "it runs on");
        let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
    }
}
