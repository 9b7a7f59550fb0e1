//! An HTTP client of a gateway or a worker, which keeps one connection open.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

/// The user who makes the requests, who is the requester in every case.
const PERSON: &str = "user1";

/// A client of one server.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    address: String,
}

impl Http {
    /// A client of the server at `address`, in the form that the log has: `127.0.0.1:8080` or `Some(127.0.0.1:8080)`.
    pub fn new(address: &str) -> Self {
        let address = address.trim_start_matches("Some(").trim_end_matches(')').to_owned();
        let config = Agent::config_builder().http_status_as_error(false);
        let agent = Agent::new_with_config(config.timeout_global(Some(Duration::from_secs(60))).build());
        Self { agent, address }
    }

    fn send(&self, method: &str, path: &str, body: String) -> (u16, String) {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("X-Batchshare-User", PERSON)
            .header("Content-Type", "application/json")
            .body(body)
            .expect("a request");
        let mut answer = self.agent.run(request).expect("an answer");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("a body"))
    }

    /// Sends a request to share, which has to be accepted, and returns the id of its job.
    pub fn share(&self, body: &str) -> String {
        let (status, answer) = self.send("POST", "/api/v1/share-jobs", body.to_owned());
        assert_eq!(status, 202, "{answer}");
        let job: Value = serde_json::from_str(&answer).expect("JSON");
        job["job_id"].as_str().expect("an id").to_owned()
    }

    /// Asks for the undo of a job, which has to be accepted, and returns its id.
    pub fn undo(&self, job: &str) -> String {
        let (status, answer) = self.send("POST", &format!("/api/v1/share-jobs/{job}/undo"), String::new());
        assert_eq!(status, 202, "{answer}");
        let undo: Value = serde_json::from_str(&answer).expect("JSON");
        undo["job_id"].as_str().expect("an id").to_owned()
    }

    /// Cancels a job that runs, and returns how many of its pairs were done.
    pub fn cancel(&self, job: &str) -> i64 {
        let (status, answer) = self.send("POST", &format!("/api/v1/share-jobs/{job}/cancel"), String::new());
        assert_eq!(status, 200, "{answer}");
        let job: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(job["state"], "cancelled", "{answer}");
        job["done_pairs"].as_i64().expect("a number")
    }

    /// Asks what a share would do.
    pub fn preview(&self, body: &str) -> Value {
        let (status, answer) = self.send("POST", "/api/v1/share-jobs/preview", body.to_owned());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).expect("JSON")
    }

    pub fn job(&self, id: &str) -> Value {
        let (status, answer) = self.send("GET", &format!("/api/v1/share-jobs/{id}"), String::new());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// The sum of a counter over all of its labels. `None` if this build does not have the counter.
    pub fn counter(&self, name: &str) -> Option<f64> {
        let (_, text) = self.send("GET", "/metrics", String::new());
        let samples = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|a, b| a + b)
    }
}
