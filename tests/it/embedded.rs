//! The main job on the embedded default, as a person runs it: one process, one file, HTTP.

use serde_json::{Value, json};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use batchshare::db::{Clock, Db, Target};
use batchshare::store::{Store, Submission, Submitted};
use diesel::connection::SimpleConnection as _;

use crate::process::{Env, Program, http, try_http, until};

pub fn settings(folder: &tempfile::TempDir) -> Env {
    vec![
        ("BATCHSHARE__DATABASE__URL", format!("sqlite://{}", folder.path().join("b.db").display())),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
    ]
}

/// Twenty recipients that the demo data has: people with an account, groups, ana's own group.
fn recipients(address: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for search in ["an", "ar", "pa", "pl"] {
        let (status, body) =
            http("GET", address, &format!("/api/v1/recipients?search={search}"), "ana", None);
        assert_eq!(status, 200);
        for item in body["items"].as_array().expect("items") {
            if item["eligible"] == true && item["username"] != "ana" {
                found.push(json!({"kind": item["kind"], "id": item["id"]}));
            }
        }
    }
    found.sort_by_key(|item| item["id"].as_i64());
    found.dedup();
    assert!(found.len() >= 20, "{found:?}");
    found.truncate(20);
    found
}

fn share_all(address: &str) -> String {
    let body = json!({"secrets": {"all": {}}, "recipients": recipients(address)});
    let (status, job) = http("POST", address, "/api/v1/share-jobs", "ana", Some(&body));
    assert_eq!((status, &job["pairs"]), (202, &json!(24_000)), "{job}");
    job["job_id"].as_str().expect("a job id").to_owned()
}

fn job(address: &str, id: &str) -> Value {
    http("GET", address, &format!("/api/v1/share-jobs/{id}"), "ana", None).1
}

fn notice(address: &str, id: &str) -> Value {
    until("a notice", 60, || {
        let (_, notices) = http("GET", address, "/api/v1/notices", "ana", None);
        notices["items"].as_array()?.iter().find(|notice| notice["job_id"] == id).cloned()
    })
}

#[test]
fn a_job_of_1200_by_20_ends_in_a_notice_with_the_right_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut program = Program::start(&["up"], &settings(&folder));
    let address = program.address();
    let id = share_all(&address);
    let notice = notice(&address, &id);
    assert_eq!(notice["state"], "completed");
    assert_eq!(notice["counts"], json!({"granted": 24_000, "upgraded": 0, "unchanged": 0, "rejected": 0}));
    // The result: a recipient reads the secret, and may not edit it.
    let (_, list) = http("GET", &address, "/api/v1/secrets?limit=1", "bruno", None);
    assert_eq!(list["items"][0]["permission"], "view");
    let secret = list["items"][0]["id"].as_i64().expect("an id");
    let (status, value) =
        http("GET", &address, &format!("/api/v1/secrets/{secret}/client-secret"), "bruno", None);
    assert_eq!(status, 200);
    let edit = json!({"name": "mine now"});
    assert_eq!(http("PATCH", &address, &format!("/api/v1/secrets/{secret}"), "bruno", Some(&edit)).0, 403);
    // The same again changes nothing.
    let again = share_all(&address);
    assert_eq!(self::notice(&address, &again)["counts"]["unchanged"], 24_000);
    assert_eq!(program.stop(), 0);
    let secret_value = value["client_secret"].as_str().expect("a value");
    assert!(!program.log().contains(secret_value), "no secret value in the log");
}

#[test]
fn killed_in_the_middle_and_started_again_it_ends_in_the_same_grants() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut env = settings(&folder);
    // Small chunks and slices, so that the middle is long and wide.
    env.push(("BATCHSHARE__WORKER__CHUNK_PAIRS", "100".to_owned()));
    env.push(("BATCHSHARE__WORKER__SLICE_MS", "20".to_owned()));
    env.push(("BATCHSHARE__WORKER__LANE_LEASE_MS", "2000".to_owned()));
    env.push(("BATCHSHARE__RELAY__LEASE_MS", "1000".to_owned()));
    let mut program = Program::start(&["up"], &env);
    let mut address = program.address();
    let id = share_all(&address);
    let mut kills = 0;
    for part in 1..=4 {
        let done = until("some progress", 60, || {
            let done = job(&address, &id)["done_pairs"].as_u64()?;
            (done >= part * 4_000).then_some(done)
        });
        if done == 24_000 {
            break;
        }
        program.kill();
        kills += 1;
        program = Program::start(&["up"], &env);
        address = program.address();
    }
    assert!(kills >= 2, "the job was over before it could be killed");
    let notice = notice(&address, &id);
    assert_eq!(notice["counts"], json!({"granted": 24_000, "upgraded": 0, "unchanged": 0, "rejected": 0}));
    assert_eq!(job(&address, &id)["attempts"], 0, "a crash is not a failure of the job");
    let (_, grants) = http("GET", &address, "/api/v1/secrets/ids?shared=true", "ana", None);
    assert_eq!(grants.as_array().expect("ids").len(), 1_200);
}

#[test]
fn a_second_up_on_one_file_says_who_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let env = settings(&folder);
    let mut first = Program::start(&["up"], &env);
    first.address();
    let mut second = Program::start(&["up"], &env);
    assert_eq!(second.wait(), 1);
    let log = second.log();
    assert!(log.contains("in use by another batchshare (process "), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}

#[test]
fn commands_work_beside_a_running_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let env = settings(&folder);
    let mut program = Program::start(&["up"], &env);
    let address = program.address();
    let (code, out, err) = crate::process::run(
        &["share", "--as", "ana", "--search", "stripe", "--user", "bruno", "--json"],
        &env,
    );
    assert_eq!(code, 0, "{err}");
    let job: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(job["state"], "completed", "{job}");
    let id = job["job_id"].as_str().expect("an id");
    assert_eq!(notice(&address, id)["job_id"], id);
    let (code, out, _) = crate::process::run(&["jobs", "list", "--json"], &env);
    let list: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &list["items"][0]["job_id"]), (0, &json!(id)));
    let (code, ..) =
        crate::process::run(&["share", "--as", "ana", "--search", "stripe", "--user", "carla"], &env);
    assert_eq!(code, 4, "nothing was shared");
}

/// A handle of this process's own on the file.
fn beside(folder: &tempfile::TempDir) -> Db {
    let url = format!("sqlite://{}", folder.path().join("b.db").display());
    let options = crate::support::settings(&url).db_options();
    Db::new(Target::parse(&url).expect("a URL"), options, Clock::default())
}

/// Killed after the 202 and before the message was sent: the row is leased to a relay that is gone, for an hour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_just_before_a_kill_goes_on_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut env = settings(&folder);
    env.push(("BATCHSHARE__RELAY__LEASE_MS", "3600000".to_owned()));
    let mut program = Program::start(&["up"], &env);
    program.address();
    program.kill();
    let (sender, _nobody_sends) = tokio::sync::mpsc::channel(10);
    let store = Store::with_relay(beside(&folder), sender, Duration::from_secs(3_600));
    let selection = batchshare::domain::Selection::All(batchshare::domain::AllFilter::default());
    let recipients =
        vec![crate::world::to(batchshare::app::demo::BRUNO, batchshare::domain::Permission::View)];
    let ana = crate::world::principal(batchshare::app::demo::ANA);
    let request = batchshare::domain::ShareRequest::new(ana, selection, recipients);
    let submission = Submission { request, idempotency_key: None, traceparent: None };
    let limits = batchshare::domain::Limits::default();
    let Submitted::Accepted(accepted) = store.submit(submission, limits, 10).await.expect("submit") else {
        panic!("not accepted")
    };
    drop(store);
    let mut program = Program::start(&["up"], &env);
    let address = program.address();
    let began = Instant::now();
    let id = accepted.job_id.to_string();
    let ended =
        until("the job's end", 60, || Some(job(&address, &id)).filter(|job| !job["finished_at"].is_null()));
    assert_eq!(ended["state"], "completed");
    assert!(began.elapsed() < Duration::from_secs(30), "it waited for a lease: {:?}", began.elapsed());
}

/// An import has SQLite's one writer for as long as it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_whoever_has_the_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut env = settings(&folder);
    env.push(("BATCHSHARE__DATABASE__LOCK_TIMEOUT_MS", "200".to_owned()));
    // At the first start there are migrations to be applied, at the second there is what was held to be freed.
    for _ in 0..2 {
        let db = beside(&folder);
        batchshare::db::create_file(&db).expect("a file");
        let (has_it, it_is_had) = tokio::sync::oneshot::channel();
        let (let_go, holds) = std::sync::mpsc::channel::<()>();
        let holder = tokio::spawn(async move {
            let work = move |conn: &mut batchshare::db::Conn| {
                conn.batch_execute("SELECT 1")?;
                has_it.send(()).expect("the test waits");
                // An error: the test let go.
                Ok(holds.recv().is_err())
            };
            db.write(work).await
        });
        it_is_had.await.expect("the writer");
        let mut program = Program::start(&["up"], &env);
        program.logged("waiting for the database", "");
        drop(let_go);
        assert!(holder.await.expect("no panic").expect("a transaction"));
        program.address();
        assert_eq!(program.stop(), 0, "{}", program.log());
    }
}

/// What is written to a file that has no name is gone with the process: from the very moment nothing is accepted, and
/// soon after it ends.
#[test]
fn nothing_is_accepted_into_a_file_that_was_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut program = Program::start(&["up"], &settings(&folder));
    let address = program.address();
    assert_eq!(http("GET", &address, "/readyz", "ana", None).0, 200);
    let here = folder.path().join("b.db");
    std::fs::rename(&here, folder.path().join("away.db")).expect("rename");
    let recipients = json!([{"kind": "user", "id": batchshare::app::demo::BRUNO}]);
    let body = json!({"secrets": {"all": {}}, "recipients": recipients});
    until("its end", 60, || {
        let answer = try_http("POST", &address, "/api/v1/share-jobs", "ana", Some(&body), None);
        let ready = try_http("GET", &address, "/readyz", "ana", None, None);
        for (status, answer) in answer.iter().chain(&ready) {
            assert_eq!(*status, 503, "{answer}");
        }
        (answer.is_none() && ready.is_none()).then_some(())
    });
    assert_ne!(program.wait(), 0);
    assert!(!here.exists(), "no new file is made");
}

/// Another process writes one transaction of 40 ms after the other, as a worker with a large job does.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_beside_a_large_job_gets_a_turn() {
    let folder = tempfile::tempdir().expect("a folder");
    let env = settings(&folder);
    let (code, _, errors) = crate::process::run(&["migrate"], &env);
    assert_eq!(code, 0, "{errors}");
    let url = &env[0].1;
    let open = || {
        let target = Target::parse(url).expect("a target");
        Db::new(target, crate::support::settings(url).db_options(), Clock::default())
    };
    let (worker, command) = (open(), open());
    let (ended, chunks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Two lanes, so that one begins when the other has ended.
    let works = [(); 2].map(|()| {
        let (worker, ended, chunks) = (worker.clone(), Arc::clone(&ended), Arc::clone(&chunks));
        tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let chunk = worker.write(|conn| {
                    conn.batch_execute("UPDATE principals SET active = active WHERE id = -1")?;
                    std::thread::sleep(Duration::from_millis(40));
                    Ok(())
                });
                chunk.await.expect("a chunk");
                chunks.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for turn in 0..10 {
        let written = command.write(|conn| {
            conn.batch_execute("UPDATE principals SET active = active WHERE id = -2").map_err(Into::into)
        });
        written.await.unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        let before = chunks.load(Ordering::Relaxed);
        crate::support::eventually("the lanes take their turns again", 30, async || {
            (chunks.load(Ordering::Relaxed) > before).then_some(())
        })
        .await;
    }
    ended.store(true, Ordering::Relaxed);
    for lane in works {
        lane.await.expect("no panic");
    }
}
