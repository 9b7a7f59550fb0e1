//! What is answered while a server is away, and how the gateway stops.

use std::sync::atomic::Ordering;

use batchshare::db::{Clock, Db, Target};
use batchshare::store::Store;
use diesel::connection::SimpleConnection as _;
use serde_json::json;

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;
use crate::support::{Kind, TestDb, settings};

on_both_stores! {
    async fn it_is_ready_while_the_database_answers(kind: Kind) {
        let app = App::start(kind, Fixture::new()).await;
        assert_eq!(*app.request("GET", "//healthz").send().await.ok(200), json!({"status": "ok"}));
        let ready = app.request("GET", "//readyz").send().await;
        assert_eq!(*ready.ok(200), json!({"status": "ok", "database": "ok", "broker": "ok"}));
        app.broker_is_there.store(false, Ordering::Relaxed);
        let ready = app.request("GET", "//readyz").send().await;
        assert_eq!(*ready.ok(200), json!({"status": "degraded", "database": "ok", "broker": "degraded"}));
    }

    async fn a_database_that_is_away_is_503_and_says_nothing_of_itself(kind: Kind) {
        let url = match kind {
            Kind::Sqlite => "sqlite:///no/such/folder/test.db",
            Kind::Postgres => "postgres://me:pass@127.0.0.1:1/vault",
        };
        let options = settings("sqlite://unused.db").db_options();
        let db = Db::new(Target::parse(url).expect("url"), options, Clock::default());
        let app = App::serve(TestDb::new(kind).await, Store::new(db), |_| {}).await;
        app.request("GET", "//healthz").send().await.ok(200);
        let ready = app.request("GET", "//readyz").send().await;
        assert_eq!(ready.ok(503)["database"], "unavailable");
        for answer in [app.get("ana", "/me").await, app.post("ana", "/share-jobs", json!({})).await] {
            answer.problem(503);
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
            for hidden in ["127.0.0.1", "vault", "folder", "pass"] {
                assert!(!answer.text.contains(hidden), "{}", answer.text);
            }
        }
    }

    async fn a_database_that_is_too_busy_is_503_with_a_time_to_come_again(kind: Kind) {
        let test = TestDb::with_settings(kind, |settings| settings.database.lock_timeout_ms = 100).await;
        Fixture::new().user(1, "ana").user(2, "bruno").secrets(1, [101]).load(&test).await;
        let options = settings("sqlite://unused.db").db_options();
        let other = Db::new(test.db.target().clone(), options, Clock::default());
        let store = Store::new(test.db.clone());
        let app = App::serve(test, store, |_| {}).await;
        let (locked, is_locked) = tokio::sync::oneshot::channel();
        let (let_go, holds) = std::sync::mpsc::channel::<()>();
        let holder = tokio::spawn(async move {
            other.write(move |conn| {
                if conn.is_pg() {
                    conn.batch_execute("LOCK TABLE jobs")?;
                }
                locked.send(()).expect("the test waits");
                Ok(holds.recv())
            }).await
        });
        is_locked.await.expect("a lock");
        let body = json!({"secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 2}]});
        let answer = app.post("ana", "/share-jobs", body.clone()).await;
        answer.problem(503);
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
        drop(let_go);
        holder.await.expect("no panic").expect("committed").expect_err("nobody sends");
        app.post("ana", "/share-jobs", body).await.ok(202);
    }

    async fn a_failure_of_ours_is_500_and_says_nothing_of_itself(kind: Kind) {
        let app = App::start(kind, Fixture::new().user(1, "ana").sql("DROP TABLE secret_tags")).await;
        let answer = app.get("ana", "/secrets?tag=x").await;
        answer.problem(500);
        assert!(!answer.text.contains("secret_tags") && answer.header("retry-after").is_empty());
    }

    async fn a_stop_ends_the_server_though_a_client_keeps_its_connection(kind: Kind) {
        let mut app = App::start(kind, Fixture::new().user(1, "ana")).await;
        app.get("ana", "/me").await.ok(200);
        app.stop().await;
        assert!(std::net::TcpStream::connect(&app.address).is_err());
    }
}
