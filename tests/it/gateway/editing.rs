//! Changing a secret, reading its client secret, and who has access.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;
use crate::support::Kind;

/// Ana owns secret 101. Bruno may edit it through a group, carla may view it, and davi cannot see it.
fn one_secret() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .person(2, "bruno", "Bruno", "bruno@example.com")
        .user(3, "carla")
        .user(4, "davi")
        .user_group(10, "Team", &[2])
        .personal_group(20, "Carla's group", 3, &[4])
        .secret(101, 1, "Stripe")
        .tags(101, &["old"])
        .edit(101, 10)
        .view(101, 3)
        .secret(102, 1, "Other")
        .identifier(102, "taken")
}

on_both_stores! {
    async fn the_owner_and_who_may_edit_change_a_secret(kind: Kind) {
        let app = App::start(kind, one_secret()).await;
        let answer = app
            .patch("bruno", "/secrets/101", json!({
                "name": "Stripe Neu", "url": "https://neu.example/ÄPFEL", "client_id": "ci_9", "identifier": "neu-1",
                "method": "POST", "tags": ["b", "a", "b"], "notes": "line 1\nline 2", "disabled": true,
            }))
            .await;
        let changed = answer.ok(200).clone();
        for (field, value) in [
            ("name", json!("Stripe Neu")), ("url", json!("https://neu.example/ÄPFEL")), ("client_id", json!("ci_9")),
            ("identifier", json!("neu-1")), ("method", json!("POST")), ("tags", json!(["a", "b"])),
            ("notes", json!("line 1\nline 2")), ("disabled", json!(true)), ("shareable", json!(false)),
            ("permission", json!("edit")),
        ] {
            assert_eq!(changed[field], value, "{field}");
        }
        assert_ne!(changed["updated_at"], "1970-01-01T00:00:00Z");
        // A search reads a folded copy of the texts, which changes with them.
        for found in ["neu-1", "%C3%A4pfel", "stripe%20neu"] {
            assert_eq!(app.get("ana", &format!("/secrets?search={found}")).await.ids(), [101], "{found}");
        }
        assert!(app.get("ana", "/secrets?search=101.example").await.ids().is_empty());
        // A field that is absent stays as it is, and null empties a field.
        let answer = app.patch("ana", "/secrets/101", json!({"identifier": null, "disabled": false})).await;
        assert_eq!((&answer.ok(200)["identifier"], &answer.body["name"]), (&json!(null), &json!("Stripe Neu")));
        assert_eq!((&answer.body["tags"], &answer.body["shareable"]), (&json!(["a", "b"]), &json!(true)));
    }

    async fn who_may_view_only_changes_nothing(kind: Kind) {
        let app = App::start(kind, one_secret()).await;
        app.patch("carla", "/secrets/101", json!({"name": "Mine"})).await.problem(403);
        app.patch("davi", "/secrets/101", json!({"name": "Mine"})).await.problem(404);
        app.delete("carla", "/secrets/101/grants/10").await.problem(403);
        app.delete("davi", "/secrets/101/grants/10").await.problem(404);
        assert_eq!(app.get("ana", "/secrets/101").await.ok(200)["name"], "Stripe");
        assert_eq!(app.test.number("SELECT count(*) FROM grants").await, 2);
    }

    async fn an_identifier_that_is_taken_is_refused_by_name_and_nothing_changes(kind: Kind) {
        let app = App::start(kind, one_secret()).await;
        let answer = app.patch("ana", "/secrets/101", json!({"name": "New", "identifier": "taken", "tags": []})).await;
        assert_eq!(answer.problem(409), "identifier");
        let now = app.get("ana", "/secrets/101").await;
        assert_eq!((&now.ok(200)["name"], &now.body["tags"]), (&json!("Stripe"), &json!(["old"])));
        // A secret may keep its own identifier, and several secrets may have none.
        app.patch("ana", "/secrets/102", json!({"identifier": "taken"})).await.ok(200);
        app.patch("ana", "/secrets/102", json!({"identifier": ""})).await.ok(200);
        app.patch("ana", "/secrets/101", json!({"identifier": "taken"})).await.ok(200);
    }

    async fn a_wrong_field_is_named_and_nothing_changes(kind: Kind) {
        let app = App::start(kind, one_secret()).await;
        for (body, field) in [
            (json!({"name": ""}), "name"),
            (json!({"name": "ok", "url": null}), "url"),
            (json!({"name": "ok", "client_id": 7}), "client_id"),
            (json!({"name": "ok", "tags": ["x", 1]}), "tags[1]"),
            (json!({"name": "ok", "owner_id": 4}), "owner_id"),
            (json!({"name": "a\u{0}b"}), "name"),
            (json!({"name": "ok", "notes": "a\u{0}b"}), "notes"),
            (json!({"name": "ok", "disabled": 1}), "disabled"),
        ] {
            assert_eq!(app.patch("ana", "/secrets/101", body).await.problem(400), field);
        }
        assert_eq!(app.patch("ana", "/secrets/101", json!([])).await.problem(400), "the document");
        assert_eq!(app.get("ana", "/secrets/101").await.ok(200)["name"], "Stripe");
    }

    async fn a_client_secret_is_sealed_and_shown_where_it_is_asked_for_only(kind: Kind) {
        let logs = Logs::capture();
        let app = App::start(kind, one_secret()).await;
        let none = app.get("carla", "/secrets/101/client-secret").await;
        assert_eq!(*none.ok(200), json!({"client_secret": null}));
        let value = format!("{MARK} \"quoted\" ü \u{1F511}\n");
        let patched = app.patch("bruno", "/secrets/101", json!({"client_secret": value})).await;
        assert_eq!(patched.ok(200)["has_client_secret"], true);
        let shown = app.get("carla", "/secrets/101/client-secret").await;
        assert_eq!(*shown.ok(200), json!({"client_secret": value}));
        assert_eq!(shown.header("cache-control"), "no-store");
        assert_eq!(shown.header("content-type"), "application/json");
        app.get("davi", "/secrets/101/client-secret").await.problem(404);

        // No other answer holds the value, not even an answer to a wrong request that has sent it.
        let wrong = [
            app.patch("ana", "/secrets/101", json!({"client_secret": value, "name": 7})).await,
            app.patch("ana", "/secrets/101", json!({"client_secret": [value]})).await,
            app.patch("ana", "/secrets/101", json!({"client_secret": value, "identifier": "taken"})).await,
            app.patch("carla", "/secrets/101", json!({"client_secret": value})).await,
            app.request("PATCH", "/secrets/101").header("Content-Type", "application/json")
                .bytes(format!("{{\"client_secret\": \"{MARK}")).send().await,
            app.get("ana", "/secrets").await,
            app.get("ana", "/secrets/101").await,
            app.get("ana", "/secrets/ids").await,
            app.get("ana", "/secrets/101/grants").await,
            patched,
        ];
        for answer in wrong {
            assert!(!answer.text.contains(MARK), "{}", answer.text);
        }
        // The database does not hold it in the clear, either.
        let stored = match kind {
            Kind::Sqlite => format!("SELECT instr(hex(client_secret), hex('{MARK}')) FROM secrets WHERE id = 101"),
            Kind::Postgres => {
                format!("SELECT position(convert_to('{MARK}', 'UTF8') in client_secret) FROM secrets WHERE id = 101")
            }
        };
        assert_eq!(app.test.number(&stored).await, 0);

        // A value that was sealed for another secret, or with another key, is an error.
        app.test.sql("UPDATE secrets SET client_secret = (SELECT o.client_secret FROM secrets o WHERE o.id = 101), \
                      client_secret_key = (SELECT o.client_secret_key FROM secrets o WHERE o.id = 101) WHERE id = 102").await;
        app.get("ana", "/secrets/102/client-secret").await.problem(500);
        app.test.sql("UPDATE secrets SET client_secret_key = '00000000' WHERE id = 101").await;
        app.get("ana", "/secrets/101/client-secret").await.problem(500);

        let cleared = app.patch("ana", "/secrets/101", json!({"client_secret": null})).await;
        assert_eq!(cleared.ok(200)["has_client_secret"], false);
        logs.assert_clean();
    }

    async fn who_has_access_is_told_by_name_and_job(kind: Kind) {
        let job = "0199c3a0-0000-7000-8000-000000000001";
        let app = App::start(kind, one_secret().view(101, 20).sql(&format!(
            "INSERT INTO jobs (job_id, run, state, requested_by, traceparent, has_snapshot, open_lanes, granted, \
             upgraded, unchanged, rejected, attempts, failures, requested_at, notice_due) \
             VALUES ('{job}', 1, 'completed', 1, '', false, 0, 1, 0, 0, 0, 0, 0, 0, false), \
                    ('0199c3a0-0000-7000-8000-000000000002', 1, 'completed', 1, '', false, 0, 1, 0, 0, 0, 0, 0, 0, false); \
             UPDATE grants SET edit_job = (SELECT id FROM jobs WHERE job_id = '{job}'), \
               view_job = (SELECT id FROM jobs WHERE job_id <> '{job}') WHERE principal_id = 10"
        ))).await;
        let answer = app.get("ana", "/secrets/101/grants").await;
        let at = "1970-01-01T00:00:01Z";
        assert_eq!(
            *answer.ok(200),
            json!({"items": [
                {"principal_id": 3, "kind": "user", "name": "carla", "username": "carla", "email": "carla@example.com", "permission": "view", "job_id": null, "granted_at": at},
                {"principal_id": 10, "kind": "user_group", "name": "Team", "username": null, "email": null, "permission": "edit", "job_id": job, "granted_at": at},
                // Ana may know that carla's group has access, and not what carla calls it.
                {"principal_id": 20, "kind": "personal_group", "name": null, "username": null, "email": null, "permission": "view", "job_id": null, "granted_at": at},
            ], "next_cursor": null})
        );
        let seen = app.get("carla", "/secrets/101/grants").await;
        assert_eq!(seen.ok(200)["items"][2]["name"], "Carla's group");

        let first = app.get("ana", "/secrets/101/grants?limit=2").await;
        let next = first.next().expect("more");
        let second = app.get("ana", &format!("/secrets/101/grants?limit=2&cursor={next}")).await;
        assert_eq!((&second.ok(200)["items"][0]["principal_id"], second.next()), (&json!(20), None));
    }

    async fn taking_access_back_twice_is_the_same_as_once(kind: Kind) {
        let app = App::start(kind, one_secret()).await;
        app.get("carla", "/secrets/101").await.ok(200);
        for _ in 0..2 {
            let answer = app.delete("bruno", "/secrets/101/grants/3").await;
            assert_eq!(answer.ok(204), &json!(null));
            assert!(answer.text.is_empty());
        }
        app.get("carla", "/secrets/101").await.problem(404);
        // Whoever takes their own access back does not see the secret afterwards.
        app.delete("bruno", "/secrets/101/grants/10").await.ok(204);
        app.delete("bruno", "/secrets/101/grants/10").await.problem(404);
        app.delete("ana", "/secrets/101/grants/10").await.ok(204);
        assert_eq!(app.test.number("SELECT count(*) FROM grants").await, 0);
    }
}

/// This text is in every client secret of these tests.
const MARK: &str = "cs_must_not_be_logged";
static LINES: AtomicUsize = AtomicUsize::new(0);
static LEAKS: AtomicUsize = AtomicUsize::new(0);

/// Counts everything that is logged while these tests run, at every level.
struct Logs;

impl Logs {
    fn capture() -> Self {
        // This fails where another test has set a subscriber. Then no line is counted, which `assert_clean` notices.
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_writer(|| Counter)
            .try_init();
        Self
    }

    fn assert_clean(&self) {
        assert!(LINES.load(Ordering::Relaxed) > 0, "nothing was captured");
        assert_eq!(LEAKS.load(Ordering::Relaxed), 0, "a log line has a client secret");
    }
}

struct Counter;

impl Write for Counter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        if String::from_utf8_lossy(line).contains(MARK) {
            LEAKS.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
