//! Taking access away in a batch over HTTP, and what it would do.

use serde_json::{Value, json};

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;

fn people() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .user(2, "bruno")
        .user(3, "carla")
        .secret(101, 1, "Stripe")
        .secret(102, 1, "Adyen")
        .tags(102, &["prod"])
        .secret(103, 2, "Bruno's")
        .view(101, 2)
        .edit(102, 2)
        .edit(102, 3)
}

fn unshare(ids: &[i64]) -> Value {
    json!({"secrets": {"ids": ids},
           "recipients": [{"kind": "user", "id": 2}, {"kind": "user", "id": 3, "permission": "edit"}]})
}

on_both_stores! {
    async fn an_unshare_is_accepted_at_once_and_can_be_looked_up(kind: Kind) {
        let app = App::start(kind, people()).await;
        let answer = app.post("ana", "/unshare-jobs", unshare(&[102, 101])).await;
        let job = answer.ok(202).clone();
        let path = format!("/share-jobs/{}", job["job_id"].as_str().expect("an id"));
        assert_eq!(answer.header("location"), format!("/api/v1{path}"));
        for (field, value) in [
            ("kind", json!("unshare")), ("state", json!("queued")), ("pairs", json!(4)), ("done_pairs", json!(0)),
            ("counts", json!({"lowered": 0, "rejected": 0, "revoked": 0, "untouched": 0})),
        ] {
            assert_eq!(job[field], value, "{field}");
        }
        // Whoever looks it up is told as well from whom and of what it takes.
        let mut titled = job.clone();
        titled["first_recipients"] =
            json!([{"kind": "user", "id": 2, "name": "bruno"}, {"kind": "user", "id": 3, "name": "carla"}]);
        titled["first_secrets"] = json!([{"id": 101, "name": "Stripe"}, {"id": 102, "name": "Adyen"}]);
        assert_eq!(app.get("ana", &path).await.ok(200), &titled);
        assert_eq!(app.get("bruno", &path).await.status, 404);
        let listed = app.get("ana", "/share-jobs").await;
        assert_eq!(listed.ok(200)["items"][0], titled);
        let recipients = app.get("ana", &format!("{path}/recipients")).await;
        assert_eq!(recipients.ids(), [2, 3]);
        assert_eq!((&recipients.body["items"][1]["permission"], &recipients.body["items"][1]["counts"]), (&json!("edit"), &Value::Null));
        assert_eq!(app.get("ana", &format!("{path}/secrets")).await.ids(), [101, 102]);
    }

    async fn a_preview_counts_and_changes_nothing(kind: Kind) {
        let app = App::start(kind, people()).await;
        let told = app.post("ana", "/unshare-jobs/preview", unshare(&[101, 102, 103])).await;
        let expected = json!({"exact": true, "lowered": 1, "pairs": 6, "recipients": 2, "rejected": 2, "revoked": 2,
                              "secrets": 3, "untouched": 1});
        assert_eq!(told.ok(200), &expected);
        let all = json!({"secrets": {"all": {"tag": "prod"}}, "recipients": [{"kind": "user", "id": 2}]});
        let told = app.post("ana", "/unshare-jobs/preview", all).await;
        assert_eq!((&told.ok(200)["revoked"], &told.body["pairs"]), (&json!(1), &json!(1)));
        // The reasons are those of the job: what one may not know of counts as what does not exist.
        let told = app.post("carla", "/unshare-jobs/preview", unshare(&[101, 102, 999])).await;
        assert_eq!((&told.ok(200)["rejected"], &told.body["lowered"]), (&json!(4), &json!(1)));
        for table in ["jobs", "outbox"] {
            assert_eq!(app.test.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
        assert_eq!(app.test.number("SELECT count(*) FROM grants").await, 3);
    }

    async fn who_asked_for_an_unshare_reads_who_still_has_access(kind: Kind) {
        let app = App::start(kind, people().user_group(10, "Payments", &[2, 3]).view(101, 10)).await;
        let job = app.post("ana", "/unshare-jobs", unshare(&[101, 102, 103])).await;
        let path = format!("/share-jobs/{}/access-left", job.ok(202)["job_id"].as_str().expect("an id"));
        let left = app.get("ana", &path).await;
        let items = left.ok(200)["items"].as_array().expect("items");
        let lines: Vec<_> = items.iter().map(|line| (line["secret"]["id"].clone(), line["user"]["id"].clone())).collect();
        let pair = |secret: i64, user: i64| (json!(secret), json!(user));
        assert_eq!(lines, [pair(101, 2), pair(101, 3), pair(102, 2), pair(102, 3)]);
        assert_eq!((&items[1]["secret"]["name"], &items[1]["user"]), (&json!("Stripe"), &json!({"id": 3, "name": "carla", "username": "carla"})));
        let way = &items[1]["access"]["because"][0];
        assert_eq!((&items[1]["access"]["effective"], &way["way"], &way["principal"]["name"]), (&json!("view"), &json!("user_group"), &json!("Payments")));
        // Page by page it is the same.
        let mut cursor = String::new();
        for line in items {
            let page = app.get("ana", &format!("{path}?limit=1{cursor}")).await;
            assert_eq!(&page.ok(200)["items"], &json!([line]));
            cursor = page.body["next_cursor"].as_str().map(|next| format!("&cursor={next}")).unwrap_or_default();
        }
        for (person, path) in [("bruno", path.clone()), ("ana", path.replace("/share-jobs/", "/share-jobs/0"))] {
            assert!(matches!(app.get(person, &path).await.status, 400 | 404), "{person} {path}");
        }
        app.get("ana", &format!("{path}?cursor=MTIz")).await.problem(400);
        let share = app.post("ana", "/share-jobs", json!({"secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 2}]})).await;
        let share = share.ok(202)["job_id"].as_str().expect("an id").to_owned();
        app.get("ana", &format!("/share-jobs/{share}/access-left")).await.problem(404);
    }

    async fn a_key_of_a_share_is_no_key_of_an_unshare(kind: Kind) {
        let app = App::start(kind, people()).await;
        let send = async |path: &str| {
            let call = app.request("POST", path).user("ana").header("idempotency-key", "a key");
            call.json(unshare(&[101])).send().await
        };
        let first = send("/unshare-jobs").await;
        assert_eq!(send("/unshare-jobs").await.ok(202)["job_id"], first.ok(202)["job_id"]);
        let other = send("/share-jobs").await;
        assert_eq!((other.status, &other.body["type"]), (422, &json!("urn:batchshare:problem:key_conflict")));
    }

    async fn what_is_wrong_is_told_as_for_a_share(kind: Kind) {
        let app = App::start(kind, people()).await;
        let to = json!([{"kind": "user", "id": 2}]);
        for path in ["/unshare-jobs", "/unshare-jobs/preview"] {
            for (body, status, field) in [
                (json!({}), 400, "secrets"),
                (json!({"secrets": {"ids": []}, "recipients": to}), 400, "secrets.ids"),
                (json!({"secrets": {"ids": [101]}, "recipients": []}), 400, "recipients"),
                (json!({"secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 2, "take": "view"}]}), 400, "recipients[0].take"),
                (json!({"secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 2, "permission": "none"}]}), 400, "recipients[0].permission"),
                (json!({"secrets": {"all": {"tag": "none"}}, "recipients": to}), 422, "secrets.all"),
            ] {
                let answer = app.post("ana", path, body.clone()).await;
                assert_eq!((answer.status, &answer.body["field"]), (status, &json!(field)), "{path} {body}");
            }
            assert_eq!(app.get("ana", path).await.status, 405, "{path}");
        }
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 0);
    }

    async fn a_preview_is_not_larger_than_a_job_may_be(kind: Kind) {
        let app = App::start_with(kind, people(), |settings| settings.limits.pairs = 3).await;
        for path in ["/unshare-jobs", "/unshare-jobs/preview"] {
            let answer = app.post("ana", path, unshare(&[101, 102])).await;
            assert_eq!((answer.status, &answer.body["field"]), (422, &json!("secrets.ids")), "{path}");
        }
    }

    async fn nothing_is_taken_before_the_database_is_ready(kind: Kind) {
        let app = App::start(kind, people()).await;
        app.post("ana", "/share-jobs", json!({"secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 2}]})).await.ok(202);
        app.test.sql("UPDATE jobs SET state = 'completed', unchanged = 1, finished_at = 1, ledger = false").await;
        for path in ["/unshare-jobs", "/unshare-jobs/preview"] {
            let answer = app.post("ana", path, unshare(&[101])).await;
            assert_eq!((answer.status, &answer.body["type"]), (503, &json!("urn:batchshare:problem:not_ready")), "{path}");
            assert!(!answer.header("retry-after").is_empty());
        }
    }
}
