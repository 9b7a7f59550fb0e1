//! Asking a gateway or a worker over HTTP, on one connection that is kept.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

/// Who asks: the requester of every case.
const PERSON: &str = "user1";

/// A client of one address.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    address: String,
}

impl Http {
    /// `address` as the log has it: `127.0.0.1:8080` or `Some(127.0.0.1:8080)`.
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

    /// Shares; the id of the job, which was accepted.
    pub fn share(&self, body: &str) -> String {
        let (status, answer) = self.send("POST", "/api/v1/share-jobs", body.to_owned());
        assert_eq!(status, 202, "{answer}");
        let job: Value = serde_json::from_str(&answer).expect("JSON");
        job["job_id"].as_str().expect("an id").to_owned()
    }

    pub fn job(&self, id: &str) -> Value {
        let (status, answer) = self.send("GET", &format!("/api/v1/share-jobs/{id}"), String::new());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// The sum of a counter over all its labels; `None` where this build does not count it.
    pub fn counter(&self, name: &str) -> Option<f64> {
        let (_, text) = self.send("GET", "/metrics", String::new());
        let samples = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|a, b| a + b)
    }
}
