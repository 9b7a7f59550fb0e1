//! Dead letters on the command line: shown safely, replayed, discarded only when told twice.

use batchshare::domain::Origin;
use batchshare::domain::{DeadReason, JobId};
use batchshare::store::DeadLetter;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use crate::dead::{invalid, letter};
use crate::process::{Program, run};
use crate::support::{Kind, TestDb};

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// What a terminal would obey, or be fooled by.
const EVIL: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{9b}31m\u{202e}{\"x\"\nDead letter 7: fine";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_shows_letters_safely_and_asks_before_it_discards() {
    let db = TestDb::new(Kind::Sqlite).await;
    let store = batchshare::store::Store::new(db.db.clone());
    let evil = DeadLetter {
        detail: format!("bad {EVIL}"),
        message_id: Some(EVIL.to_owned()),
        user_id: Some(EVIL.to_owned()),
        headers: [("x-evil".to_owned(), EVIL.into())].into_iter().collect(),
        ..letter(
            DeadReason::NotJson,
            Origin::Request,
            [EVIL.as_bytes(), &[0xff, 0x00], &[b'z'; 5_000]].concat(),
        )
    };
    store.bury(evil.clone()).await.expect("bury");
    store.bury(letter(DeadReason::UnknownType, Origin::Request, b"{}".to_vec())).await.expect("bury");
    let env = vec![("BATCHSHARE__DATABASE__URL", db.url.clone())];
    let dead = |arguments: &[&str]| run(&[&["dead"], arguments].concat(), &env);
    let is_safe = |text: &str| !text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');

    let (code, out, err) = dead(&["list"]);
    assert_eq!((code, out.lines().count(), is_safe(&out)), (0, 2, true), "{out}{err}");
    let (_, out, _) = dead(&["list", "--json", "--reason", "not_json"]);
    assert!(is_safe(&out), "{out}");
    let item = json_of(&out)["items"][0].clone();
    let expected = json!({
        "id": item["id"], "reason": "not_json", "detail": evil.detail, "job_id": null, "message_id": EVIL,
        "bytes": evil.body.len(), "received_at": "1970-01-01T00:00:01Z", "state": "kept",
    });
    assert_eq!(item, expected, "the JSON is what came, whatever is in it");
    let id = item["id"].to_string();

    let (code, out, err) = dead(&["show", &id]);
    assert!(code == 0 && is_safe(&out) && is_safe(&err), "{out}{err}");
    assert!(out.contains(r"\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{9b}31m\u{202e}"), "{out}");
    assert!(
        out.contains("\n  | Dead letter 7: fine\\xff\\u{0}zzz"),
        "a body's line cannot pass for ours: {out}"
    );
    assert!(out.len() < 6_000 && err.contains(" more bytes"), "{}", out.len());
    assert!(dead(&["show", &id, "--full"]).1.len() > 5_000);
    let shown = json_of(&dead(&["show", &id, "--json"]).1);
    assert_eq!(shown["headers"]["x-evil"], EVIL);
    assert!(shown["body_base64"].is_string());
    let raw = std::process::Command::new(env!("CARGO_BIN_EXE_batchshare"))
        .args(["dead", "show", &id, "--raw"])
        .envs(env.clone())
        .output()
        .expect("it runs");
    assert_eq!(raw.stdout, evil.body, "to a pipe as it is");

    let (code, out, err) = dead(&["discard", &id]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("--yes"), "{err}");
    let (code, out, _) = dead(&["discard", "--reason", "not_json", "--yes", "--json"]);
    assert_eq!((code, &json_of(&out)["items"][0]["state"]), (0, &json!("discarded")));
    let (code, out, _) = dead(&["show", &id]);
    assert!(code == 0 && out.contains("  body      discarded; it had ") && out.contains("SHA-256"), "{out}");
    let gone = json_of(&dead(&["show", &id, "--json"]).1);
    assert_eq!((&gone["body"], &gone["bytes"]), (&Value::Null, &json!(evil.body.len())));
    assert_eq!(gone["discarded_sha256"].as_str().map(str::len), Some(64));
    let (code, out, err) = dead(&["show", &id, "--raw"]);
    assert!(
        code == 1 && out.is_empty() && err.contains("was discarded"),
        "an empty file would pass for it: {err}"
    );
    let (code, out, _) = dead(&["replay", &id]);
    assert_eq!((code, out), (1, format!("dead letter {id}: left as it is: it is discarded already\n")));
    assert_eq!(json_of(&dead(&["list", "--json", "--state", "discarded"]).1)["items"][0]["id"], item["id"]);
    let (code, out, _) = dead(&["replay", "--all", "--json"]);
    let replayed = json_of(&out);
    assert_eq!((code, replayed["items"].as_array().map(Vec::len)), (0, Some(1)));
    assert_eq!((&replayed["items"][0]["result"], &replayed["next_cursor"]), (&json!("sent"), &Value::Null));
    assert_eq!(dead(&["replay", "--all"]).0, 5, "nothing is left");
    assert_eq!(dead(&["show", "4711"]).0, 5);
    assert_eq!(
        (dead(&["replay"]).0, dead(&["replay", "--all", "1"]).0, dead(&["list", "--state", "x"]).0),
        (2, 2, 2)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_beside_a_running_up_goes_the_whole_way() {
    let db = TestDb::new(Kind::Sqlite).await;
    let env = vec![
        ("BATCHSHARE__DATABASE__URL", db.url.clone()),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
    ];
    let mut program = Program::start(&["up"], &env);
    program.address();
    let store = batchshare::store::Store::new(db.db.clone());
    let job = JobId::generate();
    store.bury(letter(DeadReason::InvalidField, Origin::Request, invalid(job))).await.expect("bury");
    let (code, out, err) = run(&["dead", "replay", "--all"], &env);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&format!("its job {job} goes on as run 2")), "{out}");
    // The database is asked here and not by a process each time: many processes at once would hold up the program
    // that they wait for.
    let waiting = Instant::now();
    while store.kept_letters(None).await.expect("letters").is_empty() {
        assert!(waiting.elapsed() < Duration::from_secs(60), "no second death:\n{}", program.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (code, out, err) = run(&["dead", "list", "--json", "--state", "kept"], &env);
    assert_eq!(code, 0, "{err}");
    let second = json_of(&out)["items"][0].clone();
    assert_eq!((&second["job_id"], &second["reason"]), (&json!(job), &json!("invalid_field")));
    assert_eq!(second["message_id"], json!(format!("{job}/2")));
    let ended = json_of(&run(&["jobs", "show", &job.to_string(), "--json"], &env).1);
    assert_eq!((&ended["run"], &ended["reason"]), (&json!(2), &json!("invalid_request")));
    assert_eq!(program.stop(), 0);
    assert!(!program.log().contains("panicked"), "{}", program.log());
}
