//! What is recorded of requests: readings of client secrets, changes, access taken back, and refused sign-ins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use batchshare::db::{CallHook, Clock, Conn, Db, DbError};
use batchshare::domain::{Actor, JobId, PrincipalId};
use batchshare::store::Store;
use diesel::connection::SimpleConnection as _;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::app::App;
use crate::audit::trail::{entry, fields, hide, rows_with, told, trail, unhide};
use crate::fixtures::Fixture;
use crate::on_both_stores;
use crate::sim::gate::{answer_lost, outage};
use crate::support::{Kind, TestDb, admin_sql, eventually, settings};

const VALUE: &str = "value-not-to-be-recorded";

fn person(id: i64) -> Actor {
    Actor::Person(PrincipalId::try_from(id).expect("an id"))
}

/// Ana owns 101 and 102. Bruno may edit 101, carla may view it, and davi cannot see it.
fn vault() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .user(2, "bruno")
        .user(3, "carla")
        .user(4, "davi")
        .secret(101, 1, "Stripe")
        .tags(101, &["old"])
        .edit(101, 2)
        .view(101, 3)
        .secret(102, 1, "Other")
        .identifier(102, "taken")
}

/// The same vault, whose first secret has a client secret. That it was set is recorded.
async fn with_value(app: &App) {
    app.patch("ana", "/secrets/101", json!({"client_secret": VALUE})).await.ok(200);
}

/// Fails writes: 0 none, 1 before they begin, 2 after they were committed.
#[derive(Default)]
struct Writes(AtomicU8);

impl CallHook for Writes {
    fn before_call(&self, writing: bool) -> BoxFuture<'_, Result<(), DbError>> {
        let fails = writing && self.0.load(Ordering::Relaxed) == 1;
        Box::pin(std::future::ready(if fails { Err(outage()) } else { Ok(()) }))
    }

    fn after_write(&self) -> BoxFuture<'_, Result<(), DbError>> {
        let fails = self.0.load(Ordering::Relaxed) == 2;
        Box::pin(std::future::ready(if fails { Err(answer_lost()) } else { Ok(()) }))
    }
}

/// Somebody else holds what these statements lock (on SQLite the one writer) until the sender is dropped.
async fn hold(
    test: &TestDb,
    sql: &'static str,
) -> (std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let options = settings("sqlite://unused.db").db_options();
    let other = Db::new(test.db.target().clone(), options, Clock::default());
    let (let_go, holds) = std::sync::mpsc::channel::<()>();
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let work = move |conn: &mut Conn| {
        if conn.is_pg() {
            conn.batch_execute(sql)?;
        }
        locked.send(()).expect("the test waits");
        let _ = holds.recv();
        Ok(())
    };
    let holder = tokio::spawn(async move { other.write(work).await.expect("held") });
    is_locked.await.expect("a lock");
    (let_go, holder)
}

on_both_stores! {
    async fn a_client_secret_that_is_given_is_recorded_and_nothing_else_is(kind: Kind) {
        let app = App::start(kind, vault()).await;
        assert_eq!(*app.get("carla", "/secrets/101/client-secret").await.ok(200), json!({"client_secret": null}));
        app.get("davi", "/secrets/101/client-secret").await.problem(404);
        app.get("ana", "/secrets/999/client-secret").await.problem(404);
        assert_eq!(trail(&app.test).await, []);
        with_value(&app).await;
        app.get("davi", "/secrets/101/client-secret").await.problem(404);
        for user in ["carla", "carla", "bruno"] {
            assert_eq!(*app.get(user, "/secrets/101/client-secret").await.ok(200), json!({"client_secret": VALUE}));
        }
        // What does not open is not given.
        app.test.sql("UPDATE secrets SET client_secret_key = '00000000' WHERE id = 101").await;
        app.get("carla", "/secrets/101/client-secret").await.problem(500);
        let read = |by: i64| ("secret_read".to_owned(), Some(101), person(by));
        let trail = trail(&app.test).await;
        let told: Vec<_> = trail[1..]
            .iter()
            .map(|item| (item.action.clone(), item.secret.map(|id| id.get()), item.by))
            .collect();
        assert_eq!(told, [read(3), read(3), read(2)]);
        assert_eq!(rows_with(&app.test, kind, VALUE).await, 0);
    }

    async fn a_reading_that_cannot_be_recorded_gives_no_value(kind: Kind) {
        let test = TestDb::new(kind).await;
        vault().load(&test).await;
        let writes = Arc::new(Writes::default());
        let store = Store::new(test.db.with_hook(Arc::<Writes>::clone(&writes)));
        let app = App::serve(test, store, |_| {}).await;
        with_value(&app).await;
        let refused = async || {
            let answer = app.get("carla", "/secrets/101/client-secret").await;
            answer.problem(503);
            assert!(answer.body["detail"].as_str().is_some_and(|text| text.contains("recorded")), "{}", answer.text);
            assert!(!answer.text.contains(VALUE) && !answer.header("retry-after").is_empty());
        };
        let rows = async || app.test.number("SELECT count(*) FROM audit WHERE action = 'secret_read'").await;
        // There is no such table; the database does not answer; the commit has no answer.
        hide(&app.test).await;
        refused().await;
        unhide(&app.test).await;
        writes.0.store(1, Ordering::Relaxed);
        refused().await;
        assert_eq!(rows().await, 0);
        writes.0.store(2, Ordering::Relaxed);
        refused().await;
        assert_eq!(rows().await, 1, "there may be a record of what was not given, never the other way");
        writes.0.store(0, Ordering::Relaxed);
        app.get("carla", "/secrets/101/client-secret").await.ok(200);
        assert_eq!(rows().await, 2);
    }

    async fn a_change_is_one_row_with_the_names_of_its_fields_and_no_value(kind: Kind) {
        let app = App::start(kind, vault()).await;
        let change = async |body| app.patch("bruno", "/secrets/101", body).await.ok(200).clone();
        change(json!({
            "name": VALUE, "url": format!("https://{VALUE}.example"), "client_id": VALUE, "client_secret": VALUE,
            "identifier": VALUE, "method": "POST", "tags": [VALUE], "notes": VALUE, "disabled": true,
        })).await;
        let all = ["name", "url", "client_id", "client_secret", "identifier", "method", "tags", "notes", "disabled"];
        let mut expected = vec![entry("secret_disabled", fields(&all))];
        // What has the same value afterwards has not changed.
        change(json!({"name": VALUE, "tags": [VALUE], "notes": VALUE, "disabled": true, "identifier": VALUE})).await;
        change(json!({})).await;
        change(json!({"name": VALUE, "notes": ""})).await;
        expected.push(entry("secret_changed", fields(&["notes"])));
        change(json!({"disabled": false, "client_secret": VALUE})).await;
        expected.push(entry("secret_enabled", fields(&["client_secret", "disabled"])));
        for _ in 0..2 {
            change(json!({"client_secret": null, "tags": null})).await;
        }
        expected.push(entry("secret_changed", fields(&["client_secret", "tags"])));
        // A change that is refused is none.
        app.patch("bruno", "/secrets/101", json!({"name": "x", "identifier": "taken"})).await.problem(409);
        app.patch("carla", "/secrets/101", json!({"name": "x"})).await.problem(403);
        app.patch("davi", "/secrets/101", json!({"name": "x"})).await.problem(404);
        assert_eq!(told(&app.test).await, expected);
        assert!(trail(&app.test).await.iter().all(|item| item.by == person(2)));
        assert_eq!(rows_with(&app.test, kind, VALUE).await, 0);
        // Nor is one that cannot be recorded.
        hide(&app.test).await;
        app.patch("bruno", "/secrets/101", json!({"name": "Unrecorded"})).await.problem(500);
        unhide(&app.test).await;
        assert_eq!(app.get("ana", "/secrets/101").await.ok(200)["name"], VALUE);
    }

    async fn access_taken_back_by_hand_is_recorded_with_whose_it_was_and_who_gave_it(kind: Kind) {
        let jobs = ["0199c3a0-0000-7000-8000-000000000001", "0199c3a0-0000-7000-8000-000000000002"];
        let app = App::start(kind, vault().sql(&format!(
            "INSERT INTO jobs (id, job_id, run, state, requested_by, traceparent, has_snapshot, open_lanes, granted, \
             upgraded, unchanged, rejected, attempts, failures, requested_at, notice_due) \
             VALUES (11, '{}', 1, 'completed', 1, '', false, 0, 1, 0, 0, 0, 0, 0, 0, false), \
                    (12, '{}', 1, 'completed', 1, '', false, 0, 1, 0, 0, 0, 0, 0, 0, false); \
             UPDATE grants SET edit_job = 11, view_job = 12 WHERE principal_id = 2; \
             UPDATE grants SET view_job = 0, granted_at = 1700000000000000 WHERE principal_id = 3", jobs[0], jobs[1],
        ))).await;
        // A time of this release is in microseconds, and one of the release before in milliseconds.
        assert_eq!(app.get("ana", "/secrets/101/grants").await.ok(200)["items"][1]["granted_at"], "2023-11-14T22:13:20Z");
        hide(&app.test).await;
        app.delete("ana", "/secrets/101/grants/2").await.problem(500);
        unhide(&app.test).await;
        assert_eq!(app.test.number("SELECT count(*) FROM grants").await, 2);
        app.delete("carla", "/secrets/101/grants/2").await.problem(403);
        app.delete("davi", "/secrets/101/grants/2").await.problem(404);
        for principal in [2, 2, 3, 4] {
            app.delete("ana", &format!("/secrets/101/grants/{principal}")).await.ok(204);
        }
        let trail = trail(&app.test).await;
        assert_eq!(told(&app.test).await, [
            entry("grant_revoked", json!({"permission": "edit", "since": "1970-01-01T00:00:01Z"})),
            entry("grant_revoked", json!({"permission": "view", "since": "2023-11-14T22:13:20Z"})),
        ]);
        let known = jobs.map(|job| job.parse::<JobId>().expect("an id")).to_vec();
        let whose: Vec<_> = trail.iter().map(|item| (item.principal.map(|id| id.get()), item.jobs.clone())).collect();
        assert_eq!(whose, [(Some(2), known), (Some(3), vec![])]);
        assert!(trail.iter().all(|item| item.by == person(1) && item.secret.map(|id| id.get()) == Some(101)));
    }

    async fn refused_sign_ins_are_recorded_by_cause_and_no_answer_waits(kind: Kind) {
        let app = App::start(kind, vault().inactive(4)).await;
        let (let_go, holder) = hold(&app.test, "LOCK TABLE audit").await;
        // Nothing can be written now, and everybody is answered.
        for _ in 0..10 {
            app.get("nobody-of-this-name", "/me").await.problem(401);
            app.get("davi", "/me").await.problem(403);
        }
        drop(let_go);
        holder.await.expect("no panic");
        let rows = async || {
            app.get("nobody-of-this-name", "/me").await.problem(401);
            app.get("davi", "/me").await.problem(403);
            let told = told(&app.test).await;
            let causes = ["there is no such user", "the user cannot sign in: inactive"];
            let all = causes.iter().all(|cause| told.iter().any(|(_, detail)| detail["cause"] == *cause));
            all.then_some(told)
        };
        let told = eventually("a row of each cause", 20, rows).await;
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().all(|(action, detail)| action == "sign_in_refused" && detail["address"] == "127.0.0.1"));
        assert_eq!(rows_with(&app.test, kind, "nobody-of-this-name").await, 0);
        assert!(trail(&app.test).await.iter().all(|item| item.by == Actor::Nobody));
    }
}

/// On PostgreSQL, since SQLite has one writer. Whoever confirms access holds the secret meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_access_back_by_hand_waits_for_who_confirms_it() {
    let app = App::start(Kind::Postgres, vault()).await;
    let (let_go, holder) = hold(&app.test, "SELECT id FROM secrets WHERE id = 101 FOR KEY SHARE").await;
    let taken = app.delete("ana", "/secrets/101/grants/3");
    let waits = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let waits = async || (app.test.number(waiting).await == 1).then_some(());
        eventually("the change waits for the secret", 10, waits).await;
        assert_eq!(app.test.number("SELECT count(*) FROM grants").await, 2);
        drop(let_go);
    };
    let (taken, ()) = tokio::join!(taken, waits);
    taken.ok(204);
    holder.await.expect("no panic");
    assert_eq!(app.test.number("SELECT count(*) FROM grants").await, 1);
}

/// A server that takes no writes, as a standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_lists_secrets_and_gives_no_value() {
    let app = App::start(Kind::Postgres, vault()).await;
    with_value(&app).await;
    let read_only = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
                     current_database()); END $$";
    app.test.sql(read_only).await;
    // Sessions that are there keep their settings.
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                  AND pid <> pg_backend_pid()";
    admin_sql(&app.test.url, others);
    let listed = async || Some(app.get("carla", "/secrets").await).filter(|answer| answer.status == 200);
    assert_eq!(eventually("the new sessions", 20, listed).await.ids(), [101]);
    let answer = app.get("carla", "/secrets/101/client-secret").await;
    answer.problem(503);
    assert!(answer.text.contains("recorded") && !answer.text.contains(VALUE), "{}", answer.text);
    app.get("davi", "/secrets/101/client-secret").await.problem(404);
    assert_eq!(*app.get("ana", "/secrets/102/client-secret").await.ok(200), json!({"client_secret": null}));
}
