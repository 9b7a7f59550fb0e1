//! What was shared with me, over HTTP.

use serde_json::{Value, json};

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;

on_both_stores! {
    async fn what_i_received_is_listed_and_seen(kind: Kind) {
        let people = Fixture::new()
            .person(1, "ana", "Ana Souza", "ana@example.com")
            .user(2, "bruno")
            .user(3, "carla")
            .secret(101, 1, "Stripe");
        let app = App::start(kind, people).await;
        let body = json!({"secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 2}], "note": "Chave nova"});
        let job = app.post("ana", "/share-jobs", body).await.ok(202)["job_id"].clone();
        let empty = app.get("bruno", "/received").await;
        assert_eq!(empty.ok(200), &json!({"items": [], "next_cursor": null, "unseen": 0}));
        // As its end writes it.
        app.test.sql(
            "INSERT INTO received (job, principal_id, shared_by, permission, secrets, created_at) \
             SELECT id, 2, 1, 2, 1, 1000 FROM jobs; \
             INSERT INTO received (job, principal_id, shared_by, permission, secrets, created_at) \
             SELECT id, 3, 1, 1, 1, 2000 FROM jobs",
        ).await;
        let answer = app.get("bruno", "/received").await;
        let id = answer.ok(200)["items"][0]["id"].as_i64().expect("an id");
        let entry = json!({
            "at": "1970-01-01T00:00:01Z", "id": id, "job_id": job, "note": "Chave nova", "permission": "edit",
            "secrets": 1, "seen": false, "shared_by": {"id": 1, "name": "Ana Souza"}, "state": "shared",
            "to": {"id": 2, "kind": "user", "name": "bruno"},
        });
        assert_eq!(answer.body, json!({"items": [entry], "next_cursor": null, "unseen": 1}));
        let order: Value = serde_json::from_str(&answer.text).expect("JSON");
        assert_eq!(answer.text, order.to_string(), "members in the order of the alphabet");
        // The job has not begun in this test, so nothing of it is recorded yet.
        let opened = app.get("bruno", &format!("/received/{id}/secrets")).await;
        assert_eq!(opened.ok(200), &json!({"items": [], "next_cursor": null}));
        app.get("ana", &format!("/received/{id}/secrets")).await.problem(404);
        assert_eq!(app.get("bruno", &format!("/received/{id}/secrets?limit=0")).await.problem(400), "limit");
        // The entry is nobody else's, and no other entry is mine.
        let see = async |user: &str, id: i64| app.post(user, &format!("/received/{id}/seen"), json!({})).await;
        see("ana", id).await.problem(404);
        see("carla", id).await.problem(404);
        see("bruno", id + 1).await.problem(404);
        app.post("bruno", "/received/x/seen", json!({})).await.problem(404);
        assert_eq!(app.get("bruno", "/received").await.ok(200)["unseen"], 1);
        see("bruno", id).await.ok(204);
        see("bruno", id).await.ok(204);
        let seen = app.get("bruno", "/received").await;
        assert_eq!((&seen.ok(200)["unseen"], &seen.body["items"][0]["seen"]), (&json!(0), &json!(true)));
        assert_eq!(app.get("carla", "/received").await.ok(200)["unseen"], 1);
        assert_eq!(app.get("bruno", "/received?limit=0").await.problem(400), "limit");
        assert_eq!(app.get("bruno", "/received?cursor=x").await.problem(400), "cursor");
    }
}
