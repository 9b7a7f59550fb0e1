//! A gateway on a port of its own, and a client that sends exactly what a test tells it to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use batchshare::config::Settings;
use batchshare::gateway;
use batchshare::gateway::{Auth, GatewayParts, HostList, Hourly, Serving};
use batchshare::shutdown;
use batchshare::shutdown::Stopper;
use batchshare::store::Store;
use batchshare::vault::VaultKey;
use futures_util::FutureExt;
use serde_json::Value;
use ureq::http::{HeaderMap, Request, Response};

use crate::fixtures::Fixture;
use crate::support::{Kind, TestDb, settings};

pub struct App {
    pub test: TestDb,
    pub address: String,
    pub broker_is_there: Arc<AtomicBool>,
    /// Whether looking for the broker panics, as a bug would.
    pub broker_panics: Arc<AtomicBool>,
    agent: ureq::Agent,
    stopper: Stopper,
    server: Option<tokio::task::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// An answer. `body` is null where the answer is not JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl App {
    pub async fn start(kind: Kind, fixture: Fixture) -> Self {
        Self::start_with(kind, fixture, |_| {}).await
    }

    /// Starts a gateway with settings that `change` has changed.
    pub async fn start_with(kind: Kind, fixture: Fixture, change: impl FnOnce(&mut Settings)) -> Self {
        let test = TestDb::new(kind).await;
        fixture.load(&test).await;
        let store = Store::new(test.db.clone());
        Self::serve(test, store, change).await
    }

    /// Starts a gateway on this store, which need not be that of the test's database.
    pub async fn serve(test: TestDb, store: Store, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings("sqlite://unused.db");
        change(&mut settings);
        let folder = tempfile::tempdir().expect("folder");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let auth = Auth::from_settings(&settings.auth, address).expect("auth");
        let broker_is_there = Arc::new(AtomicBool::new(true));
        let broker = Arc::clone(&broker_is_there);
        let broker_panics = Arc::new(AtomicBool::new(false));
        let panics = Arc::clone(&broker_panics);
        let parts = GatewayParts {
            store,
            vault: VaultKey::kept_in(&folder.path().join("vault.key")).expect("a key"),
            hosts: HostList::new(&settings.gateway.hosts, auth.is_demo()),
            auth,
            limits: settings.limits(),
            begin: batchshare::worker::WorkerOptions::from_settings(&settings).begin,
            max_unfinished: settings.limits.unfinished_jobs,
            hourly: Hourly { pairs: settings.limits.pairs_per_hour, bytes: settings.limits.bytes_per_hour },
            max_body_bytes: settings.gateway.max_body_bytes,
            pool_size: settings.database.pool_size,
            serving: Serving::from_settings(&settings.gateway),
            streams_per_person: settings.gateway.streams_per_person,
            broker: Arc::new(move || {
                let (there, panics) = (broker.load(Ordering::Relaxed), panics.load(Ordering::Relaxed));
                async move {
                    assert!(!panics, "hunter2 is what a panic may say");
                    there
                }
                .boxed()
            }),
            startup: batchshare::gateway::Startup::over(),
            updates: batchshare::gateway::Updates::default(),
        };
        let (stopper, stop) = shutdown::channel();
        let server = tokio::spawn(gateway::serve(listener, parts, stop));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .max_redirects(0)
            .build()
            .into();
        Self {
            test,
            address: address.to_string(),
            broker_is_there,
            broker_panics,
            agent,
            stopper,
            server: Some(server),
            _folder: folder,
        }
    }

    /// Stops the gateway, and fails where it does not end in time.
    pub async fn stop(&mut self) {
        self.stopper.stop();
        let server = self.server.take().expect("runs");
        let ended = tokio::time::timeout(Duration::from_secs(5), server).await;
        ended.expect("ends in time").expect("no panic");
    }

    /// Begins a request for a path below `/api/v1`. A path that begins with two slashes is the whole path, with one
    /// of them.
    pub fn request(&self, method: &str, path: &str) -> Call {
        let path = path
            .strip_prefix('/')
            .filter(|rest| rest.starts_with('/'))
            .map_or_else(|| format!("/api/v1{path}"), ToOwned::to_owned);
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        Call { agent: self.agent.clone(), request, body: None }
    }

    pub async fn get(&self, user: &str, path: &str) -> Answer {
        self.request("GET", path).user(user).send().await
    }

    pub async fn post(&self, user: &str, path: &str, body: Value) -> Answer {
        self.request("POST", path).user(user).json(body).send().await
    }

    pub async fn patch(&self, user: &str, path: &str, body: Value) -> Answer {
        self.request("PATCH", path).user(user).json(body).send().await
    }

    pub async fn delete(&self, user: &str, path: &str) -> Answer {
        self.request("DELETE", path).user(user).send().await
    }
}

/// A request that is being written.
pub struct Call {
    agent: ureq::Agent,
    request: ureq::http::request::Builder,
    body: Option<Vec<u8>>,
}

impl Call {
    /// Names the person who asks, in demo mode.
    pub fn user(self, name: &str) -> Self {
        self.header("X-Batchshare-User", name)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let value = ureq::http::HeaderValue::from_bytes(value.as_bytes()).expect("a header's value");
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(self, body: Value) -> Self {
        self.header("Content-Type", "application/json").bytes(body.to_string())
    }

    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub async fn send(self) -> Answer {
        tokio::task::spawn_blocking(move || {
            let response = match self.body {
                Some(body) => self.agent.run(self.request.body(body).expect("a request")),
                None => self.agent.run(self.request.body(()).expect("a request")),
            };
            Answer::of(response.expect("an answer"))
        })
        .await
        .expect("no panic")
    }
}

impl Answer {
    fn of(response: Response<ureq::Body>) -> Self {
        let (parts, mut body) = response.into_parts();
        let text = body.read_to_string().expect("UTF-8");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status: parts.status.as_u16(), headers: parts.headers, body, text }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Fails unless the status is this one, and returns the body.
    #[track_caller]
    pub fn ok(&self, status: u16) -> &Value {
        assert_eq!(self.status, status, "{}", self.text);
        &self.body
    }

    /// Fails unless this is a problem document of this status, and returns the field that it names.
    #[track_caller]
    pub fn problem(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "{}", self.text);
        }
        self.body["field"].as_str().unwrap_or_default()
    }

    /// The ids of a listing's items.
    #[track_caller]
    pub fn ids(&self) -> Vec<i64> {
        let items = self.body.get("items").unwrap_or(&self.body);
        let items = items.as_array().unwrap_or_else(|| panic!("no items: {}", self.text));
        items.iter().map(|item| item["id"].as_i64().expect("an id")).collect()
    }

    /// The cursor of the next page.
    pub fn next(&self) -> Option<String> {
        self.body["next_cursor"].as_str().map(ToOwned::to_owned)
    }
}
