//! Publishers, people and servers that mean harm, or break the rules without meaning it. Each file is one way
//! in; each test ends with the promise that held meanwhile.

mod bodies;
mod doubled;
pub mod frames;
pub mod host;
mod letters;
mod names;
mod others;
mod person;
pub mod raw;
mod selecting;
mod stuck;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{http, until};
use crate::production::Site;
use crate::support::server;
use raw::{Answer, Properties, RawPublisher};

/// A publisher with frames of its own at the broker of the tests.
fn publisher() -> RawPublisher {
    RawPublisher::connect(&server("BATCHSHARE_TEST_AMQP_URL"))
}

/// The body of a request in Ana's name.
fn request(job: &str, data: &Value) -> Vec<u8> {
    json!({
        "specversion": "1.0", "id": job, "source": "/test", "type": "batchshare.job.requested.v1", "data": data,
    })
    .to_string()
    .into_bytes()
}

/// A good request: Ana shares one secret with user 3.
fn good_request(job: &str, secret: i64) -> Vec<u8> {
    let recipients = json!([{"kind": "user", "id": 3}]);
    request(job, &json!({"requested_by": 1, "secrets": {"ids": [secret]}, "recipients": recipients}))
}

/// The promise of every test here: a good job, asked for now, has ended within a minute. Says how long it took.
fn a_good_job_is_done(site: &Site, secret: i64) -> Duration {
    let began = Instant::now();
    let body = json!({"secrets": {"ids": [secret]}, "recipients": [{"kind": "user", "id": 3}]});
    let address = &site.addresses[0];
    let (status, job) = http("POST", address, "/api/v1/share-jobs", "ana", Some(&body));
    assert_eq!(status, 202, "{job}");
    let path = format!("/api/v1/share-jobs/{}", job["job_id"].as_str().expect("an id"));
    until("a good job's end", 60, || {
        (http("GET", address, &path, "ana", None).1["state"] == "completed").then_some(())
    });
    began.elapsed()
}

/// The raw publisher itself: what it sends in order is taken and done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_raw_frames_is_a_message() {
    let site = Site::start().await;
    let job = uuid::Uuid::now_v7().to_string();
    let exchange = format!("{}.jobs", site.prefix);
    let sent = publisher().publish(
        &exchange,
        "job.requested",
        &Properties::persistent(),
        &good_request(&job, 1_001),
    );
    assert_eq!(sent, Answer::Taken);
    let path = format!("/api/v1/share-jobs/{job}");
    until("the job's end", 60, || {
        (http("GET", &site.addresses[0], &path, "ana", None).1["state"] == "completed").then_some(())
    });
    a_good_job_is_done(&site, 1_002);
}
