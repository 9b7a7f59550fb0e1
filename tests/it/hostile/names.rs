//! Texts that are not what they seem, or are too long: on every way in, and what is there already.

use std::io::Cursor;

use batchshare::contract::decode_asked;
use batchshare::store::Store;
use serde_json::{Value, json};

use super::request;
use crate::fixtures::Fixture;
use crate::gateway::app::App;
use crate::on_both_stores;
use crate::support::TestDb;

/// What no name, username, tag, identifier, e-mail or URL may be, whatever else it would be.
fn no_names() -> Vec<String> {
    let mut texts: Vec<String> = [" ", "\u{a0}", "\u{3000} ", " x", "x ", "\u{a0}x", "x\u{2003}", "\u{2800}"]
        .map(ToOwned::to_owned)
        .into();
    for hidden in "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200e}\u{200f}\u{61c}\u{200b}\u{feff}\u{ad}\u{2060}\u{2028}\u{e0061}".chars() {
        texts.extend([format!("Ana{hidden}azuoS"), format!("{hidden}Ana"), format!("Ana{hidden}")]);
    }
    texts
}

/// Lines that are fine, and of each the fields that hold a text.
fn lines() -> Vec<(Value, &'static [&'static str])> {
    vec![
        (
            json!({"type": "user", "id": 7, "username": "bia", "name": "Bia", "email": "b@example.com"}),
            &["username", "name", "email"],
        ),
        (json!({"type": "user_group", "id": 8, "name": "G"}), &["name"]),
        (json!({"type": "personal_group", "id": 9, "name": "P", "owner": 1}), &["name"]),
        (
            json!({"type": "secret", "id": 5, "owner": 1, "name": "S", "url": "https://a.example", "client_id": "c", "identifier": "i", "tags": ["t"]}),
            &["name", "url", "identifier", "tags"],
        ),
    ]
}

fn with(line: &Value, field: &str, text: &str) -> Value {
    let mut line = line.clone();
    line[field] = if field == "tags" { json!(["fine", text]) } else { json!(text) };
    line
}

/// The texts of each field that are too long, and the longest that is not.
const LENGTHS: &[(&str, usize)] = &[
    ("name", 200),
    ("username", 200),
    ("email", 320),
    ("identifier", 200),
    ("tags", 60),
    ("client_id", 500),
    ("notes", 10_000),
];

async fn import(test: &TestDb, line: &Value) -> Result<(), String> {
    let store = Store::new(test.db.clone());
    store.import(Cursor::new(line.to_string()), None).await.map(drop).map_err(|error| error.to_string())
}

on_both_stores! {
    async fn what_is_no_name_comes_in_on_no_way(kind: Kind) {
        let app = App::start(kind, Fixture::new().user(1, "ana").secret(5, 1, "Five")).await;
        for (line, fields) in lines() {
            for field in fields {
                for text in no_names() {
                    let error = import(&app.test, &with(&line, field, &text)).await.expect_err("refused");
                    let named = if *field == "tags" { "tags[1]" } else { field };
                    assert!(error.starts_with(&format!("line 1: {named} must ")), "{field} {text:?}: {error}");
                    assert!(!error.contains("Ana"), "no value in {error}");
                    if ["name", "url", "identifier", "tags"].contains(field) {
                        let answer = app.patch("ana", "/secrets/5", json!({*field: with(&line, field, &text)[*field]})).await;
                        assert_eq!(answer.problem(400), named, "{text:?}");
                    }
                }
            }
        }
        for url in ["javascript:alert(1)", "ftp://a.example", "https://", "https:///a", "a.example", "https:a.example", "file:///etc/passwd", "http://a b/"] {
            assert_eq!(app.patch("ana", "/secrets/5", json!({"url": url})).await.problem(400), "url", "{url}");
            let error = import(&app.test, &with(&lines()[3].0, "url", url)).await.expect_err("refused");
            assert!(error.starts_with("line 1: url must be an http or https address"), "{error}");
        }
        for method in ["TRACE", "BREW", "GET ", "G\u{202e}ET"] {
            assert_eq!(app.patch("ana", "/secrets/5", json!({"method": method})).await.problem(400), "method", "{method}");
            assert!(import(&app.test, &with(&lines()[3].0, "method", method)).await.is_err());
        }
        assert_eq!(app.patch("ana", "/secrets/5", json!({"method": "post"})).await.ok(200)["method"], "POST");
        assert_eq!(app.get("ana", "/secrets/5").await.ok(200)["name"], "Five", "nothing was changed");
        assert_eq!(app.test.number("SELECT (SELECT count(*) FROM principals) + (SELECT count(*) FROM secrets)").await, 2);
        // What is only typed in another form is taken in the one that is kept.
        let answer = app.patch("ana", "/secrets/5", json!({"name": "Ac\u{327}a\u{303}o", "tags": ["e\u{301}", "é"]})).await;
        assert_eq!((&answer.ok(200)["name"], &answer.body["tags"]), (&json!("Ação"), &json!(["é"])));
        let error = import(&app.test, &with(&lines()[0].0, "username", "joa\u{303}o")).await.expect_err("refused");
        assert_eq!(error, "line 1: username must be in Unicode's normal form NFC");
    }

    async fn no_text_is_longer_than_it_may_be_on_any_way_in(kind: Kind) {
        let app = App::start(kind, Fixture::new().user(1, "ana").secret(5, 1, "Five")).await;
        for (line, _) in lines() {
            for (field, max) in LENGTHS {
                let is_notes = ["client_id", "notes"].contains(field);
                if line.get(field).is_none() && !(is_notes && line["type"] == "secret") { continue }
                import(&app.test, &with(&line, field, &"ã".repeat(*max))).await.unwrap_or_else(|error| panic!("{field}: {error}"));
                let error = import(&app.test, &with(&line, field, &"ã".repeat(max + 1))).await.expect_err("too long");
                assert!(error.ends_with(&format!("must not be longer than {max} characters")), "{field}: {error}");
                if line["type"] == "secret" {
                    let body = |n: usize| json!({*field: with(&line, field, &"ã".repeat(n))[*field]});
                    app.patch("ana", "/secrets/5", body(*max)).await.ok(200);
                    app.patch("ana", "/secrets/5", body(max + 1)).await.problem(400);
                }
            }
        }
        let url = |n: usize| format!("https://a.example/{}", "x".repeat(n - 18));
        app.patch("ana", "/secrets/5", json!({"url": url(2_000)})).await.ok(200);
        assert_eq!(app.patch("ana", "/secrets/5", json!({"url": url(2_001)})).await.problem(400), "url");
        app.patch("ana", "/secrets/5", json!({"client_secret": "x".repeat(16 * 1024)})).await.ok(200);
        assert_eq!(app.patch("ana", "/secrets/5", json!({"client_secret": "x".repeat(16 * 1024 + 1)})).await.problem(400), "client_secret");

        // Of a share: by HTTP and by message.
        let words = |n: usize| (0..n).map(|n| format!("{n}x ")).collect::<String>();
        for (all, field) in [
            (json!({"search": "x".repeat(201)}), "search"), (json!({"search": words(17)}), "search"), (json!({"tag": "x".repeat(61)}), "tag"),
        ] {
            let data = json!({"secrets": {"all": all}, "recipients": [{"kind": "user", "id": 2}]});
            assert_eq!(app.post("ana", "/share-jobs", data.clone()).await.problem(400), format!("secrets.all.{field}"));
            let mut data = data;
            data["requested_by"] = json!(1);
            let message = request("0199c3a0-7a1e-7c00-8000-000000000001", &data);
            let poison = decode_asked(&message, 1 << 20).expect_err("poison");
            assert!(poison.detail.starts_with(&format!("data.secrets.all.{field} must not be ")), "{poison}");
        }
    }

    async fn what_was_there_before_the_rules_is_shown_and_found_and_may_be_changed_in_other_fields(kind: Kind) {
        let long = "n".repeat(5_000);
        let app = App::start(kind, Fixture::new().user(1, "ana").secret(5, 1, &long).sql(
            "UPDATE secrets SET url = 'not a url', method = 'BREW', notes = 'old' WHERE id = 5"
        )).await;
        let secret = app.get("ana", "/secrets/5").await;
        assert_eq!((secret.ok(200)["name"].as_str(), &secret.body["url"]), (Some(long.as_str()), &json!("not a url")));
        assert_eq!(app.get("ana", "/secrets?search=nnnn").await.ids(), [5]);
        let changed = app.patch("ana", "/secrets/5", json!({"notes": "new"})).await;
        assert_eq!((&changed.ok(200)["notes"], &changed.body["method"]), (&json!("new"), &json!("BREW")));
        assert_eq!(app.get("ana", "/secrets?search=nnnn").await.ids(), [5]);
    }
}
