//! What every request has, whatever it asks for: an id, and an answer even where its handler has a bug.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::app::App;
use crate::fixtures::Fixture;
use crate::support::Kind;

async fn app() -> App {
    App::start(Kind::Sqlite, Fixture::new().user(1, "ana").secret(101, 1, "Stripe")).await
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::parse_str(text).is_ok()
}

/// Each kind of answer: of a route, of the page, of a probe, and of each layer that refuses.
#[tokio::test]
async fn every_answer_carries_the_id_of_its_request() {
    let app = app().await;
    for (method, path, host, status) in [
        ("GET", "/me", "localhost", 200),
        ("GET", "//", "localhost", 200),
        ("GET", "//assets/js/main.js", "localhost", 200),
        ("GET", "//healthz", "10.0.0.1", 200),
        ("GET", "//metrics", "localhost", 200),
        ("GET", "//no-such-path", "localhost", 404),
        ("DELETE", "/me", "localhost", 405),
        ("GET", "/me", "evil.example", 421),
        ("PATCH", "/secrets/101", "localhost", 415),
    ] {
        let call = || app.request(method, path).header("Host", host);
        let given = call().header("X-Request-Id", "Root=1-678:a/b+c@d_e.f").send().await;
        assert_eq!(given.status, status, "{method} {path} {host}: {}", given.text);
        assert_eq!(given.header("x-request-id"), "Root=1-678:a/b+c@d_e.f", "{method} {path} {host}");
        let (first, second) = (call().send().await, call().send().await);
        let (first, second) = (first.header("x-request-id"), second.header("x-request-id"));
        assert!(is_uuid(first) && is_uuid(second) && first != second, "{method} {path}: {first} {second}");
    }
}

#[tokio::test]
async fn an_id_that_nobody_would_log_is_replaced() {
    let app = app().await;
    let long = "x".repeat(129);
    for id in ["", "a b", "a\tb", "a;b", "a,b", "\"a\"", "<b>", "$(id)", "%0a", "é", "a\\b", &long] {
        let answer = app.request("GET", "/me").header("X-Request-Id", id).send().await;
        answer.ok(200);
        assert!(is_uuid(answer.header("x-request-id")), "{id}: {}", answer.header("x-request-id"));
        assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
    }
    let longest = "x".repeat(128);
    let answer = app.request("GET", "/me").header("X-Request-Id", &longest).send().await;
    assert_eq!(answer.header("x-request-id"), longest);
    // Of two ids nobody knows which one is meant.
    let twice = app.request("GET", "/me").header("X-Request-Id", "a").header("X-Request-Id", "b");
    let answer = twice.send().await;
    assert!(is_uuid(answer.header("x-request-id")), "{:?}", answer.headers);
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
}

#[tokio::test]
async fn a_handler_that_panics_is_answered_with_a_problem_and_takes_nothing_else_with_it() {
    let app = app().await;
    app.broker_panics.store(true, Ordering::Relaxed);
    for path in ["//readyz", "//metrics"] {
        let answer = app.request("GET", path).header("X-Request-Id", "id-of-a-bug").send().await;
        answer.problem(500);
        assert_eq!(answer.body["type"], "urn:batchshare:problem:internal");
        assert_eq!(answer.header("x-request-id"), "id-of-a-bug");
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
        // The answer has the headers of every other answer.
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        app.get("ana", "/me").await.ok(200);
    }
    app.broker_panics.store(false, Ordering::Relaxed);
    let ready = app.request("GET", "//readyz").send().await;
    assert_eq!(*ready.ok(200), json!({"broker": "ok", "database": "ok", "status": "ok"}));
    // The panic is counted as the answer that it became.
    let metrics = app.request("GET", "//metrics").send().await.text;
    let line = metrics.lines().find(|line| line.contains("\"/readyz\"") && line.contains("\"500\""));
    assert!(line.is_some(), "{metrics}");
}
