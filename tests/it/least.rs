//! The least users: what deploy/ makes is what the program needs, no more and no less. Tried with the real
//! servers, since no container is started here.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use serde_json::{Value, json};

use crate::process::{Env, Program, file, http, run, until};
use crate::support::{Kind, TestDb, server, unique};

fn deploy(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What deploy/make-secrets makes in a folder of the test's own: the content of each file.
fn secrets(folder: &tempfile::TempDir) -> BTreeMap<String, String> {
    let (script, into) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/make-secrets"), folder.path().join("secrets"));
    let made = Command::new(&script).arg(&into).output().expect("make-secrets");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(made.stdout.is_empty(), "no secret is printed");
    let again = Command::new(script).arg(&into).output().expect("make-secrets");
    assert_eq!(again.status.code(), Some(1), "what is there is never replaced");
    let files = std::fs::read_dir(into).expect("the folder");
    files
        .map(|entry| {
            let entry = entry.expect("an entry");
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&entry.metadata().expect("a file").permissions());
            assert_eq!(mode & 0o777, 0o600, "{entry:?}");
            (
                entry.file_name().into_string().expect("a name"),
                std::fs::read_to_string(entry.path()).expect("text"),
            )
        })
        .collect()
}

/// Configure, write and read of a user of the definitions.
fn permissions(definitions: &Value, user: &str) -> [String; 3] {
    let all = definitions["permissions"].as_array().expect("permissions");
    let of = all.iter().find(|of| of["user"] == user).expect("the user's");
    ["configure", "write", "read"].map(|what| of[what].as_str().expect("a pattern").to_owned())
}

#[test]
fn the_permissions_of_the_definitions_are_those_that_topology_prints() {
    let folder = tempfile::tempdir().expect("a folder");
    let secrets = secrets(&folder);
    let definitions: Value = serde_json::from_str(&secrets["rabbitmq_definitions"]).expect("JSON");
    let (code, topology, _) = run(&["topology"], &Env::new());
    assert_eq!(code, 0);
    for user in ["batchshare", "batchshare-ui"] {
        let patterns = permissions(&definitions, user).map(|pattern| format!("'{pattern}'")).join(" ");
        let line = format!("rabbitmqctl set_permissions -p '/' {user} {patterns}");
        assert!(topology.lines().any(|found| found == line), "{line}\nis not in\n{topology}");
    }
    for user in definitions["users"].as_array().expect("users") {
        let tags = if user["name"] == "admin" { json!(["administrator"]) } else { json!([]) };
        assert_eq!(user["tags"], tags);
    }
    // Every password is its own.
    let values: std::collections::BTreeSet<&String> = secrets.values().collect();
    assert_eq!(values.len(), secrets.len());
}

/// Users of RabbitMQ and roles of PostgreSQL, gone with the value.
struct Least {
    user: String,
    role: String,
}

impl Drop for Least {
    fn drop(&mut self) {
        for user in [self.user.clone(), format!("{}-ui", self.user), format!("{}-admin", self.user)] {
            let _ = Command::new(server("BATCHSHARE_TEST_RABBITMQCTL")).args(["delete_user", &user]).output();
        }
        let sql = format!("DROP ROLE IF EXISTS {0}_owner; DROP ROLE IF EXISTS {0}", self.role);
        if let Ok(mut admin) = diesel::PgConnection::establish(&server("BATCHSHARE_TEST_PG_URL")) {
            let _ = admin.batch_execute(&sql);
        }
    }
}

/// As the broker reads them at its start.
fn import_definitions(definitions: &str) {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = Command::new(server("BATCHSHARE_TEST_RABBITMQCTL"))
        .arg("import_definitions")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rabbitmqctl");
    child.stdin.take().expect("stdin").write_all(definitions.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn as_user(url: &str, user: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    format!("{scheme}://{user}:{password}@{}", rest.rsplit_once('@').expect("a user").1)
}

/// The password in a URL.
fn password(url: &str) -> &str {
    url.split_once("://").and_then(|(_, rest)| rest.split_once('@')?.0.split_once(':')).expect("a password").1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_users_can_do_everything_that_the_program_does_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let secrets = secrets(&folder);
    // The names that a server has once become names of this test's own.
    let name = unique("least");
    let users = Least { user: name.clone(), role: name.clone() };
    let test = TestDb::new(Kind::Postgres).await;
    test.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let roles = deploy("postgres/roles.sql");
    test.sql(&roles.replace("batchshare_owner", &format!("{name}_owner")).replace("batchshare", &name)).await;
    let (owner, role) = (&secrets["postgres_owner_password"], &secrets["postgres_run_password"]);
    test.sql(&format!("ALTER ROLE {name}_owner PASSWORD '{owner}'; ALTER ROLE {name} PASSWORD '{role}'"))
        .await;
    assert_eq!([password(&secrets["migrate_url"]), password(&secrets["database_url"])], [owner, role]);
    let definitions = secrets["rabbitmq_definitions"]
        .replace("\"batchshare", &format!("\"{name}"))
        .replace("^batchshare", &format!("^{name}"))
        .replace("\"admin\"", &format!("\"{name}-admin\""));
    import_definitions(&definitions);

    let amqp = server("BATCHSHARE_TEST_AMQP_URL");
    let database_url = as_user(&test.url, &name, role);
    let mut env: Env = vec![
        ("BATCHSHARE__DATABASE__URL", as_user(&test.url, &format!("{name}_owner"), owner)),
        ("BATCHSHARE__BROKER__URL", as_user(&amqp, &name, password(&secrets["broker_url"]))),
        ("BATCHSHARE__BROKER__PREFIX", name.clone()),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
        ("BATCHSHARE__WORKER__LISTEN", "127.0.0.1:0".to_owned()),
    ];
    let key = file(&folder, "key", &secrets["vault_key"]);
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    env.push(("BATCHSHARE__VAULT__KEY_FILE", key.display().to_string()));
    let (code, _, err) = run(&["migrate"], &env);
    assert_eq!(code, 0, "{err}");

    env[0].1 = database_url.clone();
    let lines = file(&folder, "company.jsonl", &company());
    let (code, _, err) = run(&["import", lines.to_str().expect("a path")], &env);
    assert_eq!(code, 0, "{err}");
    let (mut serve, mut work) = (Program::start(&["serve"], &env), Program::start(&["work"], &env));
    let gateway = serve.address();
    work.logged("the worker's health is told", "");
    let body = json!({"secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 2}]});
    let (status, job) = http("POST", &gateway, "/api/v1/share-jobs", "ana", Some(&body));
    assert_eq!(status, 202, "{job}");
    let path = format!("/api/v1/share-jobs/{}", job["job_id"].as_str().expect("an id"));
    let ended =
        || Some(http("GET", &gateway, &path, "ana", None).1).filter(|job| !job["finished_at"].is_null());
    assert_eq!(until("the job's end", 30, ended)["state"], "completed");
    // The notice comes by the events' queue, a stream by a queue of its own.
    until("the notice", 20, || {
        let (_, notices) = http("GET", &gateway, "/api/v1/notices", "ana", None);
        (notices["items"].as_array()?.len() == 1).then_some(())
    });
    let stream =
        ureq::get(&format!("http://{gateway}/api/v1/events")).header("X-Batchshare-User", "ana").call();
    let stream = stream.expect("a stream");
    until("the stream's queue", 20, || {
        let queues = Command::new(server("BATCHSHARE_TEST_RABBITMQCTL"))
            .args(["list_queues", "--silent", "name"])
            .output()
            .expect("rabbitmqctl");
        String::from_utf8_lossy(&queues.stdout).contains(&format!("{name}.listener.")).then_some(())
    });
    drop(stream);
    // Poison, as another program's user publishes it: the way of dead letters, from end to end.
    let ui = as_user(&amqp, &format!("{name}-ui"), password(&secrets["ui_broker_url"]));
    let publish = |exchange: &str, key: &str| {
        let sent = Command::new("amqp-publish")
            .args([format!("--url={ui}"), format!("--exchange={exchange}"), format!("--routing-key={key}")])
            .arg("--body=hello")
            .output();
        sent.expect("amqp-publish (Debian's amqp-tools)").status.success()
    };
    assert!(publish(&format!("{name}.jobs"), "job.requested"));
    crate::support::eventually("the dead letter", 20, async || {
        (test.number("SELECT COUNT(*) FROM dead_letters WHERE reason = 'not_json'").await == 1).then_some(())
    })
    .await;
    let declare = |url: &str, queue: &str| {
        let args = [format!("--url={url}"), format!("--queue={queue}")];
        Command::new("amqp-declare-queue").args(args).output().expect("amqp-declare-queue").status.success()
    };
    assert!(!declare(&ui, &format!("{name}.mine")) && !declare(&env[1].1, "somebody.elses"));

    let tables = |sql: &str| -> Result<(), diesel::result::Error> {
        diesel::PgConnection::establish(&database_url).expect("a connection").batch_execute(sql)
    };
    for forbidden in [
        "CREATE TABLE x (y INT)",
        "DROP TABLE grants",
        "ALTER TABLE jobs ADD x INT",
        "CREATE ROLE x",
        "TRUNCATE jobs",
    ] {
        assert!(tables(forbidden).is_err(), "{forbidden}");
    }
    for program in [&mut serve, &mut work] {
        assert_eq!(program.stop(), 0, "{}", program.log());
        for words in ["refuses", "permission denied", "ERROR"] {
            assert!(!program.log().contains(words), "{}", program.log());
        }
    }
    drop(test);
    drop(users);
}

fn company() -> String {
    [
        json!({"type": "user", "id": 1, "username": "ana", "name": "Ana", "email": "ana@example.com"}),
        json!({"type": "user", "id": 2, "username": "bruno", "name": "Bruno", "email": "bruno@example.com"}),
        json!({"type": "secret", "id": 101, "owner": 1, "name": "Stripe", "url": "https://a.example",
               "client_id": "ci", "client_secret": "s3cret-value"}),
    ]
    .map(|line| line.to_string())
    .join("\n")
}
