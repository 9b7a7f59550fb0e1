//! What a share would do, over HTTP, and shares of which something is expected.

use serde_json::{Value, json};

use super::app::{Answer, App};
use crate::fixtures::Fixture;
use crate::held::Psql;
use crate::on_both_stores;
use crate::support::{Kind, eventually};

fn people() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .user(2, "bruno")
        .user(3, "carla")
        .user(4, "davi")
        .no_account(3)
        .user_group(10, "Payments", &[2, 3, 4])
        .personal_group(20, "Bruno's group", 2, &[])
        .secret(101, 1, "Stripe")
        .secret(102, 1, "Adyen")
        .secret(103, 2, "Bruno's")
        .secret(104, 2, "Viewed")
        .view(104, 1)
        .view(101, 2)
}

fn share(ids: &[i64]) -> Value {
    json!({"secrets": {"ids": ids}, "recipients": [{"kind": "user", "id": 2}]})
}

fn expecting(ids: &[i64], granted: i64, unchanged: i64) -> Value {
    let mut body = share(ids);
    body["expect"] = json!({"granted": granted, "upgraded": 0, "unchanged": unchanged, "rejected": 0});
    body
}

/// A preview in which everything was looked at. On a busy machine there may be no time for it.
async fn preview(app: &App, body: &Value) -> Answer {
    eventually("an exact preview", 60, async || {
        let answer = app.post("ana", "/share-jobs/preview", body.clone()).await;
        (answer.body["exact"] != json!(false)).then_some(answer)
    })
    .await
}

/// Sends a share until there was time to check what is expected of it.
async fn post(app: &App, key: Option<&str>, body: &Value) -> Answer {
    eventually("an answer after a check", 60, async || {
        let call = app.request("POST", "/share-jobs").user("ana");
        let call = if let Some(key) = key { call.header("Idempotency-Key", key) } else { call };
        let answer = call.json(body.clone()).send().await;
        (answer.body["type"] != json!("urn:batchshare:problem:not_checked")).then_some(answer)
    })
    .await
}

on_both_stores! {
    async fn a_preview_counts_and_names_what_the_reader_may_know(kind: Kind) {
        let app = App::start(kind, people()).await;
        let body = json!({"secrets": {"ids": [104, 103, 101, 102, 999, 101]}, "recipients": [
            {"kind": "user", "id": 2, "permission": "edit"}, {"kind": "user_group", "id": 10}, {"kind": "user", "id": 3},
            {"kind": "personal_group", "id": 20},
        ]});
        let line = |kind: &str, recipient: Option<&str>, id: i64, name: Option<&str>, reason: &str, pairs: i64| {
            let username = name.filter(|_| recipient == Some("user"));
            let email = username.map(|username| format!("{username}@example.com"));
            json!({"kind": kind, "recipient_kind": recipient, "id": id, "name": name, "username": username,
                   "email": email, "reason": reason, "pairs": pairs})
        };
        let told = preview(&app, &body).await;
        assert_eq!(*told.ok(200), json!({
            "exact": true, "secrets": 5, "recipients": 4, "pairs": 20,
            // Bruno's view of 101 is raised; carla and bruno's group get nothing of 101 and 102.
            "granted": 3, "upgraded": 1, "unchanged": 0, "rejected": 16,
            "people": {"direct": 1, "through_groups": 2, "distinct": 2},
            "rejections_total": 5,
            "rejections": [
                // What one may not know of is as what does not exist.
                line("secret", None, 103, None, "not_found", 4),
                line("secret", None, 104, Some("Viewed"), "not_allowed", 4),
                line("secret", None, 999, None, "not_found", 4),
                line("recipient", Some("user"), 3, Some("carla"), "no_account", 2),
                line("recipient", Some("personal_group"), 20, None, "not_found", 2),
            ],
        }));
        for table in ["jobs", "outbox"] {
            assert_eq!(app.test.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
        assert_eq!(app.test.number("SELECT count(*) FROM grants").await, 2);
        app.get("ana", "/share-jobs/preview").await.problem(405);
    }

    async fn what_the_share_refuses_the_preview_refuses(kind: Kind) {
        let app = App::start_with(kind, people(), |settings| settings.limits.message_bytes = 16 * 1024).await;
        let many: Vec<i64> = (100_000..103_000).collect();
        for body in [
            json!({"secrets": {"all": {"search": "nothing has this"}}, "recipients": [{"kind": "user", "id": 2}]}),
            json!({"secrets": {"ids": many}, "recipients": [{"kind": "user", "id": 2}]}),
        ] {
            let refused = app.post("ana", "/share-jobs", body.clone()).await;
            refused.problem(422);
            let told = preview(&app, &body).await;
            // The message of the one or the other has a few digits more.
            for member in ["type", "title", "status", "field"] {
                assert_eq!(told.body[member], refused.body[member]);
            }
        }
        for path in ["/share-jobs", "/share-jobs/preview"] {
            let call = || app.request("POST", path).user("ana");
            call().header("Content-Type", "application/json").bytes("{").send().await.problem(400);
            assert_eq!(call().bytes("{}").send().await.problem(415), "Content-Type");
            app.request("POST", path).user("nobody").json(share(&[101])).send().await.problem(401);
        }
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 0);
    }

    async fn a_preview_may_be_as_large_as_what_it_is_of(kind: Kind) {
        let app = App::start(kind, people()).await;
        // More than the body of somebody without a turn may have.
        let many: Vec<i64> = (100_000_000..100_008_000).collect();
        let body = share(&many);
        assert!(body.to_string().len() > 64 * 1024);
        assert_eq!(preview(&app, &body).await.ok(200)["rejected"], json!(8_000));
        app.post("ana", "/unshare-jobs/preview", body.clone()).await.ok(200);
        app.post("ana", "/share-jobs", body).await.ok(202);
    }

    async fn a_share_of_which_something_is_expected_is_accepted_only_if_it_would_do_that(kind: Kind) {
        let app = App::start(kind, people()).await;
        let differs = post(&app, None, &expecting(&[101, 102], 2, 0)).await;
        assert_eq!(differs.problem(409), "expect");
        assert_eq!(differs.body["type"], json!("urn:batchshare:problem:not_as_expected"));
        let expected = preview(&app, &share(&[101, 102])).await;
        assert_eq!(&differs.body["preview"], expected.ok(200));
        assert_eq!((&expected.body["granted"], &expected.body["unchanged"]), (&json!(1), &json!(1)));
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 0);
        post(&app, None, &expecting(&[101, 102], 1, 1)).await.ok(202);
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 1);
        // A share that cannot be is refused for that, whatever is expected of it.
        let mut nothing = expecting(&[101], 7, 0);
        nothing["secrets"] = json!({"all": {"search": "nothing has this"}});
        assert_eq!(post(&app, None, &nothing).await.problem(422), "secrets.all");
    }

    async fn what_is_expected_is_no_part_of_what_a_key_is_for(kind: Kind) {
        let app = App::start(kind, people()).await;
        // A share that was refused has used no key.
        post(&app, Some("a key"), &expecting(&[102], 0, 1)).await.problem(409);
        let first = post(&app, Some("a key"), &expecting(&[102], 1, 0)).await.ok(202)["job_id"].clone();
        // A repetition is answered with the job, also after the job has changed what it would do now.
        app.test.sql("INSERT INTO grants (secret_id, principal_id, permission, granted_at) VALUES (102, 2, 1, 1)").await;
        for body in [expecting(&[102], 1, 0), expecting(&[102], 0, 1), share(&[102])] {
            assert_eq!(post(&app, Some("a key"), &body).await.ok(202)["job_id"], first, "{body}");
        }
        for body in [expecting(&[101], 1, 0), expecting(&[101], 0, 1), share(&[101])] {
            assert_eq!(post(&app, Some("a key"), &body).await.problem(422), "Idempotency-Key", "{body}");
        }
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 1);
    }
}

/// As long as somebody holds the table of grants, nobody can look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_looked_at_in_time_is_not_checked_and_not_exact() {
    let app = App::start(Kind::Postgres, people()).await;
    let mut somebody = Psql::connect(&app.test.url);
    somebody.sql("BEGIN; LOCK TABLE grants IN ACCESS EXCLUSIVE MODE");
    let answer = app.post("ana", "/share-jobs", expecting(&[102], 1, 0)).await;
    assert_eq!(answer.problem(409), "expect");
    assert_eq!(answer.body["type"], json!("urn:batchshare:problem:not_checked"));
    assert_eq!(answer.body.get("preview"), None);
    let told = app.post("ana", "/share-jobs/preview", share(&[101, 102])).await;
    let nothing = json!({"exact": false, "secrets": 2, "recipients": 1, "pairs": 2, "granted": 0, "upgraded": 0,
        "unchanged": 0, "rejected": 0, "people": null, "rejections": [], "rejections_total": 0});
    assert_eq!(*told.ok(200), nothing);
    // Nobody is kept from sharing.
    app.post("ana", "/share-jobs", share(&[101])).await.ok(202);
    somebody.sql("ROLLBACK");
    post(&app, None, &expecting(&[102], 1, 0)).await.ok(202);
}
