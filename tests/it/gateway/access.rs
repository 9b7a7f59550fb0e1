//! Who may ask why somebody has access, what is told, and what a DELETE of a grant says is left.

use serde_json::{Value, json};

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;

/// Ana's secret 101. Bruno has it in three ways that give access and in one that gives none; carla may view it; davi
/// cannot sign in; eva has nothing.
fn company() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .person(2, "bruno", "Bruno Dias", "bruno@example.com")
        .person(3, "carla", "Carla", "carla@example.com")
        .person(4, "davi", "Davi", "davi@example.com")
        .inactive(4)
        .person(5, "eva", "Eva", "eva@example.com")
        .no_account(5)
        .user_group(10, "Payments", &[2])
        .user_group(11, "Old team", &[2])
        .inactive(11)
        .personal_group(20, "Plantão", 3, &[2])
        .secret(101, 1, "Stripe")
        .view(101, 2)
        .edit(101, 10)
        .edit(101, 11)
        .view(101, 20)
        .view(101, 3)
        .view(101, 4)
        .view(101, 5)
        .secret(102, 2, "Of bruno")
}

/// Each way as its name, its principal's name, its permission and why it gives nothing; `-` where it is null.
fn ways(body: &Value) -> Vec<[&str; 4]> {
    let ways = body["because"].as_array().unwrap_or_else(|| panic!("no ways: {body}"));
    ways.iter()
        .map(|way| {
            ["/way", "/principal/name", "/permission", "/inactive"]
                .map(|path| way.pointer(path).and_then(Value::as_str).unwrap_or("-"))
        })
        .collect()
}

on_both_stores! {
    async fn why_names_every_way_and_what_gives_nothing(kind: Kind) {
        let app = App::start(kind, company()).await;
        let answer = app.get("ana", "/secrets/101/access?user=2").await;
        assert_eq!(answer.ok(200)["effective"], "edit");
        // Ana may not know of carla's group, in which bruno is.
        assert_eq!(
            ways(&answer.body),
            [
                ["user_group", "Payments", "edit", "-"],
                ["direct", "Bruno Dias", "view", "-"],
                ["personal_group", "-", "view", "-"],
                ["user_group", "Old team", "edit", "group_inactive"],
            ]
        );
        assert_eq!(
            answer.body["because"][1],
            json!({"way": "direct", "principal": {"id": 2, "kind": "user", "name": "Bruno Dias"}, "permission": "view",
                   "since": "1970-01-01T00:00:01Z", "jobs": {"view": null, "edit": null}, "also_asked_by": [], "inactive": null})
        );
        let owner = app.get("ana", "/secrets/101/access").await;
        assert_eq!(owner.ok(200)["effective"], "owner");
        assert_eq!(
            owner.body["because"],
            json!([{"way": "owner", "principal": {"id": 1, "kind": "user", "name": "Ana Souza"}, "permission": "owner",
                    "since": null, "jobs": {"view": null, "edit": null}, "also_asked_by": [], "inactive": null}])
        );
        for (user, cause) in [(4, "person_inactive"), (5, "person_no_account")] {
            let answer = app.get("ana", &format!("/secrets/101/access?user={user}")).await;
            assert_eq!(answer.ok(200)["effective"], "none");
            assert_eq!(answer.body["because"][0]["inactive"], cause);
        }
        let nothing = app.get("bruno", "/secrets/102/access?user=3").await;
        assert_eq!(*nothing.ok(200), json!({"effective": "none", "because": []}));
    }

    async fn who_has_access_is_told_by_person_to_whoever_may_edit(kind: Kind) {
        let app = App::start(kind, company()).await;
        let people = app.get("ana", "/secrets/101/people").await;
        let person = |id: i64, username: &str, name: &str, permission: &str| {
            json!({"id": id, "username": username, "name": name, "email": format!("{username}@example.com"), "permission": permission})
        };
        let expected = json!([
            person(1, "ana", "Ana Souza", "owner"),
            person(2, "bruno", "Bruno Dias", "edit"),
            person(3, "carla", "Carla", "view"),
        ]);
        assert_eq!(people.ok(200)["items"], expected);
        assert_eq!(app.get("bruno", "/secrets/101/people").await.ok(200)["items"], expected);
        let first = app.get("ana", "/secrets/101/people?limit=2").await;
        assert_eq!(first.ids(), [1, 2]);
        let cursor = first.body["next_cursor"].as_str().expect("a cursor");
        assert_eq!(app.get("ana", &format!("/secrets/101/people?limit=2&cursor={cursor}")).await.ids(), [3]);
        app.get("carla", "/secrets/101/people").await.problem(403);
        app.get("carla", "/secrets/102/people").await.problem(404);
        app.get("ana", "/secrets/999/people").await.problem(404);
    }

    async fn who_may_view_asks_about_themselves_only_and_who_sees_nothing_asks_nothing(kind: Kind) {
        let app = App::start(kind, company()).await;
        for path in ["/secrets/101/access", "/secrets/101/access?user=3", "/secrets/101/access?user="] {
            let answer = app.get("carla", path).await;
            assert_eq!(answer.ok(200)["effective"], "view", "{path}");
            assert_eq!(ways(&answer.body), [["direct", "Carla", "view", "-"]]);
        }
        for user in [1, 2, 4, 99] {
            app.get("carla", &format!("/secrets/101/access?user={user}")).await.problem(403);
        }
        for path in ["/secrets/102/access", "/secrets/102/access?user=2", "/secrets/999/access"] {
            app.get("carla", path).await.problem(404);
        }
        // Who may edit asks about anybody who is a person.
        for user in [10, 20, 99] {
            app.get("bruno", &format!("/secrets/101/access?user={user}")).await.problem(404);
        }
        for user in ["x", "0", "-1", "9007199254740992", "1.5", "2,3"] {
            let answer = app.get("ana", &format!("/secrets/101/access?user={user}")).await;
            assert_eq!(answer.problem(400), "user", "{user}");
        }
        assert_eq!(app.get("ana", "/secrets/101/access?user=1&user=2").await.problem(400), "user");
        for id in ["0", "x", "01", "-1"] {
            app.get("ana", &format!("/secrets/{id}/access")).await.problem(404);
        }
    }

    async fn a_grant_taken_back_says_through_what_the_person_still_has_access(kind: Kind) {
        let app = App::start(kind, company()).await;
        let left = app.delete("ana", "/secrets/101/grants/2").await;
        assert_eq!(left.ok(200)["effective"], "edit");
        assert_eq!(ways(&left.body)[0], ["user_group", "Payments", "edit", "-"]);
        assert_eq!(left.body["because"].as_array().expect("ways").len(), 3);
        assert_eq!(app.delete("ana", "/secrets/101/grants/2").await.ok(200), &left.body);
        // Nothing is left of a person who had one grant, nor of one who cannot sign in; a group is no person.
        for principal in [3, 4, 10, 99] {
            let answer = app.delete("ana", &format!("/secrets/101/grants/{principal}")).await;
            assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{principal}");
        }
        // Bruno takes away the group through which he may edit, and then may ask about himself only.
        app.delete("ana", "/secrets/101/grants/10").await.ok(204);
        assert_eq!(app.get("bruno", "/secrets/101/access").await.ok(200)["effective"], "view");
        app.delete("ana", "/secrets/101/grants/20").await.ok(204);
        app.get("bruno", "/secrets/101/access").await.problem(404);
        // The owner has access whatever is taken back.
        assert_eq!(app.delete("bruno", "/secrets/102/grants/2").await.ok(200)["effective"], "owner");
    }

    async fn who_takes_back_what_they_had_themselves_is_told_what_they_may_know(kind: Kind) {
        let app = App::start(kind, company().sql("UPDATE grants SET permission = 2 WHERE secret_id = 101 AND principal_id IN (2, 3)")).await;
        // Carla takes back her own edit, and has nothing more to ask.
        app.delete("carla", "/secrets/101/grants/3").await.ok(204);
        app.get("carla", "/secrets/101/access").await.problem(404);
        let answer = app.delete("bruno", "/secrets/101/grants/2").await;
        assert_eq!(answer.ok(200)["effective"], "edit");
    }
}
