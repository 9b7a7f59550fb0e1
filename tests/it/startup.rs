//! What ends the program at once with one clear line, and what it waits for.

use std::net::TcpListener;

use serde_json::json;

use crate::process::{Env, Program, file, http, run, until};
use crate::support::{Kind, TestDb, admin_sql, server, unique, with_database};

/// The production shape with a key, on a migrated database.
pub struct Site {
    db: TestDb,
    pub env: Env,
    folder: tempfile::TempDir,
}

impl Site {
    pub async fn new() -> Self {
        let db = TestDb::new(Kind::Postgres).await;
        let folder = tempfile::tempdir().expect("a folder");
        let (_, key, _) = run(&["keygen"], &Vec::new());
        let path = file(&folder, "key", &key);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("chmod");
        let env = vec![
            ("BATCHSHARE__DATABASE__URL", db.url.clone()),
            ("BATCHSHARE__BROKER__URL", server("BATCHSHARE_TEST_AMQP_URL")),
            ("BATCHSHARE__BROKER__PREFIX", unique("start")),
            ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
            ("BATCHSHARE__VAULT__KEY_FILE", path.display().to_string()),
        ];
        Self { db, env, folder }
    }

    pub fn with(&self, name: &'static str, value: impl Into<String>) -> Env {
        let mut env = self.env.clone();
        env.retain(|(found, _)| *found != name);
        env.push((name, value.into()));
        env
    }
}

/// Ends at once with one line that has these words, and none of the others.
pub fn ends(args: &[&str], env: &Env, words: &[&str], never: &[&str]) -> i32 {
    let mut program = Program::start(args, env);
    let code = program.wait();
    // What it wrote last may be read a moment after it has ended.
    let log = until("a line", 20, || Some(program.log()).filter(|log| !log.is_empty()));
    assert_ne!(code, 0, "{log}");
    assert_eq!(log.lines().count(), 1, "one line: {log}");
    assert!(words.iter().all(|word| log.contains(word)), "{words:?} in: {log}");
    assert!(!never.iter().any(|word| log.contains(word)), "{never:?} not in: {log}");
    code
}

fn password(url: &str) -> String {
    let user = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).expect("a user").0;
    user.split_once(':').expect("a password").1.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_told() {
    let site = Site::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let env = site.with("BATCHSHARE__GATEWAY__LISTEN", &address);
    ends(&["serve"], &env, &[&address, "gateway.listen"], &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_of_the_database_is_told_and_not_shown() {
    let site = Site::new().await;
    let wrong = site.db.url.replace(&password(&site.db.url), "wr0ng-password");
    for role in ["serve", "work"] {
        let env = site.with("BATCHSHARE__DATABASE__URL", &wrong);
        ends(&[role], &env, &["password authentication failed"], &["wr0ng"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_of_the_broker_is_told_and_not_shown() {
    let site = Site::new().await;
    let url = server("BATCHSHARE_TEST_AMQP_URL").replace("guest:guest@", "guest:wr0ng-password@");
    let env = site.with("BATCHSHARE__BROKER__URL", url);
    ends(&["work"], &env, &["refuses"], &["wr0ng"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_older_than_the_program_is_told() {
    let site = Site::new().await;
    batchshare::db::revert_all(&site.db.db).await.expect("revert");
    assert_eq!(ends(&["work"], &site.env, &["batchshare migrate"], &[]), 2);
    let mut program = Program::start(&["serve", "--migrate"], &site.env);
    program.address();
    assert_eq!(program.stop(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topology_that_contradicts_names_the_queue() {
    let site = Site::new().await;
    let prefix = unique("contradict");
    let queue = format!("{prefix}.jobs");
    let declared = std::process::Command::new("amqp-declare-queue")
        .args([
            format!("--url={}", server("BATCHSHARE_TEST_AMQP_URL")),
            format!("--queue={queue}"),
            "-d".to_owned(),
        ])
        .output()
        .expect("amqp-declare-queue");
    assert!(declared.status.success());
    let env = site.with("BATCHSHARE__BROKER__PREFIX", prefix);
    ends(&["work"], &env, &[&queue, "x-"], &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_for_everybody_needs_a_proxy_with_a_secret() {
    let site = Site::new().await;
    let env = site.with("BATCHSHARE__GATEWAY__LISTEN", "0.0.0.0:0");
    ends(&["serve"], &env, &["auth.mode is demo", "loopback"], &[]);
    let mut env = site.with("BATCHSHARE__AUTH__MODE", "proxy");
    let short = file(&site.folder, "secret", "too-short");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&short, mode).expect("chmod");
    env.push(("BATCHSHARE__AUTH__PROXY__SECRET_FILE", short.display().to_string()));
    ends(&["serve"], &env, &["32"], &["too-short"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_away_are_waited_for() {
    let site = Site::new().await;
    // Nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let env = site.with("BATCHSHARE__BROKER__URL", format!("amqp://guest:guest@127.0.0.1:{free}/%2f"));
    let mut program = Program::start(&["work"], &env);
    program.logged("waiting for the broker", "waiting");
    assert_eq!(program.stop(), 0, "a signal ends the wait");
    let env = site.with("BATCHSHARE__DATABASE__URL", format!("postgres://x:y@127.0.0.1:{free}/none"));
    let mut program = Program::start(&["work"], &env);
    program.logged("waiting for the database", "waiting");
    // One line, though it tries many times a minute.
    let tries = std::time::Instant::now();
    until("a second", 5, || (tries.elapsed().as_millis() > 1_500).then_some(()));
    assert_eq!(program.log().matches("waiting for the database").count(), 1, "{}", program.log());
    assert_eq!(program.stop(), 0);
    let (code, _, err) = run(&["jobs", "list"], &env);
    assert_eq!(code, 6, "{err}");
}

/// A database or a role of a test's own, which goes with the value.
struct Own {
    name: String,
    what: &'static str,
}

impl Own {
    fn new(what: &'static str, options: &str) -> Self {
        let name = unique("own");
        admin_sql(&server("BATCHSHARE_TEST_PG_URL"), &format!("CREATE {what} {name} {options}"));
        Self { name, what }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let force = if self.what == "DATABASE" { "WITH (FORCE)" } else { "" };
        admin_sql(&server("BATCHSHARE_TEST_PG_URL"), &format!("DROP {} {} {force}", self.what, self.name));
    }
}

/// Where some text cannot be kept, the message that has it would come back for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_keep_every_text_is_refused() {
    let site = Site::new().await;
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let options = format!("ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        let own = Own::new("DATABASE", &options);
        let env = site.with("BATCHSHARE__DATABASE__URL", with_database(&site.db.url, &own.name));
        for args in [&["serve"][..], &["work"], &["serve", "--migrate"], &["migrate"], &["jobs", "list"]] {
            ends(args, &env, &[encoding, "needs UTF8", &own.name], &[]);
        }
    }
}

/// Least privilege: who runs the program need not be who makes its tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_create_nothing_runs_everything_but_a_migration() {
    let site = Site::new().await;
    let role = Own::new("ROLE", "LOGIN PASSWORD 'of-a-test'");
    let name = &role.name;
    site.db
        .sql(&format!(
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO {name}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}"
        ))
        .await;
    let (_, place) = site.db.url.rsplit_once('@').expect("a user");
    let mut env = site.with("BATCHSHARE__DATABASE__URL", format!("postgres://{name}:of-a-test@{place}"));
    env.push(("BATCHSHARE__WORKER__LISTEN", "127.0.0.1:0".to_owned()));
    let people = [1, 2]
        .map(|id| json!({"type": "user", "id": id, "username": format!("u{id}"), "name": "x", "email": ""}));
    let secret = json!({"type": "secret", "id": 101, "owner": 1, "name": "s", "url": "https://a.example", "client_id": "c"});
    let lines = file(&site.folder, "lines", &format!("{}\n{}\n{secret}\n", people[0], people[1]));
    let (code, _, err) = run(&["import", lines.to_str().expect("a path")], &env);
    assert_eq!(code, 0, "{err}");
    let (mut serve, mut work) = (Program::start(&["serve"], &env), Program::start(&["work"], &env));
    let address = serve.address();
    let body = json!({"secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 2}]});
    let (status, job) = http("POST", &address, "/api/v1/share-jobs", "u1", Some(&body));
    assert_eq!(status, 202, "{job}");
    until("the job's end", 60, || {
        let (code, out, err) = run(&["jobs", "list", "--json"], &env);
        assert_eq!(code, 0, "{err}");
        out.contains("completed").then_some(())
    });
    let ready = || http("GET", &address, "/readyz", "u1", None).0;
    until("it is ready", 30, || (ready() == 200).then_some(()));
    for program in [&mut serve, &mut work] {
        assert_eq!(program.stop(), 0, "{}", program.log());
    }
    // The table in which migrations are kept is not its own, and there is nothing to do.
    let (code, out, err) = run(&["migrate"], &env);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    batchshare::db::revert_all(&site.db.db).await.expect("revert");
    let (code, _, err) = run(&["migrate"], &env);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("permission denied"), "{err}");
    site.db.sql(&format!("DROP OWNED BY {name}")).await;
}

/// What an administrator has set for everybody does not change what a session of ours is made for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_database_change_nothing() {
    let site = Site::new().await;
    let name = site.db.url.rsplit_once('/').expect("a database").1.to_owned();
    for setting in [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "statement_timeout = '3ms'",
        "lock_timeout = '1ms'",
        "idle_session_timeout = '200ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "synchronous_commit = off",
        "timezone = 'America/Sao_Paulo'",
        "standard_conforming_strings = off",
    ] {
        site.db.sql(&format!("ALTER DATABASE {name} SET {setting}")).await;
    }
    crate::fixtures::Fixture::new()
        .user(1, "ana")
        .user(3, "bruno")
        .secrets(1, 101..=180)
        .load(&site.db)
        .await;
    let (mut serve, mut work) = (Program::start(&["serve"], &site.env), Program::start(&["work"], &site.env));
    work.logged("synchronous_commit is off", "");
    let address = &serve.address();
    std::thread::scope(|scope| {
        for client in 0..8 {
            scope.spawn(move || {
                for secret in 0..10 {
                    let recipients = json!([{"kind": "user", "id": 3}]);
                    let body =
                        json!({"secrets": {"ids": [101 + client * 10 + secret]}, "recipients": recipients});
                    let (status, job) = http("POST", address, "/api/v1/share-jobs", "ana", Some(&body));
                    assert_eq!(status, 202, "{job}");
                }
            });
        }
    });
    let done = "SELECT COUNT(*) FROM jobs WHERE state = 'completed' AND failures = 0";
    crate::support::eventually("80 jobs", 60, async || (site.db.number(done).await == 80).then_some(()))
        .await;
    for program in [&mut serve, &mut work] {
        assert_eq!(program.stop(), 0, "{}", program.log());
        assert!(!program.log().contains("ERROR"), "{}", program.log());
    }
}

/// A replica after a failover, until it is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_yet_is_waited_for() {
    let site = Site::new().await;
    let name = site.db.url.rsplit_once('/').expect("a database").1;
    let read_only =
        |value: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
    site.db.sql(&read_only("on")).await;
    let mut programs = [&["work"][..], &["serve", "--migrate"]].map(|args| Program::start(args, &site.env));
    for program in &mut programs {
        program.logged("waiting for the database", "");
    }
    site.db.sql(&read_only("off")).await;
    programs[1].address();
    for program in &mut programs {
        assert_eq!(program.stop(), 0, "{}", program.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_broker_is_for_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let env =
        vec![("BATCHSHARE__DATABASE__URL", format!("sqlite://{}", folder.path().join("b.db").display()))];
    for role in ["serve", "work"] {
        assert_eq!(ends(&[role], &env, &["batchshare up", "amqp://"], &[]), 2);
    }
}

/// They start themselves once more for it, and look to others as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_that_is_freed_goes_back_to_the_system_unless_the_operator_says_how() {
    let site = Site::new().await;
    let of = |program: &Program, what| {
        std::fs::read_to_string(format!("/proc/{}/{what}", program.pid())).expect("the process is there")
    };
    for (tunables, expected) in [
        (None, "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=262144"),
        (Some("glibc.malloc.arena_max=3"), "GLIBC_TUNABLES=glibc.malloc.arena_max=3"),
    ] {
        let mut env = site.env.clone();
        env.extend(tunables.map(|tunables| ("GLIBC_TUNABLES", tunables.to_owned())));
        let mut program = Program::start(&["serve", "--migrate"], &env);
        program.address();
        assert!(of(&program, "environ").split('\0').any(|variable| variable == expected), "{tunables:?}");
        assert_eq!(of(&program, "comm").trim(), "batchshare");
        assert!(of(&program, "cmdline").ends_with("batchshare\0serve\0--migrate\0"));
        assert_eq!(program.stop(), 0);
    }
}

/// A build without TLS would speak to such a server in the clear, password and all.
#[cfg(not(feature = "tls"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_in_the_build_what_asks_for_it_is_refused_and_nothing_is_sent() {
    let site = Site::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("not blocking");
    let address = listener.local_addr().expect("its number");
    let broker = format!("amqps://me:Wr0ng-secret@{address}/%2f");
    let mut cases = vec![("BATCHSHARE__BROKER__URL", broker, "broker.url")];
    for query in ["sslmode=require", "connect_timeout=3&sslmode=verify-ca", "sslmode=verify-full", "ssl=true"]
    {
        let url = format!("postgres://me:Wr0ng-secret@{address}/batchshare?{query}");
        cases.push(("BATCHSHARE__DATABASE__URL", url, "database.url"));
    }
    for (name, url, key) in cases {
        for args in [&["serve"][..], &["work"], &["migrate"], &["topology", "--declare"], &["jobs", "list"]] {
            let env = site.with(name, url.clone());
            let err = is_refused(args, &env);
            assert!([key, "without TLS", "--features tls"].iter().all(|word| err.contains(word)), "{err}");
        }
    }
    let nobody = listener.accept().expect_err("nothing is sent");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_urls_in_one_are_refused_and_not_told() {
    let site = Site::new().await;
    for url in [
        "amqp://me:Wr0ng@a/v,amqp://me:Wr0ng@b/v",
        "amqp://me:Wr0ng@a,,b/v",
        "amqp://me:Wr0ng@a:1,me:Wr0ng@b/v",
    ] {
        let err = is_refused(&["work"], &site.with("BATCHSHARE__BROKER__URL", url));
        assert!(err.contains("broker.url must look like") && err.contains("host1:5672,host2:5672"), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_authorities_that_is_of_no_use_is_told() {
    let mut site = Site::new().await;
    site.env.push(("BATCHSHARE__BROKER__CA_FILE", "/nonexistent/ca.pem".to_owned()));
    let err = is_refused(&["work"], &site.env);
    assert!(err.contains("broker.ca_file") && err.contains("amqps://"), "{err}");
}

/// Ends at once with 2 and one line, which it gives, without the password.
fn is_refused(args: &[&str], env: &Env) -> String {
    let (code, out, err) = run(args, env);
    assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 1), "{args:?}: {err}");
    assert!(!err.contains("Wr0ng"), "{err}");
    err
}
