//! The rest of a job over HTTP: the answers and the refusals.

use serde_json::{Value, json};

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;

/// A job of ana's that was cancelled before it did anything: two secrets for two people. Another has done all. The database
/// gives them their ids, 1 and 2, as newer jobs have to have greater ones.
async fn cancelled(app: &App) {
    let job = |n: i64, state: &str, granted: i64| {
        format!(
            "INSERT INTO jobs (job_id, run, state, requested_by, selection, recipients, digest, traceparent, \
             secrets_total, recipients_total, pairs, has_snapshot, open_lanes, granted, upgraded, unchanged, rejected, \
             rejections_total, attempts, failures, requested_at, started_at, finished_at, notice_due, ledger) \
             VALUES ('0199c3a0-0000-7000-8000-00000000000{n}', 1, '{state}', 1, '{{\"ids\":[101,102]}}', \
             '[{{\"kind\":\"user\",\"id\":2,\"permission\":\"view\"}},{{\"kind\":\"user\",\"id\":3,\"permission\":\"edit\"}}]', \
             'digest {n}', '', 2, 2, 4, false, 0, {granted}, 0, 0, 0, 0, 0, 0, 1, 1, 1, false, true);"
        )
    };
    app.test.sql(&(job(1, "cancelled", 0) + &job(2, "completed", 4))).await;
}

const JOB: &str = "/share-jobs/0199c3a0-0000-7000-8000-000000000001";
const DONE: &str = "/share-jobs/0199c3a0-0000-7000-8000-000000000002";

fn people() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .user(2, "bruno")
        .user(3, "carla")
        .secret(101, 1, "Stripe")
        .secret(102, 1, "Adyen")
}

fn problem(name: &str) -> Value {
    json!(format!("urn:batchshare:problem:{name}"))
}

on_both_stores! {
    async fn the_rest_is_a_job_that_begins_at_once(kind: Kind) {
        let app = App::start(kind, people()).await;
        cancelled(&app).await;
        let ask = async |key: Option<&str>, body: Option<Value>| {
            let mut request = app.request("POST", &format!("{JOB}/rest")).user("ana");
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            match body {
                Some(body) => request.json(body).send().await,
                None => request.header("content-type", "application/json").bytes("").send().await,
            }
        };
        let answer = ask(Some("k"), Some(json!({}))).await;
        let rest = answer.ok(202)["job_id"].as_str().expect("an id").to_owned();
        assert_eq!(answer.header("location"), format!("/api/v1/share-jobs/{rest}"));
        for (field, value) in [
            ("kind", json!("share")), ("state", json!("running")), ("pairs", json!(4)), ("done_pairs", json!(0)),
            ("parent", json!("0199c3a0-0000-7000-8000-000000000001")),
        ] {
            assert_eq!(answer.body[field], value, "{field}");
        }
        // A double click, with the key or without, is one job. Its body may be empty.
        for key in [Some("k"), Some("another"), None] {
            assert_eq!(ask(key, None).await.ok(202)["job_id"], rest.as_str(), "{key:?}");
        }
        let other = ask(None, Some(json!({"reasons": ["inactive"]}))).await;
        assert_eq!((other.status, &other.body["type"]), (409, &problem("rest_running")));
        let conflict = ask(Some("k"), Some(json!({"reasons": ["inactive"]}))).await;
        assert_eq!((conflict.status, &conflict.body["type"]), (422, &problem("key_conflict")));
        let running = app.post("ana", &format!("/share-jobs/{rest}/rest"), json!({})).await;
        assert_eq!((running.status, &running.body["type"]), (409, &problem("job_not_ended")));
        // It is told like any other job.
        let job = app.get("ana", &format!("/share-jobs/{rest}")).await;
        assert_eq!(job.ok(200)["first_secrets"][1]["name"], "Adyen");
        let recipients = app.get("ana", &format!("/share-jobs/{rest}/recipients")).await;
        let permissions: Vec<_> = recipients.ok(200)["items"].as_array().expect("items").iter().map(|of| of["permission"].clone()).collect();
        assert_eq!(permissions, ["view", "edit"]);
        assert_eq!(app.post("ana", &format!("/share-jobs/{rest}/cancel"), json!({})).await.ok(200)["state"], "cancelled");
        let again = app.post("ana", &format!("/share-jobs/{rest}/rest"), json!({})).await;
        assert_eq!(again.ok(202)["pairs"], 4);
    }

    async fn a_rest_that_cannot_be_shared_has_its_problem(kind: Kind) {
        let app = App::start(kind, people()).await;
        cancelled(&app).await;
        let none = app.post("ana", &format!("{DONE}/rest"), json!({})).await;
        assert_eq!((none.status, &none.body["type"]), (409, &problem("nothing_left")));
        for (change, name) in [
            ("UPDATE jobs SET state = 'running', finished_at = NULL WHERE id = 1", "job_not_ended"),
            ("UPDATE jobs SET state = 'completed_with_rejections', finished_at = 1, granted = 1, rejected = 3, ledger = false WHERE id = 1", "not_recorded"),
            ("UPDATE jobs SET kind = 'unshare' WHERE id = 1", "not_a_share"),
            ("UPDATE jobs SET kind = 'share', undone_by = '0199c3a0-0000-7000-8000-000000000002' WHERE id = 1; \
              UPDATE jobs SET kind = 'undo', parent = '0199c3a0-0000-7000-8000-000000000001' WHERE id = 2", "already_undone"),
        ] {
            app.test.sql(change).await;
            let answer = app.post("ana", &format!("{JOB}/rest"), json!({})).await;
            assert_eq!((answer.status, &answer.body["type"]), (409, &problem(name)), "{change}");
        }
        for (body, field) in [
            (json!({"reasons": []}), "reasons"),
            (json!({"reasons": ["tired"]}), "reasons[0]"),
            (json!({"reasons": "inactive"}), "reasons"),
            (json!({"reasons": [1]}), "reasons[0]"),
            (json!({"secrets": [101]}), "secrets"),
        ] {
            let answer = app.post("ana", &format!("{JOB}/rest"), body.clone()).await;
            assert_eq!((answer.status, &answer.body["field"]), (400, &json!(field)), "{body}");
        }
        for (user, path) in [
            ("bruno", format!("{JOB}/rest")),
            ("ana", "/share-jobs/0199c3a0-0000-7000-8000-000000000009/rest".to_owned()),
            ("ana", "/share-jobs/17/rest".to_owned()),
        ] {
            assert_eq!(app.post(user, &path, json!({})).await.status, 404, "{user} {path}");
        }
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 2);
    }

    async fn a_rest_counts_against_what_one_person_may_ask_for(kind: Kind) {
        let app = App::start_with(kind, people(), |settings| settings.limits.pairs_per_hour = 5).await;
        cancelled(&app).await;
        let over = app.post("ana", &format!("{JOB}/rest"), json!({})).await;
        let first = over.ok(202)["job_id"].as_str().expect("an id").to_owned();
        app.post("ana", &format!("/share-jobs/{first}/cancel"), json!({})).await;
        let over = app.post("ana", &format!("{JOB}/rest"), json!({})).await;
        assert_eq!((over.status, &over.body["type"]), (429, &problem("too_much_an_hour")));
    }
}
