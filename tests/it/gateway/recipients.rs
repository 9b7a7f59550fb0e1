//! Searching for people and groups to share with.

use serde_json::json;

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;

fn company() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .person(2, "bruno.k", "Bruno Kühn", "bk@corp.example")
        .person(3, "carla", "Carla 100%", "carla@example.com")
        .no_account(3)
        .person(4, "davi", "Davi", "davi@example.com")
        .inactive(4)
        .user_group(10, "Payments", &[2])
        .user_group(11, "Payments old", &[2])
        .inactive(11)
        .personal_group(20, "Pay day (ana)", 1, &[2])
        .personal_group(21, "Pay day hidden", 2, &[1])
        .personal_group(22, "Pay day seen", 2, &[1])
        .visible(22)
        .personal_group(23, "Pay day of others", 2, &[4])
        .visible(23)
        .personal_group(24, "Pay day inactive", 1, &[])
        .inactive(24)
}

on_both_stores! {
    async fn a_user_is_found_by_name_username_and_email(kind: Kind) {
        let app = App::start(kind, company()).await;
        for search in ["Bruno", "kühn", "KÜHN", "bruno.k", "BK@corp", "k%C3%BChn", "corp.ex"] {
            let answer = app.get("ana", &format!("/recipients?search={}", search.replace('ü', "%C3%BC").replace('Ü', "%C3%9C"))).await;
            assert_eq!(answer.ids(), [2], "{search}");
            assert_eq!(
                answer.ok(200)["items"][0],
                json!({"kind": "user", "id": 2, "name": "Bruno Kühn", "username": "bruno.k",
                       "email": "bk@corp.example", "eligible": true, "reason": null})
            );
        }
        assert!(app.get("ana", "/recipients?search=nobody").await.ids().is_empty());
    }

    async fn groups_are_found_by_name_and_hidden_ones_are_not(kind: Kind) {
        let app = App::start(kind, company()).await;
        let answer = app.get("ana", "/recipients?search=pay").await;
        let mut ids = answer.ids();
        ids.sort_unstable();
        assert_eq!(ids, [10, 11, 20, 22, 24]);
        let item = |id: i64| answer.body["items"].as_array().expect("items").iter().find(|i| i["id"] == id).cloned();
        assert_eq!(
            item(10),
            Some(json!({"kind": "user_group", "id": 10, "name": "Payments", "username": null, "email": null,
                        "eligible": true, "reason": null}))
        );
        assert_eq!(item(20).expect("own")["kind"], "personal_group");
        for inactive in [11, 24] {
            let item = item(inactive).expect("found");
            assert_eq!((&item["eligible"], &item["reason"]), (&json!(false), &json!("inactive")));
        }
        // Bruno sees his own group, and none of ana's, because members do not see a personal group.
        let mut ids = app.get("bruno.k", "/recipients?search=pay%20day").await.ids();
        ids.sort_unstable();
        assert_eq!(ids, [21, 22, 23]);
    }

    async fn who_cannot_be_shared_with_says_why(kind: Kind) {
        let app = App::start(kind, company()).await;
        for (search, reason) in [("carla", "no_account"), ("davi", "inactive")] {
            let answer = app.get("ana", &format!("/recipients?search={search}")).await;
            let item = &answer.ok(200)["items"][0];
            assert_eq!((&item["eligible"], &item["reason"]), (&json!(false), &json!(reason)));
        }
    }

    async fn percent_and_underscore_are_letters_like_others(kind: Kind) {
        let app = App::start(kind, company()).await;
        assert_eq!(app.get("ana", "/recipients?search=100%25").await.ids(), [3]);
        assert!(app.get("ana", "/recipients?search=%25%25").await.ids().is_empty());
        assert!(app.get("ana", "/recipients?search=an_").await.ids().is_empty());
        assert!(app.get("ana", "/recipients?search=__").await.ids().is_empty());
    }

    async fn a_search_needs_two_characters(kind: Kind) {
        let app = App::start(kind, company()).await;
        for query in ["", "?search=", "?search=a", "?search=%20a%20", "?search=%C3%BC", "?search=a%00b", "?search=ab&search=cd"] {
            assert_eq!(app.get("ana", &format!("/recipients{query}")).await.problem(400), "search", "{query}");
        }
        assert_eq!(app.get("ana", "/recipients?search=%C3%BChn").await.ids(), [2]);
    }

    async fn at_most_fifty_are_found_and_the_one_called_so_is_first(kind: Kind) {
        let mut fixture = Fixture::new().user(1, "ana");
        for id in 100..200 {
            fixture = fixture.person(id, &format!("u{id}"), &format!("A Leo {id}"), "x@example.com");
        }
        let fixture = fixture.person(300, "zleo", "Z", "z@example.com").person(301, "leo", "Zz", "zz@example.com");
        let app = App::start(kind, fixture).await;
        let ids = app.get("ana", "/recipients?search=leo").await.ids();
        assert_eq!((ids.len(), ids[0]), (50, 301));
    }
}
