//! Somebody with another account on the host, and files that are not what they seem: what `up` and the commands make
//! is nobody else's, what is prepared for them is refused at once, and a file that is exchanged is noticed.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::embedded::settings;
use crate::process::{Env, Program, file, http, run, until};
use crate::support::{Kind, TestDb, server, unique};

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

pub fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).mode() & 0o7777
}

pub fn database(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("b.db")
}

pub fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

fn with(env: &Env, name: &'static str, value: impl ToString) -> Env {
    let mut env = env.clone();
    env.retain(|(found, _)| *found != name);
    env.push((name, value.to_string()));
    env
}

/// Ends at once, with one line that has these words. Never hangs: a FIFO would be waited for, for ever.
fn refused(args: &[&str], env: &Env, words: &[&str]) -> String {
    let began = Instant::now();
    let mut program = Program::start(args, env);
    let code = program.wait();
    assert!(code == 1 || code == 2, "{code}: {}", program.log());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    last_line(&program, words)
}

/// The last line that it logged, which has these words. It is read a moment after the end.
fn last_line(program: &Program, words: &[&str]) -> String {
    until(&format!("a last line with {words:?}"), 5, || {
        let last = program.log().lines().last()?.to_owned();
        words.iter().all(|word| last.contains(word)).then_some(last)
    })
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").args(["-m", "0600"]).arg(path).status().expect("mkfifo").success());
}

fn key_file(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    let (_, key, _) = run(&["keygen"], &Vec::new());
    let path = file(folder, name, &key);
    chmod(&path, 0o600);
    path
}

const PEOPLE: &str =
    r#"{"type":"user","id":1,"username":"ana","name":"Ana Souza","email":"ana@example.com"}"#;
const SECRET: &str = r#"{"type":"secret","id":101,"owner":1,"name":"Stripe","url":"https://api.example.com","client_id":"ci","client_secret":"hunter2","identifier":"x"}"#;

fn company(folder: &tempfile::TempDir) -> String {
    file(folder, "company.jsonl", &format!("{PEOPLE}\n{SECRET}\n")).display().to_string()
}

#[test]
fn what_up_makes_is_nobody_elses_also_under_a_loose_umask() {
    let folder = tempfile::tempdir().expect("a folder");
    let loose = format!("umask 000; exec {} up", env!("CARGO_BIN_EXE_batchshare"));
    let mut command = Command::new("sh");
    command.args(["-c", &loose]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BATCHSHARE")) {
        command.env_remove(name);
    }
    let mut child = command.envs(settings(&folder)).spawn().expect("it starts");
    let path = database(&folder);
    until("the files", 30, || {
        ["", "-wal", "-shm", ".lock", ".key"].iter().all(|end| beside(&path, end).exists()).then_some(())
    });
    for ending in ["", "-wal", "-shm", ".lock", ".key"] {
        assert_eq!(mode(&beside(&path, ending)), 0o600, "{ending}");
    }
    child.kill().expect("kill");
    child.wait().expect("wait");

    // What an older version left open is closed, and that is said once.
    for ending in ["", "-wal", "-shm", ".lock"] {
        if beside(&path, ending).exists() {
            chmod(&beside(&path, ending), 0o644);
        }
    }
    let mut program = Program::start(&["up"], &settings(&folder));
    program.address();
    assert_eq!(program.stop(), 0);
    assert!(program.log().contains("it is closed to them now"), "{}", program.log());
    assert_eq!((mode(&path), mode(&beside(&path, ".lock"))), (0o600, 0o600));
}

#[test]
fn what_was_prepared_in_the_place_of_a_file_is_refused_at_once() {
    for (ending, word) in
        [("", "b.db"), ("-wal", "-wal"), ("-shm", "-shm"), (".lock", ".lock"), (".key", ".key")]
    {
        for kind in ["link", "dangling", "fifo", "folder"] {
            let folder = tempfile::tempdir().expect("a folder");
            let (path, elsewhere) = (beside(&database(&folder), ending), folder.path().join("elsewhere"));
            match kind {
                "link" => {
                    std::fs::write(&elsewhere, "mine").expect("write");
                    chmod(&elsewhere, 0o600);
                    symlink(&elsewhere, &path).expect("a link");
                }
                "dangling" => symlink(&elsewhere, &path).expect("a link"),
                "fifo" => mkfifo(&path),
                _ => std::fs::create_dir(&path).expect("a folder"),
            }
            refused(&["up"], &settings(&folder), &[word]);
            match kind {
                "link" => assert_eq!(std::fs::read(&elsewhere).expect("untouched"), b"mine"),
                _ => assert!(!elsewhere.exists(), "made through a link: {ending}"),
            }
        }
    }
}

#[test]
fn the_same_file_by_another_name_is_in_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let real = folder.path().join("real");
    std::fs::create_dir(&real).expect("a folder");
    symlink(&real, folder.path().join("link")).expect("a link");
    let url = |path: &str| format!("sqlite://{}/{path}", folder.path().display());
    let env = with(&settings(&folder), "BATCHSHARE__DATABASE__URL", url("real/b.db"));
    let mut program = Program::start(&["up"], &env);
    program.address();
    let pid = program.pid().to_string();
    for path in ["real/b.db", "link/b.db", "real/./b.db", "link/../real/b.db"] {
        let env = with(&env, "BATCHSHARE__DATABASE__URL", url(path));
        refused(&["up"], &env, &["in use", &pid]);
    }
    let relative = crate::process::program()
        .arg("up")
        .envs(with(&env, "BATCHSHARE__DATABASE__URL", "sqlite://b.db"))
        .current_dir(folder.path().join("link"))
        .output()
        .expect("it runs");
    assert!(String::from_utf8_lossy(&relative.stderr).contains("in use"), "{relative:?}");

    symlink(real.join("b.db"), folder.path().join("link.db")).expect("a link");
    refused(&["up"], &with(&env, "BATCHSHARE__DATABASE__URL", url("link.db")), &["link.db", "a link"]);
    std::fs::hard_link(real.join("b.db"), folder.path().join("hard.db")).expect("a link");
    refused(
        &["up"],
        &with(&env, "BATCHSHARE__DATABASE__URL", url("hard.db")),
        &["hard.db", "more than one name"],
    );
    assert_eq!(program.stop(), 0);
}

#[test]
fn what_is_no_file_is_no_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = format!("sqlite://{}", folder.path().display());
    for url in [
        "sqlite://:memory:",
        "sqlite://",
        "sqlite://file::memory:?cache=shared",
        "sqlite://file:x.db?mode=memory",
        "sqlite://b.db?mode=memory",
        "sqlite://b.db%00",
        &format!("{inside}/"),
        "sqlite://.",
    ] {
        for command in ["up", "migrate"] {
            refused(
                &[command],
                &with(&settings(&folder), "BATCHSHARE__DATABASE__URL", url),
                &["database.url"],
            );
        }
    }
    for command in ["up", "migrate"] {
        let env = with(&settings(&folder), "BATCHSHARE__DATABASE__URL", &inside);
        refused(&[command], &env, &["a folder"]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

/// A key file, a proxy's secret and files of URLs have one rule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_others_can_read_or_exchange_is_refused() {
    let db = TestDb::new(Kind::Postgres).await;
    let folder = tempfile::tempdir().expect("a folder");
    let key = key_file(&folder, "key");
    let proxy = file(&folder, "proxy", &"s".repeat(40));
    let (url, broker) =
        (file(&folder, "url", &db.url), file(&folder, "broker", &server("BATCHSHARE_TEST_AMQP_URL")));
    for path in [&proxy, &url, &broker] {
        chmod(path, 0o600);
    }
    let env: Env = [
        ("BATCHSHARE__DATABASE__URL_FILE", url.display().to_string()),
        ("BATCHSHARE__BROKER__URL_FILE", broker.display().to_string()),
        ("BATCHSHARE__BROKER__PREFIX", unique("host")),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
        ("BATCHSHARE__AUTH__MODE", "proxy".to_owned()),
        ("BATCHSHARE__AUTH__PROXY__SECRET_FILE", proxy.display().to_string()),
        ("BATCHSHARE__VAULT__KEY_FILE", key.display().to_string()),
    ]
    .into();
    // Container platforms mount links.
    symlink(&key, folder.path().join("mounted")).expect("a link");
    let mounted = with(&env, "BATCHSHARE__VAULT__KEY_FILE", folder.path().join("mounted").display());
    let mut program = Program::start(&["serve"], &mounted);
    program.address();
    assert_eq!(program.stop(), 0);

    mkfifo(&folder.path().join("fifo"));
    for (setting, path) in [
        ("BATCHSHARE__VAULT__KEY_FILE", &key),
        ("BATCHSHARE__AUTH__PROXY__SECRET_FILE", &proxy),
        ("BATCHSHARE__DATABASE__URL_FILE", &url),
        ("BATCHSHARE__BROKER__URL_FILE", &broker),
    ] {
        for bad in [0o604, 0o644, 0o660, 0o666, 0o777] {
            chmod(path, bad);
            refused(&["serve"], &env, &[&format!("{bad:04o}"), "chmod"]);
        }
        chmod(path, 0o600);
        for (other, word) in [("fifo", "a FIFO"), (".", "a folder"), ("/dev/zero", "a device"), ("no", "no")]
        {
            refused(&["serve"], &with(&env, setting, folder.path().join(other).display()), &[word]);
        }
    }
}

/// What only root can set up: other owners, and the program as somebody who is not root.
#[test]
fn a_file_of_another_account_is_refused_and_roots_is_read_by_its_group() {
    const NOBODY: u32 = 65_534;
    const GROUP: u32 = 54_321;
    let folder = tempfile::tempdir().expect("a folder");
    let key = key_file(&folder, "key");
    if std::os::unix::fs::chown(&key, Some(NOBODY), Some(GROUP)).is_err() {
        println!("skipped: only root can give files to others");
        return;
    }
    let env = with(&settings(&folder), "BATCHSHARE__VAULT__KEY_FILE", key.display());
    refused(&["up"], &env, &["another account", "65534"]);
    for ending in ["", "-wal", ".lock"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = beside(&database(&folder), ending);
        std::fs::write(&path, "").expect("write");
        std::os::unix::fs::chown(&path, Some(NOBODY), None).expect("chown");
        refused(&["up"], &settings(&folder), &["another account", "65534"]);
    }

    // As Kubernetes mounts a secret for somebody who is not root: root's, and readable by a group.
    chmod(folder.path(), 0o755);
    let theirs = folder.path().join("theirs");
    std::fs::create_dir(&theirs).expect("a folder");
    std::os::unix::fs::chown(&theirs, Some(NOBODY), Some(GROUP)).expect("chown");
    let program = folder.path().join("batchshare");
    std::fs::copy(env!("CARGO_BIN_EXE_batchshare"), &program).expect("a copy that others can reach");
    let env = with(&env, "BATCHSHARE__DATABASE__URL", format!("sqlite://{}/b.db", theirs.display()));
    let as_nobody = || {
        let mut command = Command::new(&program);
        command.args(["import", "-"]).envs(env.clone()).uid(NOBODY).gid(GROUP).current_dir(&theirs);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = format!("{PEOPLE}\n{SECRET}\n");
        let _ = child.stdin.take().expect("stdin").write_all(lines.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let migrated = Command::new(&program).arg("migrate").envs(env.clone()).uid(NOBODY).gid(GROUP).output();
    assert!(migrated.expect("migrate").status.success());
    for (owner, group, bits, good) in [
        (0, GROUP, 0o440, true),
        (0, GROUP, 0o640, true),
        (NOBODY, GROUP, 0o400, true),
        (0, GROUP, 0o644, false),
        (0, GROUP, 0o660, false),
        (NOBODY, GROUP, 0o440, false),
        (12_345, GROUP, 0o440, false),
    ] {
        std::os::unix::fs::chown(&key, Some(owner), Some(group)).expect("chown");
        chmod(&key, bits);
        let (done, error) = as_nobody();
        assert_eq!(done, good, "{owner}:{group} {bits:o}: {error}");
    }
}

#[test]
fn a_wrong_or_lost_key_is_told_with_the_one_that_is_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let env = settings(&folder);
    // The first import makes the key, as `up` would.
    assert_eq!(run(&["migrate"], &env).0, 0);
    let (code, _, error) = run(&["import", &company(&folder)], &env);
    assert_eq!(code, 0, "{error}");
    let right = beside(&database(&folder), ".key");
    assert_eq!(mode(&right), 0o600);
    let mut program = Program::start(&["up"], &env);
    let address = program.address();
    let (status, value) = http("GET", &address, "/api/v1/secrets/101/client-secret", "ana", None);
    assert_eq!((status, value), (200, json!({"client_secret": "hunter2"})));
    assert!(program.log().contains("anybody on this host can be anybody"), "{}", program.log());
    assert_eq!(program.stop(), 0);

    let other = with(&env, "BATCHSHARE__VAULT__KEY_FILE", key_file(&folder, "other").display());
    let line = refused(&["up"], &other, &["sealed with the vault key", "other"]);
    let (_, _, imported) = run(&["import", &company(&folder)], &other);
    let ids = |line: &str| {
        let is_id = |word: &&str| word.len() == 8 && word.chars().all(|c| c.is_ascii_hexdigit());
        let words = line.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_id);
        words.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ids(&line).len(), 2, "{line}");
    assert_eq!(ids(&imported), ids(&line), "{imported}");

    let kept = std::fs::read(&right).expect("the key");
    std::fs::remove_file(&right).expect("lost");
    let lost = refused(&["up"], &env, &["sealed with the vault key", "no key file"]);
    assert_eq!(ids(&lost), ids(&line)[..1]);
    let (code, _, error) = run(&["import", &company(&folder)], &env);
    assert!(code == 1 && ids(&error) == ids(&lost), "{error}");
    assert!(!right.exists(), "a new key would stand in the way of the right one");
    std::fs::write(&right, kept).expect("put back");
    chmod(&right, 0o600);
    let mut program = Program::start(&["up"], &env);
    program.address();
    assert_eq!(program.stop(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_a_wrong_key_does_not_start_on_postgresql() {
    let db = TestDb::new(Kind::Postgres).await;
    let folder = tempfile::tempdir().expect("a folder");
    let env: Env = vec![
        ("BATCHSHARE__DATABASE__URL", db.url.clone()),
        ("BATCHSHARE__BROKER__URL", server("BATCHSHARE_TEST_AMQP_URL")),
        ("BATCHSHARE__BROKER__PREFIX", unique("key")),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
    ];
    let right = with(&env, "BATCHSHARE__VAULT__KEY_FILE", key_file(&folder, "right").display());
    assert_eq!(run(&["import", &company(&folder)], &right).0, 0);
    let wrong = with(&env, "BATCHSHARE__VAULT__KEY_FILE", key_file(&folder, "wrong").display());
    refused(&["serve"], &wrong, &["sealed with the vault key"]);
    let mut program = Program::start(&["serve"], &right);
    program.address();
    assert_eq!(program.stop(), 0);
}

#[test]
fn the_demo_says_nothing_of_its_own_people() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut program = Program::start(&["up"], &settings(&folder));
    program.address();
    assert_eq!(program.stop(), 0);
    assert!(!program.log().contains("anybody"), "{}", program.log());
}

#[test]
fn a_file_that_is_gone_or_exchanged_ends_the_process_and_is_not_touched() {
    for exchanged in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = database(&folder);
        let mut program = Program::start(&["up"], &settings(&folder));
        let address = program.address();
        assert_eq!(http("GET", &address, "/readyz", "ana", None).0, 200);
        let moved = folder.path().join("moved.db");
        std::fs::rename(&path, &moved).expect("moved away");
        if exchanged {
            std::fs::copy(&moved, &path).expect("another");
        }
        assert_eq!(program.wait(), 1);
        last_line(&program, &["was removed or replaced"]);
        assert_eq!(path.exists(), exchanged);
    }
}
