//! One WebDriver session: requests, answers, waiting. What a test uses is in `browser` and `element`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long whatever a test looks for may take to come.
pub const PATIENCE: u64 = 15;

/// The key of an element's id in WebDriver's JSON.
pub const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Session {
    agent: ureq::Agent,
    /// `http://127.0.0.1:PORT/session/ID`.
    address: String,
    /// The last refusal or other cause, for the report of a failure.
    last: Mutex<String>,
    /// Whether a failure was reported with a screenshot.
    pub reported: Mutex<bool>,
}

/// A refusal of WebDriver.
#[derive(Debug)]
pub struct Refusal {
    /// As in the standard, like `stale element reference`.
    pub kind: String,
    pub message: String,
}

/// What the accessibility tree says of an element.
pub struct Node {
    pub id: String,
    pub name: String,
}

fn send(agent: &ureq::Agent, method: &str, address: &str, body: Option<&Value>) -> Result<Value, Refusal> {
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(address)
        .header("Content-Type", "application/json")
        .body(body.map(ToString::to_string).unwrap_or_default())
        .expect("a request");
    let mut answer = agent.run(request).unwrap_or_else(|error| panic!("chromedriver, {address}: {error}"));
    let status = answer.status();
    let text = answer.body_mut().with_config().limit(200 << 20).read_to_string().expect("an answer");
    let value = serde_json::from_str::<Value>(&text)
        .unwrap_or_else(|error| panic!("chromedriver, {address}: {status}, {error}: {text}"))["value"]
        .take();
    if status.is_success() {
        return Ok(value);
    }
    let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Err(Refusal { kind: field("error"), message: field("message") })
}

impl Session {
    /// Starts a Chromium.
    pub fn start(driver: &str, capabilities: &Value) -> Self {
        let agent = ureq::Agent::new_with_config(
            ureq::Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .timeout_global(Some(Duration::from_secs(120)))
                .build(),
        );
        let body = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let session = send(&agent, "POST", &format!("{driver}/session"), Some(&body))
            .unwrap_or_else(|refusal| panic!("Chromium does not start: {}", refusal.message));
        let id = session["sessionId"].as_str().expect("a session id");
        let address = format!("{driver}/session/{id}");
        Self { agent, address, last: Mutex::default(), reported: Mutex::default() }
    }

    /// A command that may be refused.
    pub fn attempt(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Refusal> {
        let result = send(&self.agent, method, &format!("{}{path}", self.address), body);
        if let Err(refusal) = &result {
            assert!(refusal.kind != "invalid session id", "Chromium is gone: {}", refusal.message);
            self.note(&format!("{}: {}", refusal.kind, refusal.message));
        }
        result
    }

    /// Keeps the latest reason to go on waiting.
    pub fn note(&self, last: &str) {
        last.clone_into(&mut self.last.lock().expect("a note"));
    }

    pub fn get(&self, path: &str) -> Value {
        self.attempt("GET", path, None).unwrap_or_else(|refusal| self.refused(path, &refusal))
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.attempt("POST", path, Some(body)).unwrap_or_else(|refusal| self.refused(path, &refusal))
    }

    pub fn delete(&self, path: &str) -> Value {
        self.attempt("DELETE", path, None).unwrap_or_else(|refusal| self.refused(path, &refusal))
    }

    fn refused(&self, path: &str, refusal: &Refusal) -> ! {
        self.fail(&format!("{path} was refused, {}: {}", refusal.kind, refusal.message))
    }

    /// A command of Chromium's own protocol, to the tab in front.
    pub fn attempt_cdp(&self, command: &str, params: &Value) -> Result<Value, Refusal> {
        self.attempt("POST", "/goog/cdp/execute", Some(&json!({ "cmd": command, "params": params })))
    }

    pub fn cdp(&self, command: &str, params: &Value) -> Value {
        self.attempt_cdp(command, params).unwrap_or_else(|refusal| self.refused(command, &refusal))
    }

    pub fn attempt_script(&self, js: &str, args: &[Value]) -> Result<Value, Refusal> {
        self.attempt("POST", "/execute/sync", Some(&json!({ "script": js, "args": args })))
    }

    /// Everything with a role, and perhaps an accessible name, that the accessibility tree has below
    /// an element or in the whole page: nothing hidden and nothing behind a modal dialog.
    ///
    /// An id of chromedriver's is `f.FRAME.d.DOCUMENT.e.NODE`, and the protocol knows the node by the
    /// same number: so what is found in the tree is an element at once.
    pub fn nodes(&self, scope: Option<&str>, role: &str, name: Option<&str>) -> Result<Vec<Node>, Refusal> {
        let scope = match scope {
            Some(id) => id.to_owned(),
            None => {
                let root = json!({ "using": "css selector", "value": ":root" });
                let root = self.attempt("POST", "/element", Some(&root))?;
                root[ELEMENT].as_str().expect("an id").to_owned()
            }
        };
        let (document, number) = scope.rsplit_once(".e.").expect("an id with a node's number");
        let number: u64 = number.parse().expect("a node's number");
        let mut params = json!({ "backendNodeId": number, "role": tree_role(role) });
        if let Some(name) = name {
            params["accessibleName"] = name.into();
        }
        let found = self.attempt_cdp("Accessibility.queryAXTree", &params)?;
        let mut nodes = Vec::new();
        for node in found["nodes"].as_array().expect("nodes") {
            let Some(own) = node["backendDOMNodeId"].as_u64().filter(|own| *own != number) else { continue };
            if node["ignored"] != true {
                let name = node["name"]["value"].as_str().unwrap_or_default().to_owned();
                nodes.push(Node { id: format!("{document}.e.{own}"), name });
            }
        }
        Ok(nodes)
    }

    /// Waits until there is something; else fails with all that helps to see why.
    pub fn wait<T>(&self, what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(seconds);
        self.note("");
        loop {
            if let Some(found) = look() {
                return found;
            }
            if Instant::now() >= end {
                let last = self.last.lock().expect("a note").clone();
                self.fail(&format!("not within {seconds} s: {what} ({last})"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Chromium's name of a role, where it is not ARIA's.
fn tree_role(role: &str) -> &str {
    match role {
        "img" => "image",
        "summary" => "DisclosureTriangle",
        role => role,
    }
}
