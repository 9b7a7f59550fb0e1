//! What a job is about: its recipients and secrets by name, and what it is called after.

use serde_json::{Value, json};

use super::app::{Answer, App};
use crate::fixtures::Fixture;
use crate::on_both_stores;

fn people() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .person(2, "bruno", "Bruno Dias", "bruno@example.com")
        .user(3, "carla")
        .user_group(10, "Payments", &[2])
        .personal_group(20, "Carla's group", 3, &[])
        .personal_group(21, "Ana's group", 1, &[])
        .secret(101, 1, "Stripe")
        .secret(102, 1, "Adyen")
        .tags(102, &["prod"])
        .secret(103, 2, "Bruno's")
        .secret(104, 2, "Viewed")
        .view(104, 1)
        .secret(105, 2, "Edited")
        .edit(105, 1)
}

fn job_id(answer: &Answer) -> String {
    answer.ok(202)["job_id"].as_str().expect("a job id").to_owned()
}

/// Recipients of all kinds. One has another kind than its id, one is hidden from ana, and one is nobody.
fn recipients() -> Value {
    json!([
        {"kind": "personal_group", "id": 20}, {"kind": "personal_group", "id": 21, "permission": "edit"},
        {"kind": "user_group", "id": 10}, {"kind": "user", "id": 2, "permission": "edit"}, {"kind": "user", "id": 10},
        {"kind": "user_group", "id": 999},
    ])
}

/// The counts of a line of a job that nobody has begun.
fn nothing_yet() -> Value {
    json!({"granted": 0, "upgraded": 0, "unchanged": 0, "rejected": 0})
}

/// All pages of a listing, each with so many items.
async fn pages(app: &App, path: &str, limit: usize) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = app.get("ana", &format!("{path}?limit={limit}&cursor={cursor}")).await;
        let some = page.ok(200)["items"].as_array().expect("items").clone();
        assert!(some.len() <= limit);
        items.extend(some);
        match page.next() {
            Some(next) => cursor = next,
            None => return items,
        }
    }
}

on_both_stores! {
    async fn a_job_lists_its_recipients_and_secrets_by_name(kind: Kind) {
        let app = App::start(kind, people()).await;
        let body = json!({"secrets": {"ids": [105, 103, 101, 999, 104, 101]}, "recipients": recipients()});
        let job = format!("/share-jobs/{}", job_id(&app.post("ana", "/share-jobs", body).await));
        let person = |kind: &str, id: i64, permission: &str, name: Option<&str>, more: Option<(&str, &str)>| {
            json!({"kind": kind, "id": id, "permission": permission, "name": name, "username": more.map(|(name, _)| name),
                   "email": more.map(|(_, email)| email), "counts": nothing_yet()})
        };
        let recipients = app.get("ana", &format!("{job}/recipients")).await;
        assert_eq!(
            *recipients.ok(200),
            json!({"items": [
                person("user", 2, "edit", Some("Bruno Dias"), Some(("bruno", "bruno@example.com"))),
                person("user", 10, "view", None, None),
                person("user_group", 10, "view", Some("Payments"), None),
                person("user_group", 999, "view", None, None),
                person("personal_group", 20, "view", None, None),
                person("personal_group", 21, "edit", Some("Ana's group"), None),
            ], "next_cursor": null})
        );
        let secret = |id: i64, name: Option<&str>| json!({"id": id, "name": name, "counts": nothing_yet()});
        let secrets = app.get("ana", &format!("{job}/secrets")).await;
        assert_eq!(
            *secrets.ok(200),
            json!({"items": [secret(101, Some("Stripe")), secret(103, None), secret(104, Some("Viewed")),
                             secret(105, Some("Edited")), secret(999, None)], "next_cursor": null})
        );
        for limit in 1..=6 {
            assert_eq!(json!(pages(&app, &format!("{job}/recipients"), limit).await), recipients.body["items"]);
            assert_eq!(json!(pages(&app, &format!("{job}/secrets"), limit).await), secrets.body["items"]);
        }
        // A name goes with the right to know it.
        app.test.sql("DELETE FROM grants WHERE secret_id = 105").await;
        assert_eq!(app.get("ana", &format!("{job}/secrets")).await.body["items"][3], secret(105, None));
        for list in ["recipients", "secrets"] {
            app.get("bruno", &format!("{job}/{list}")).await.problem(404);
            app.get("ana", &format!("/share-jobs/0199c3a0-0000-7000-8000-000000000000/{list}")).await.problem(404);
            app.get("ana", &format!("/share-jobs/x/{list}")).await.problem(404);
            assert_eq!(app.get("ana", &format!("{job}/{list}?limit=0")).await.problem(400), "limit");
            assert_eq!(app.get("ana", &format!("{job}/{list}?cursor=x")).await.problem(400), "cursor");
            // The cursor of a place behind the end, and of the largest number.
            for cursor in ["OTk", "OTIyMzM3MjAzNjg1NDc3NTgwNw"] {
                let answer = app.get("ana", &format!("{job}/{list}?cursor={cursor}")).await;
                assert_eq!(*answer.ok(200), json!({"items": [], "next_cursor": null}));
            }
        }
    }

    async fn a_job_about_all_lists_the_secrets_that_it_found(kind: Kind) {
        let fixture = people().secrets(1, 1_001..=3_100);
        let app = App::start(kind, fixture).await;
        let body = json!({"secrets": {"all": {}}, "recipients": [{"kind": "user", "id": 2}]});
        let job = format!("/share-jobs/{}", job_id(&app.post("ana", "/share-jobs", body).await));
        let items = pages(&app, &format!("{job}/secrets"), 999).await;
        let ids: Vec<i64> = items.iter().filter_map(|item| item["id"].as_i64()).collect();
        assert_eq!(ids, [101, 102, 105].into_iter().chain(1_001..=3_100).collect::<Vec<i64>>());
        assert!(items.iter().all(|item| item["name"].is_string()));
        let first = app.get("ana", &job).await.ok(200)["first_secrets"].clone();
        assert_eq!(first, json!([{"id": 101, "name": "Stripe"}, {"id": 102, "name": "Adyen"}, {"id": 105, "name": "Edited"}]));
        // As it came by message and nobody has begun it yet, nobody knows which they are.
        app.test.sql("DELETE FROM job_secrets; UPDATE jobs SET has_snapshot = false, secrets_total = NULL, pairs = NULL").await;
        assert_eq!(app.get("ana", &format!("{job}/secrets")).await.ok(200)["items"], json!([]));
        assert_eq!(app.get("ana", &job).await.ok(200)["first_secrets"], json!([]));
    }

    async fn jobs_and_notices_are_called_after_their_first_recipients_and_secrets(kind: Kind) {
        let app = App::start(kind, people()).await;
        let many = json!({"secrets": {"ids": [105, 103, 101, 999]}, "recipients": recipients()});
        let one = json!({"secrets": {"ids": [102]}, "recipients": [{"kind": "user", "id": 2}]});
        let many = job_id(&app.post("ana", "/share-jobs", many).await);
        let one = job_id(&app.post("ana", "/share-jobs", one).await);
        app.test.sql(
            "INSERT INTO notices (job, run, user_id, state, reason, pairs, granted, upgraded, unchanged, rejected, \
             rejections_total, created_at) SELECT id, 1, 1, 'failed', 'nothing_to_share', 2, 0, 0, 0, 2, 1, 1000 FROM jobs"
        ).await;
        let of_many = (
            json!([{"kind": "user", "id": 2, "name": "Bruno Dias"}, {"kind": "user", "id": 10, "name": null},
                   {"kind": "user_group", "id": 10, "name": "Payments"}]),
            json!([{"id": 101, "name": "Stripe"}, {"id": 103, "name": null}, {"id": 105, "name": "Edited"}]),
        );
        let of_one = (json!([{"kind": "user", "id": 2, "name": "Bruno Dias"}]), json!([{"id": 102, "name": "Adyen"}]));
        let called = |body: &Value| (body["first_recipients"].clone(), body["first_secrets"].clone());
        assert_eq!(called(app.get("ana", &format!("/share-jobs/{many}")).await.ok(200)), of_many);
        for path in ["/share-jobs", "/notices"] {
            let listing = app.get("ana", path).await;
            let items: Vec<_> = listing.ok(200)["items"].as_array().expect("items").iter().map(called).collect();
            assert_eq!(items, [of_one.clone(), of_many.clone()], "{path}");
        }
        // An undo is called after what it takes back: its own row has neither recipients nor secrets.
        app.test.sql(&format!(
            "UPDATE jobs SET kind = 'undo', parent = '{many}', recipients = NULL, selection = NULL WHERE job_id = '{one}'"
        )).await;
        let undo = format!("/share-jobs/{one}");
        assert_eq!(called(app.get("ana", &undo).await.ok(200)), of_many);
        let whole = app.get("ana", &format!("/share-jobs/{many}/recipients")).await;
        let undone = app.get("ana", &format!("{undo}/recipients")).await;
        assert_eq!(undone.ids(), whole.ids());
        assert!(undone.body["items"].as_array().expect("items").iter().all(|item| item["counts"].is_null()));
        assert_eq!(app.get("ana", &format!("{undo}/secrets")).await.ids(), [101, 103, 105, 999]);
        // A job whose request could not be read names nobody.
        app.test.sql(&format!(
            "UPDATE jobs SET recipients = NULL, selection = NULL, digest = NULL, recipients_total = NULL WHERE job_id = '{many}'"
        )).await;
        assert_eq!(called(app.get("ana", &format!("/share-jobs/{many}")).await.ok(200)), (json!([]), json!([])));
        for list in ["recipients", "secrets"] {
            assert_eq!(app.get("ana", &format!("/share-jobs/{many}/{list}")).await.ok(200)["items"], json!([]));
        }
    }
}
