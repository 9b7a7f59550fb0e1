//! Undoing over HTTP: the answers, the preview and the refusals.

use serde_json::json;

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;

/// A job of ana's that has ended: it gave bruno and carla view of 101 and 102, and edit of 103 to bruno. Another job, of
/// carla's, claims bruno's view of 102.
async fn shared(app: &App) {
    let job = |id: i64, by: i64, n: i64, granted: i64, unchanged: i64, ids: &str, recipients: &str| {
        format!(
            "INSERT INTO jobs (id, job_id, run, state, requested_by, selection, recipients, digest, traceparent, \
             secrets_total, recipients_total, pairs, has_snapshot, open_lanes, granted, upgraded, unchanged, rejected, \
             rejections_total, attempts, failures, requested_at, started_at, finished_at, notice_due, ledger) \
             VALUES ({id}, '0199c3a0-0000-7000-8000-00000000000{n}', 1, 'completed', {by}, '{{\"ids\":[{ids}]}}', \
             '[{recipients}]', 'digest {n}', '', 2, 2, 4, false, 0, {granted}, 0, {unchanged}, 0, 0, 0, 0, 1, 1, 1, \
             false, true);"
        )
    };
    let to = |id: i64| format!("{{\"kind\":\"user\",\"id\":{id},\"permission\":\"view\"}}");
    let both = format!("{},{}", to(2), to(3));
    let mut sql = job(1001, 1, 1, 4, 0, "101,102", &both);
    sql.push_str(&job(1002, 3, 2, 0, 1, "102", &to(2)));
    for secret in [101, 102] {
        for who in [2, 3] {
            sql.push_str(&format!("INSERT INTO grants VALUES ({secret}, {who}, 1, 1001, NULL, 1, NULL);"));
        }
    }
    sql.push_str("INSERT INTO claims VALUES (102, 1002, 2000, NULL);");
    app.test.sql(&sql).await;
}

const JOB: &str = "/share-jobs/0199c3a0-0000-7000-8000-000000000001/undo";

fn people() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .user(2, "bruno")
        .user(3, "carla")
        .secret(101, 1, "Stripe")
        .secret(102, 1, "Adyen")
}

on_both_stores! {
    async fn an_undo_is_a_job_that_begins_at_once(kind: Kind) {
        let app = App::start(kind, people()).await;
        shared(&app).await;
        // The owner's readings do not count, and one before the job does not either.
        for (id, at, actor) in [(101, 5, 2), (101, 6, 3), (102, 7, 1), (102, 0, 2)] {
            app.test.sql(&format!("INSERT INTO audit (at, action, actor, secret_id, detail) VALUES ({at}, 'secret_read', {actor}, {id}, '{{}}')")).await;
        }
        let preview = app.get("ana", JOB).await;
        let expected = json!({"exact": true, "kept": 1, "lowered": 0, "rejected": 0, "revoked": 3, "untouched": 0, "values_read": 1});
        assert_eq!(preview.ok(200), &expected);
        let answer = app.request("POST", JOB).user("ana").header("idempotency-key", "k").json(json!({})).send().await;
        let undo = answer.ok(202)["job_id"].as_str().expect("an id").to_owned();
        assert_eq!(answer.header("location"), format!("/api/v1/share-jobs/{undo}"));
        for (field, value) in [
            ("kind", json!("undo")), ("state", json!("running")), ("pairs", json!(4)), ("done_pairs", json!(0)),
            ("parent", json!("0199c3a0-0000-7000-8000-000000000001")),
            ("counts", json!({"kept": 0, "lowered": 0, "rejected": 0, "revoked": 0, "untouched": 0})),
        ] {
            assert_eq!(answer.body[field], value, "{field}");
        }
        let recorded = format!("SELECT count(*) FROM audit WHERE action = 'job_undone' AND actor = 1 AND other_job = '{undo}'");
        assert_eq!(app.test.number(&recorded).await, 1);
        // Again with the same key it is the same one.
        let again = app.request("POST", JOB).user("ana").header("idempotency-key", "k").json(json!({})).send().await;
        assert_eq!(again.ok(202)["job_id"], undo.as_str());
        let parent = app.get("ana", "/share-jobs/0199c3a0-0000-7000-8000-000000000001").await;
        assert_eq!(parent.ok(200)["undone_by"], undo.as_str());
        let other = app.post("ana", JOB, json!({})).await;
        assert_eq!((other.status, &other.body["type"]), (409, &json!("urn:batchshare:problem:already_undone")));
        assert!(other.body["detail"].as_str().is_some_and(|detail| detail.contains(&undo)));
        let of_undo = app.post("ana", &format!("/share-jobs/{undo}/undo"), json!({})).await;
        assert_eq!((of_undo.status, &of_undo.body["type"]), (409, &json!("urn:batchshare:problem:not_undoable")));
    }

    async fn what_cannot_be_undone_has_its_problem(kind: Kind) {
        let app = App::start(kind, people()).await;
        shared(&app).await;
        let ask = async |method: &str, user: &str, path: &str| match method {
            "GET" => app.get(user, path).await,
            _ => app.post(user, path, json!({})).await,
        };
        for (change, status, name) in [
            ("UPDATE jobs SET ledger = false WHERE id = 1002", 503, "not_ready"),
            ("UPDATE jobs SET ledger = true; UPDATE jobs SET granted = 0, rejected = 4 WHERE id = 1001", 409, "nothing_to_undo"),
            ("UPDATE jobs SET state = 'running', finished_at = NULL WHERE id = 1001", 409, "job_not_ended"),
        ] {
            app.test.sql(change).await;
            for method in ["GET", "POST"] {
                let answer = ask(method, "ana", JOB).await;
                let problem = json!(format!("urn:batchshare:problem:{name}"));
                assert_eq!((answer.status, &answer.body["type"]), (status, &problem), "{method}");
            }
        }
        for method in ["GET", "POST"] {
            // The job of somebody else, none at all, and what is no id.
            assert_eq!(ask(method, "bruno", JOB).await.status, 404);
            let none = "/share-jobs/0199c3a0-0000-7000-8000-000000000009/undo";
            assert_eq!(ask(method, "ana", none).await.status, 404);
            assert_eq!(ask(method, "ana", "/share-jobs/17/undo").await.status, 404);
        }
        assert_eq!(app.test.number("SELECT count(*) FROM jobs WHERE kind = 'undo'").await, 0);
        assert_eq!(app.test.number("SELECT count(*) FROM grants").await, 4);
    }
}
