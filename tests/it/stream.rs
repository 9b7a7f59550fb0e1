//! The event stream: a snapshot first, then what happens, at whichever gateway.

use std::io::{BufRead as _, BufReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{Program, http};

/// An open stream of a person: its events as (name, data).
struct Stream(Receiver<(String, Value)>);

impl Stream {
    fn open(address: &str, person: &str) -> Self {
        let (sender, receiver) = channel();
        let answer = ureq::get(format!("http://{address}/api/v1/events"))
            .header("X-Batchshare-User", person)
            .call()
            .expect("a stream");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store, no-transform");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        std::thread::spawn(move || {
            let mut name = String::new();
            for line in BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok) {
                if let Some(found) = line.strip_prefix("event: ") {
                    name = found.to_owned();
                } else if let Some(data) = line.strip_prefix("data: ") {
                    let data = serde_json::from_str(data).expect("JSON");
                    if sender.send((name.clone(), data)).is_err() {
                        return;
                    }
                }
            }
        });
        Self(receiver)
    }

    /// The next event of that name whose data fits.
    fn wait(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (found, data) =
                self.0.recv_timeout(left).unwrap_or_else(|error| panic!("no {name}: {error}"));
            if found == name && fits(&data) {
                return data;
            }
        }
    }

    fn ends(&self) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if matches!(self.0.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Disconnected))
            {
                return true;
            }
        }
        false
    }
}

#[test]
fn a_stream_tells_a_job_and_its_notice_to_whom_they_belong_and_ends_with_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut program = Program::start(&["up"], &crate::embedded::settings(&folder));
    let address = program.address();
    let (ana, bruno) = (Stream::open(&address, "ana"), Stream::open(&address, "bruno"));
    let me = json!({"id": 1, "username": "ana", "name": "Ana Souza", "auth_mode": "demo"});
    assert_eq!(ana.wait("snapshot", |_| true), json!({"me": me, "jobs": [], "notices": []}));
    bruno.wait("snapshot", |_| true);
    let body = json!({"secrets": {"all": {}}, "recipients": [{"kind": "user", "id": 2}]});
    let (status, job) = http("POST", &address, "/api/v1/share-jobs", "ana", Some(&body));
    assert_eq!(status, 202);
    let id = job["job_id"].clone();
    let ended = ana.wait("job", |job| !job["finished_at"].is_null());
    assert_eq!((&ended["job_id"], &ended["state"]), (&id, &json!("completed")));
    let notice = ana.wait("notice", |notice| notice["job_id"] == id);
    assert_eq!(notice["counts"]["granted"], 1_200);
    // Who comes later finds the notice in the snapshot.
    let late = Stream::open(&address, "ana").wait("snapshot", |_| true);
    assert_eq!(late["notices"][0]["job_id"], id);
    let started = Instant::now();
    assert_eq!(program.stop(), 0);
    assert!(started.elapsed() < Duration::from_secs(10), "open streams do not hold the gateway");
    assert!(ana.ends() && bruno.ends());
    assert!(bruno.0.try_iter().all(|(name, _)| name == "snapshot"), "nothing of ana's is told to bruno");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_hears_of_jobs_that_were_asked_for_at_another_gateway() {
    let site = crate::production::Site::start().await;
    let stream = Stream::open(&site.addresses[1], "ana");
    stream.wait("snapshot", |_| true);
    let recipients: Vec<Value> = (3..=22).map(|id| json!({"kind": "user", "id": id})).collect();
    let body = json!({"secrets": {"all": {}}, "recipients": recipients});
    let (status, job) = http("POST", &site.addresses[0], "/api/v1/share-jobs", "ana", Some(&body));
    assert_eq!(status, 202);
    let id = job["job_id"].clone();
    stream.wait("job", |job| job["job_id"] == id && job["state"] == "running");
    let notice = stream.wait("notice", |notice| notice["job_id"] == id);
    assert_eq!(notice["counts"]["granted"], 24_000);
}
