//! Listing, searching and selecting secrets.

use serde_json::json;

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;

/// Ana owns the secrets 101 to 104. Bruno owns the others and has shared some of them.
fn vaults() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .person(2, "bruno", "Bruno", "bruno@example.com")
        .person(3, "carla", "Carla", "carla@example.com")
        .user_group(10, "Team", &[1])
        .user_group(11, "Old team", &[1])
        .inactive(11)
        .personal_group(20, "Hidden group", 2, &[1])
        .personal_group(21, "Ana's own", 1, &[])
        .secret(101, 1, "Stripe")
        .identifier(101, "stripe-Prod")
        .tags(101, &["prod", "pay"])
        .secret(102, 1, "árvore 100%")
        .secret(103, 1, "Zebra_1")
        .tags(103, &["Prod"])
        .disabled(103)
        .secret(104, 1, "adyen")
        .view(104, 3)
        .secret(201, 2, "Viewed")
        .view(201, 1)
        .secret(202, 2, "Edited")
        .edit(202, 1)
        .secret(203, 2, "Through the team")
        .view(203, 1)
        .edit(203, 10)
        .secret(204, 2, "Through a hidden group")
        .view(204, 20)
        .secret(205, 2, "Old team's")
        .edit(205, 11)
        .secret(206, 2, "Bruno's own")
        .secret(207, 2, "For a group that ana owns")
        .edit(207, 21)
}

on_both_stores! {
    async fn a_listing_has_what_i_own_or_reach_with_my_permission(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        let answer = app.get("ana", "/secrets?sort=id").await;
        assert_eq!(answer.ids(), [101, 102, 103, 104, 201, 202, 203, 204]);
        let permissions: Vec<&str> = answer.ok(200)["items"]
            .as_array().expect("items").iter().filter_map(|item| item["permission"].as_str()).collect();
        assert_eq!(permissions, ["owner", "owner", "owner", "owner", "view", "edit", "edit", "view"]);
        assert_eq!(
            answer.body["items"][0],
            json!({"id": 101, "name": "Stripe", "url": "https://101.example", "identifier": "stripe-Prod",
                   "tags": ["pay", "prod"], "shared": false, "owner": {"id": 1, "name": "Ana Souza", "username": "ana"},
                   "disabled": false, "permission": "owner", "shareable": true})
        );
        assert_eq!(answer.next(), None);
        let shareable: Vec<bool> = answer.body["items"]
            .as_array().expect("items").iter().filter_map(|item| item["shareable"].as_bool()).collect();
        assert_eq!(shareable, [true, true, false, true, false, true, true, false]);
        assert_eq!(app.get("carla", "/secrets").await.ids(), [104]);
    }

    async fn names_are_sorted_whatever_their_case(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        let by_name = app.get("ana", "/secrets").await.ids();
        assert_eq!(by_name, [104, 102, 202, 101, 204, 203, 201, 103]);
        let mut reversed = app.get("ana", "/secrets?sort=-name").await.ids();
        reversed.reverse();
        assert_eq!(reversed, by_name);
        assert_eq!(app.get("ana", "/secrets?sort=-id&limit=2").await.ids(), [204, 203]);
        assert_eq!(app.get("ana", "/secrets?sort=url").await.problem(400), "sort");
    }

    async fn a_search_finds_name_identifier_and_url_whatever_the_case(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        let find = async |query: &str| app.get("ana", &format!("/secrets?sort=id&{query}")).await.ids();
        assert_eq!(find("search=STRIPE").await, [101]);
        assert_eq!(find("search=e-prod").await, [101]);
        assert_eq!(find("search=102.EXAMPLE").await, [102]);
        assert_eq!(find("search=%C3%81RV").await, [102]);
        assert_eq!(find("search=through%20").await, [203, 204]);
        // Ids of secrets that the person cannot reach are not found.
        assert_eq!(find("search=bruno").await, [0_i64; 0]);
    }

    async fn percent_and_underscore_are_letters_like_others(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        let find = async |query: &str| app.get("ana", &format!("/secrets?sort=id&{query}")).await.ids();
        assert_eq!(find("search=%25").await, [102]);
        assert_eq!(find("search=_").await, [103]);
        assert_eq!(find("search=S_ripe").await, [0_i64; 0]);
        assert_eq!(find("search=%5C").await, [0_i64; 0]);
        assert_eq!(find("search='").await, [0_i64; 0]);
    }

    async fn tags_are_exact_and_shared_means_that_somebody_else_has_a_grant(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        let find = async |query: &str| app.get("ana", &format!("/secrets?sort=id&{query}")).await.ids();
        assert_eq!(find("tag=prod").await, [101]);
        assert_eq!(find("tag=Prod").await, [103]);
        assert_eq!(find("tag=pro").await, [0_i64; 0]);
        assert_eq!(find("shared=true").await, [104, 203, 204]);
        // Nobody but ana has grants of 201 and 202.
        assert_eq!(find("shared=false").await, [101, 102, 103, 201, 202]);
        assert_eq!(find("search=&tag=&shared=&cursor=").await.len(), 8);
        assert_eq!(app.get("ana", "/secrets?shared=maybe").await.problem(400), "shared");
        // For bruno, a secret that he shared with ana is a shared one.
        let answer = app.get("bruno", "/secrets?sort=id&shared=true").await;
        assert_eq!(answer.ids(), [201, 202, 203, 204, 205, 207]);
    }

    async fn a_listing_can_be_of_my_own_or_of_what_others_share_with_me(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        assert_eq!(app.get("ana", "/secrets?sort=id&owner=me").await.ids(), [101, 102, 103, 104]);
        assert_eq!(app.get("ana", "/secrets?sort=id&owner=others").await.ids(), [201, 202, 203, 204]);
        assert_eq!(app.get("ana", "/secrets?sort=-id&owner=others&search=through").await.ids(), [204, 203]);
        let ids = app.get("ana", "/secrets/ids?owner=others").await;
        assert_eq!(ids.ok(200).as_array().expect("an array").len(), 4);
        let refused = app.get("ana", "/secrets?owner=bruno").await;
        assert_eq!((refused.status, &refused.body["field"]), (400, &json!("owner")));
    }

    async fn a_listing_can_be_of_given_ids(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        assert_eq!(app.get("ana", "/secrets?sort=id&ids=202,101,206,999").await.ids(), [101, 202], "those in reach");
        assert_eq!(app.get("ana", "/secrets?ids=202,101&owner=me").await.ids(), [101]);
        let many = |n: i64| (1..=n).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(app.get("ana", &format!("/secrets?sort=id&ids={}", many(200))).await.ids(), [101, 102, 103, 104]);
        for wrong in ["x", "0", "-1", "1,,2", "1;2", "9007199254740992", &many(201)] {
            let refused = app.get("ana", &format!("/secrets?ids={wrong}")).await;
            assert_eq!((refused.status, &refused.body["field"]), (400, &json!("ids")), "{wrong}");
        }
    }

    async fn tags_are_those_of_the_secrets_in_reach(kind: Kind) {
        let fixture = vaults().tags(202, &["prod", "ábaco"]).tags(206, &["hidden"]);
        let app = App::start(kind, fixture).await;
        assert_eq!(app.get("ana", "/secrets/tags").await.ok(200), &json!(["Prod", "pay", "prod", "ábaco"]));
        assert_eq!(app.get("ana", "/secrets/tags?owner=others").await.ok(200), &json!(["prod", "ábaco"]));
        assert_eq!(app.get("carla", "/secrets/tags").await.ok(200), &json!([]));
    }

    async fn pages_have_everything_once_in_any_order(kind: Kind) {
        let mut fixture = Fixture::new().user(1, "ana").user(2, "bruno").secrets(2, 1..=9);
        for id in 1..=60 {
            // There are equal names, long names that differ only at their end, and names in upper and lower case.
            let name = match id % 3 {
                0 => "Same".to_owned(),
                1 => format!("{}{}", "long ".repeat(30), id),
                _ => format!("{} {id}", if id % 2 == 0 { "UPPER" } else { "upper" }),
            };
            fixture = fixture.secret(1_000 + id, if id % 5 == 0 { 2 } else { 1 }, &name).edit(1_000 + id, 1);
        }
        let app = App::start(kind, fixture).await;
        for sort in ["name", "-name", "id", "-id"] {
            let whole = app.get("ana", &format!("/secrets?sort={sort}&limit=200")).await;
            assert_eq!((whole.ids().len(), whole.next()), (60, None));
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = app.get("ana", &format!("/secrets?sort={sort}&limit=7&cursor={cursor}")).await;
                page.ok(200);
                seen.extend(page.ids());
                match page.next() {
                    Some(next) => cursor = next,
                    None => break,
                }
            }
            assert_eq!(seen, whole.ids(), "{sort}");
        }
        assert_eq!(app.get("ana", "/secrets").await.ids().len(), 50);
        assert_eq!(app.get("ana", "/secrets?limit=60").await.next(), None);
        for (query, field) in [
            ("limit=0", "limit"), ("limit=-1", "limit"), ("limit=x", "limit"), ("limit=1.5", "limit"),
            ("cursor=x", "cursor"), ("cursor=%00", "cursor"), ("cursor=AAAA", "cursor"), ("cursor=Zm9v", "cursor"),
            ("search=a%00", "search"), ("tag=%0A", "tag"), ("limit=1&limit=2", "limit"),
        ] {
            assert_eq!(app.get("ana", &format!("/secrets?{query}")).await.problem(400), field, "{query}");
        }
    }

    async fn select_all_is_told_what_can_be_shared(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        let answer = app.get("ana", "/secrets/ids").await;
        let item = |id: i64, reason: Option<&str>| json!({"id": id, "shareable": reason.is_none(), "reason": reason});
        assert_eq!(
            *answer.ok(200),
            json!([
                item(101, None), item(102, None), item(103, Some("disabled")), item(104, None),
                item(201, Some("not_allowed")), item(202, None), item(203, None), item(204, Some("not_allowed")),
            ])
        );
        assert_eq!(app.get("ana", "/secrets/ids?search=stripe&tag=prod&shared=false").await.ids(), [101]);
        assert_eq!(app.get("ana", "/secrets/ids?shared=2").await.problem(400), "shared");
    }

    /// It is written in pieces of a thousand.
    async fn select_all_is_one_array_whatever_its_size(kind: Kind) {
        for count in [0, 1, 999, 1_000, 1_001, 3_000] {
            let app = App::start(kind, Fixture::new().user(1, "ana").secrets(1, 1..=count)).await;
            let answer = app.get("ana", "/secrets/ids").await;
            let items = (1..=count).map(|id| format!(r#"{{"id":{id},"reason":null,"shareable":true}}"#));
            assert_eq!(answer.text, format!("[{}]", items.collect::<Vec<_>>().join(",")));
            assert_eq!(answer.header("content-type"), "application/json");
        }
    }

    async fn details_have_everything_but_the_client_secret(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        let answer = app.get("ana", "/secrets/101").await;
        assert_eq!(
            *answer.ok(200),
            json!({"id": 101, "name": "Stripe", "url": "https://101.example", "client_id": "ci_101",
                   "has_client_secret": false, "identifier": "stripe-Prod", "method": "GET", "tags": ["pay", "prod"],
                   "notes": "", "shared": false, "owner": {"id": 1, "name": "Ana Souza", "username": "ana"}, "disabled": false,
                   "permission": "owner", "shareable": true, "updated_at": "1970-01-01T00:00:00Z"})
        );
        for (id, permission) in [(201, "view"), (202, "edit"), (203, "edit"), (204, "view")] {
            assert_eq!(app.get("ana", &format!("/secrets/{id}")).await.ok(200)["permission"], permission);
        }
    }

    async fn what_i_cannot_see_is_like_what_does_not_exist(kind: Kind) {
        let app = App::start(kind, vaults()).await;
        let missing = app.get("ana", "/secrets/999").await;
        missing.problem(404);
        for id in [205, 206, 207] {
            let unseen = app.get("ana", &format!("/secrets/{id}")).await;
            assert_eq!((unseen.status, &unseen.text), (404, &missing.text));
            app.get("ana", &format!("/secrets/{id}/grants")).await.problem(404);
            app.get("ana", &format!("/secrets/{id}/client-secret")).await.problem(404);
            app.patch("ana", &format!("/secrets/{id}"), json!({"name": "x"})).await.problem(404);
            app.delete("ana", &format!("/secrets/{id}/grants/1")).await.problem(404);
        }
    }
}
