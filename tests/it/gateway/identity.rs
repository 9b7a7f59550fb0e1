//! Who asks: people who choose who they are, and people whom a proxy names.

use serde_json::json;

use super::app::App;
use crate::fixtures::Fixture;
use crate::on_both_stores;
use crate::support::Kind;

fn people() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .user(2, "bruno")
        .user(3, "carla")
        .no_account(3)
        .user(4, "davi")
        .inactive(4)
        .user_group(10, "Payments", &[1])
}

on_both_stores! {
    async fn without_header_or_cookie_the_demo_person_is_ana(kind: Kind) {
        let app = App::start(kind, people()).await;
        let answer = app.request("GET", "/me").send().await;
        assert_eq!(
            *answer.ok(200),
            json!({"id": 1, "username": "ana", "name": "Ana Souza", "auth_mode": "demo"})
        );
    }

    async fn an_unknown_person_is_401_and_one_who_cannot_sign_in_403(kind: Kind) {
        let app = App::start(kind, people()).await;
        app.get("bruno", "/me").await.ok(200);
        for unknown in ["nobody", "Ana", "Payments", "ana' OR '1'='1", " "] {
            let answer = app.get(unknown, "/me").await;
            answer.problem(401);
            assert!(!answer.header("www-authenticate").is_empty());
        }
        for refused in ["carla", "davi"] {
            app.get(refused, "/me").await.problem(403);
            app.get(refused, "/secrets").await.problem(403);
            app.post(refused, "/share-jobs", json!({})).await.problem(403);
        }
    }

    async fn choosing_a_person_sets_a_cookie_that_no_script_reads(kind: Kind) {
        let fixture = people().person(5, "José; Path=/x", "José", "j@example.com");
        let app = App::start(kind, fixture).await;
        for (username, id) in [("bruno", 2), ("José; Path=/x", 5)] {
            let answer = app.request("PUT", "/demo/me").json(json!({"username": username})).send().await;
            assert_eq!(answer.ok(200)["id"], id);
            let set = answer.header("set-cookie").to_owned();
            let mut parts = set.split(';').map(str::trim);
            let cookie = parts.next().expect("a value");
            let mut attributes: Vec<&str> = parts.collect();
            attributes.sort_unstable();
            assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Strict"], "{set}");
            assert!(!set.contains("/x"), "{set}");
            let answer = app.request("GET", "/me").header("Cookie", &format!("a=b; {cookie}")).send().await;
            assert_eq!(answer.ok(200)["id"], id);
            // A program sends the header, which is used in place of the browser's cookie.
            let answer = app.request("GET", "/me").header("Cookie", cookie).user("ana").send().await;
            assert_eq!(answer.ok(200)["id"], 1);
        }
    }

    async fn only_who_can_sign_in_is_there_to_choose(kind: Kind) {
        let app = App::start(kind, people()).await;
        let answer = app.request("GET", "/demo/people").send().await;
        assert_eq!(
            *answer.ok(200),
            json!({"items": [
                {"id": 1, "username": "ana", "name": "Ana Souza"},
                {"id": 2, "username": "bruno", "name": "bruno"},
            ], "next_cursor": null})
        );
        let choose = |body| app.request("PUT", "/demo/me").json(body).send();
        assert_eq!(choose(json!({"username": "nobody"})).await.problem(401), "username");
        assert_eq!(choose(json!({"username": "davi"})).await.problem(403), "username");
        for bad in [json!({}), json!({"username": 7}), json!({"username": ""}), json!({"username": "a\u{0}"}), json!([])] {
            assert_eq!(choose(bad).await.problem(400), "username");
        }
        // The chooser also works in a browser whose cookie names somebody who is not there any more.
        let answer = app.request("GET", "/demo/people").header("Cookie", "batchshare_user=gone").send().await;
        answer.ok(200);
    }

    async fn the_people_to_choose_from_come_in_pages(kind: Kind) {
        let app = App::start(kind, people()).await;
        let first = app.request("GET", "/demo/people?limit=1").send().await;
        assert_eq!(first.ids(), [1]);
        let next = first.next().expect("more");
        let second = app.request("GET", &format!("/demo/people?limit=1&cursor={next}")).send().await;
        assert_eq!((second.ids(), second.next()), (vec![2], None));
    }
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn behind_proxy() -> (App, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), format!("{SECRET}\n")).expect("write");
    let app = App::start_with(Kind::Sqlite, people(), |settings| {
        settings.auth.mode = batchshare::config::AuthMode::Proxy;
        settings.auth.proxy.secret_file = file.path().display().to_string();
    })
    .await;
    (app, file)
}

#[tokio::test]
async fn a_proxy_is_believed_with_its_secret_only() {
    let (app, _file) = behind_proxy().await;
    let call = || app.request("GET", "/me").header("X-Forwarded-User", "bruno");
    let answer = call().header("X-Batchshare-Proxy-Secret", SECRET).send().await;
    assert_eq!((&answer.ok(200)["id"], &answer.body["auth_mode"]), (&json!(2), &json!("proxy")));
    call().send().await.problem(401);
    for wrong in ["", "wrong", &SECRET[1..], &format!("{SECRET}0"), &SECRET.to_uppercase()] {
        let answer = call().header("X-Batchshare-Proxy-Secret", wrong).send().await;
        answer.problem(401);
        assert!(!answer.text.contains(SECRET));
    }
    // Where a header comes twice, one of the two may be the caller's own.
    let twice =
        call().header("X-Batchshare-Proxy-Secret", SECRET).header("X-Batchshare-Proxy-Secret", SECRET);
    twice.send().await.problem(401);
    let two_names = call().header("X-Forwarded-User", "ana").header("X-Batchshare-Proxy-Secret", SECRET);
    two_names.send().await.problem(401);
    let nobody = app.request("GET", "/me").header("X-Batchshare-Proxy-Secret", SECRET);
    nobody.send().await.problem(401);
}

/// The requests are sent as bytes, because no client library would send such names.
#[tokio::test]
async fn a_name_that_is_not_exactly_a_users_signs_in_nobody() {
    use std::io::{Read as _, Write as _};
    let (app, _file) = behind_proxy().await;
    let address = app.address.clone();
    let status = tokio::task::spawn_blocking(move || {
        let ask = |name: &[u8]| {
            let mut stream = std::net::TcpStream::connect(&address).expect("a connection");
            let mut request = format!("GET /api/v1/me HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
            request.push_str(&format!("X-Batchshare-Proxy-Secret: {SECRET}\r\nX-Forwarded-User: "));
            stream.write_all(&[request.as_bytes(), name, b"\r\n\r\n"].concat()).expect("write");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok())
        };
        let names: [&[u8]; 12] = [
            "ana\u{a0}".as_bytes(),
            "\u{a0}ana".as_bytes(),
            "ana\u{2003}".as_bytes(),
            "ana\u{2028}".as_bytes(),
            "ana\u{feff}".as_bytes(),
            "\u{feff}ana".as_bytes(),
            "an\u{61}\u{301}".as_bytes(),
            b"Ana",
            b"ANA",
            b"ana\xa0",
            b"ana\xff",
            b"a na",
        ];
        let all: Vec<_> = names.iter().map(|name| ask(name)).collect();
        // HTTP takes spaces and tabs around a value away.
        (all, [ask(b"ana"), ask(b"  ana \t")])
    });
    let (refused, good) = status.await.expect("no panic");
    assert_eq!(refused, [Some(401); 12]);
    assert_eq!(good, [Some(200); 2]);
}

#[tokio::test]
async fn behind_a_proxy_nobody_chooses_who_to_be() {
    let (app, _file) = behind_proxy().await;
    let call = |method, path| app.request(method, path).header("X-Batchshare-Proxy-Secret", SECRET);
    call("GET", "/demo/people").send().await.problem(404);
    call("PUT", "/demo/me").json(json!({"username": "ana"})).send().await.problem(404);
    call("GET", "/me").user("ana").send().await.problem(401);
    call("GET", "/me").header("Cookie", "batchshare_user=ana").send().await.problem(401);
    let answer = call("GET", "/me")
        .header("X-Forwarded-User", "bruno")
        .user("ana")
        .header("Cookie", "batchshare_user=ana")
        .send()
        .await;
    assert_eq!(answer.ok(200)["id"], 2);
    // Behind a proxy, the names of this machine are answered only because the default list has them.
    app.request("GET", "//healthz").send().await.ok(200);
}
