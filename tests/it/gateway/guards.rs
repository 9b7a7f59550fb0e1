//! What every request is checked for before its route sees it.

use serde_json::json;

use super::app::App;
use crate::fixtures::Fixture;
use crate::support::Kind;

async fn app() -> App {
    let fixture = Fixture::new().user(1, "ana").secret(101, 1, "Stripe").view(101, 2);
    App::start(Kind::Sqlite, fixture).await
}

#[tokio::test]
async fn only_a_host_on_the_list_is_answered() {
    let app = app().await;
    let port = app.address.rsplit_once(':').expect("a port").1.to_owned();
    for host in [app.address.clone(), "localhost".to_owned(), format!("localhost:{port}"), "LOCALHOST".into()]
    {
        app.request("GET", "/me").header("Host", &host).send().await.ok(200);
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1"] {
        for path in ["/me", "//", "//no-such-path", "//healthz/", "//healthzz", "//api/v1/metrics"] {
            let answer = app.request("GET", path).header("Host", host).send().await;
            assert_eq!(answer.problem(421), "Host", "{host} {path}");
        }
    }
}

/// A supervisor asks a container by its address, which nobody can put on a list of names.
#[tokio::test]
async fn supervisors_are_answered_whatever_name_they_have_for_us() {
    let app = app().await;
    for host in ["10.244.0.5", "10.244.0.5:8080", "[fd00::5]:8080", "pod-7.example", "localhost"] {
        for path in ["//healthz", "//readyz", "//metrics"] {
            let answer = app.request("GET", path).header("Host", host).send().await;
            assert_eq!(answer.status, 200, "{host} {path}: {}", answer.text);
            app.request("HEAD", path).header("Host", host).send().await.ok(200);
            // Only reading is allowed under any name. Every other method needs a name on the list.
            let call = app.request("POST", path).header("Host", host).json(json!({}));
            call.send().await.problem(if host == "localhost" { 405 } else { 421 });
        }
    }
}

#[tokio::test]
async fn a_configured_host_is_answered() {
    let app = App::start_with(Kind::Sqlite, Fixture::new().user(1, "ana"), |settings| {
        settings.gateway.hosts = vec!["vault.example".to_owned()];
    })
    .await;
    app.request("GET", "/me").header("Host", "vault.example").send().await.ok(200);
    app.request("GET", "/me").header("Host", "vault.example:8443").send().await.ok(200);
}

#[tokio::test]
async fn unsafe_methods_need_json_but_for_delete() {
    let app = app().await;
    for (method, path) in [
        ("POST", "/share-jobs"),
        ("PATCH", "/secrets/101"),
        ("PUT", "/demo/me"),
        ("POST", "/notices/1/dismiss"),
        ("POST", "/received/1/seen"),
    ] {
        for content_type in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
        {
            let call = app.request(method, path).bytes("{}");
            let call = match content_type {
                Some(value) => call.header("Content-Type", value),
                // Without this, ureq would send a type of its own.
                None => call.header("Content-Type", ""),
            };
            assert_eq!(call.send().await.problem(415), "Content-Type", "{method} {path} {content_type:?}");
        }
    }
    let answer = app
        .request("PATCH", "/secrets/101")
        .header("Content-Type", "Application/JSON; charset=utf-8")
        .bytes("{}")
        .send()
        .await;
    answer.ok(200);
    app.delete("ana", "/secrets/101/grants/2").await.ok(204);
}

#[tokio::test]
async fn another_origin_may_change_nothing() {
    let app = app().await;
    let own = format!("http://{}", app.address);
    let patch = || app.request("PATCH", "/secrets/101").json(json!({"notes": "n"}));
    patch().send().await.ok(200);
    patch().header("Origin", &own).send().await.ok(200);
    patch().header("Sec-Fetch-Site", "same-origin").header("Origin", &own).send().await.ok(200);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost"] {
        patch().header("Origin", origin).send().await.problem(403);
    }
    for site in ["cross-site", "same-site", "none"] {
        patch().header("Sec-Fetch-Site", site).send().await.problem(403);
    }
    patch().header("Sec-Fetch-Site", "cross-site").header("Origin", &own).send().await.problem(403);
    let revoke = app.request("DELETE", "/secrets/101/grants/2").header("Origin", "http://evil.example");
    revoke.send().await.problem(403);
    assert_eq!(app.test.number("SELECT count(*) FROM grants").await, 1);
    // Reading needs no such proof. The browser shows another origin nothing of the answer, because we send no headers
    // of CORS.
    let answer = app.request("GET", "/me").header("Origin", "http://evil.example").send().await;
    answer.ok(200);
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
}

#[tokio::test]
async fn answers_are_not_stored_and_not_guessed() {
    let app = app().await;
    for (method, path) in
        [("GET", "/me"), ("GET", "/secrets"), ("GET", "/no-such-path"), ("DELETE", "/me"), ("POST", "/me")]
    {
        let answer = app.request(method, path).send().await;
        assert_eq!(answer.header("cache-control"), "no-store", "{method} {path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path}");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
    }
    let answer = app.request("GET", "/me").header("Host", "evil.example").send().await;
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_is_asked_about_each_time() {
    let app = app().await;
    let page = app.request("GET", "//").send().await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    let script = app.request("GET", "//assets/js/main.js").send().await;
    assert_eq!((script.status, script.header("content-type")), (200, "text/javascript; charset=utf-8"));
    assert_eq!(script.header("cache-control"), "no-cache");
    let again = app.request("GET", "//assets/js/main.js").header("If-None-Match", script.header("etag"));
    assert_eq!(again.send().await.status, 304);
    // A proxy that compresses makes a strong tag weak.
    let weak = format!("\"other\", W/{}", script.header("etag"));
    let again = app.request("GET", "//assets/js/main.js").header("If-None-Match", &weak);
    assert_eq!(again.send().await.status, 304);
    // The Back button must not bring back what was shown in the page.
    assert_eq!(page.header("cache-control"), "no-store");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let app = app().await;
    for path in [
        "/no-such-path",
        "//assets/no-such.js",
        "//assets/../Cargo.toml",
        "//api",
        "//api/v2/me",
        "/secrets/101/no-such-part",
        "/secrets/",
    ] {
        app.request("GET", path).send().await.problem(404);
    }
    for (method, path) in [("DELETE", "/me"), ("DELETE", "/secrets"), ("OPTIONS", "/secrets")] {
        let answer = app.request(method, path).send().await;
        answer.problem(405);
        assert!(answer.header("allow").contains("GET"), "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_no_id_in_a_path_is_not_found() {
    let app = app().await;
    for id in
        ["0", "-1", "abc", "101x", "+101", "0101", "1e2", "9007199254740992", "99999999999999999999", "%20"]
    {
        app.get("ana", &format!("/secrets/{id}")).await.problem(404);
        app.get("ana", &format!("/secrets/{id}/grants")).await.problem(404);
        app.delete("ana", &format!("/secrets/101/grants/{id}")).await.problem(404);
        app.get("ana", &format!("/share-jobs/{id}")).await.problem(404);
    }
    app.get("ana", "/secrets/%ff").await.problem(404);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let app = App::start_with(Kind::Sqlite, Fixture::new().user(1, "ana"), |settings| {
        settings.gateway.max_body_bytes = 1_000;
    })
    .await;
    let body =
        json!({"secrets": {"ids": [1]}, "recipients": [{"kind": "user", "id": 2}], "pad": "x".repeat(2_000)});
    app.post("ana", "/share-jobs", body).await.problem(413);
}

#[tokio::test]
async fn whoever_sends_far_too_much_hears_why() {
    let app = app().await;
    for megabytes in [3, 20] {
        let body = json!({"pad": "x".repeat(megabytes * 1024 * 1024)});
        app.post("ana", "/share-jobs", body).await.problem(413);
    }
}

#[tokio::test]
async fn what_is_no_json_is_refused_and_not_repeated() {
    let app = app().await;
    for body in ["", "{", "hunter2", "{\"a\": hunter2}", "[1,", "\u{0}"] {
        let answer = app
            .request("POST", "/share-jobs")
            .header("Content-Type", "application/json")
            .bytes(body)
            .send()
            .await;
        answer.problem(400);
        assert!(!answer.text.contains("hunter2"));
    }
}

/// Whoever misspells a filter would otherwise be answered with everything, and might share it.
#[tokio::test]
async fn a_parameter_that_a_resource_does_not_have_is_refused_by_name() {
    let app = app().await;
    let body = json!({"secrets": {"ids": [101]}, "recipients": [{"kind": "user", "id": 2}]});
    let job = app.request("POST", "/share-jobs").json(body).send().await;
    let job = job.ok(202)["job_id"].as_str().expect("an id").to_owned();
    let of_job = ["recipients", "secrets", "rejections", "access-left"]
        .map(|list| format!("/share-jobs/{job}/{list}"));
    let lists = [
        "/secrets",
        "/secrets/ids",
        "/secrets/tags",
        "/secrets/101/grants",
        "/secrets/101/access",
        "/secrets/101/people",
    ];
    let further =
        ["/recipients", "/share-jobs", "/notices", "/demo/people", "/received", "/received/1/secrets"];
    for path in lists.into_iter().chain(further).chain(of_job.iter().map(String::as_str)) {
        assert_eq!(app.get("ana", &format!("{path}?serach=x")).await.problem(400), "serach", "{path}");
    }
    for (path, name) in [("/secrets/ids?limit=1", "limit"), ("/secrets/tags?sort=id", "sort")] {
        assert_eq!(app.get("ana", path).await.problem(400), name, "{path}");
    }
    // One that is empty counts as absent, whatever it is called.
    app.get("ana", "/secrets?serach=&limit=1").await.ok(200);
}

/// A body that comes after its head. A gateway that answered before would close the connection, and a client that has just
/// chosen it for its next request would get no answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_needed_is_read_and_its_connection_goes_on() {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let app = app().await;
    let job = "0199c3a0-0000-7000-8000-000000000001";
    let routes = ["cancel", "undo", "rest"].map(|name| format!("share-jobs/{job}/{name}"));
    let others = ["received/1/seen", "notices/1/dismiss", "notices/dismiss?until=1"].map(str::to_owned);
    let address = app.address.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let stream = std::net::TcpStream::connect(&address).expect("a connection");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a timeout");
        let (mut reader, mut stream) = (BufReader::new(stream.try_clone().expect("a reader")), stream);
        // All on one connection.
        for route in routes.iter().chain(&others) {
            let head = format!(
                "POST /api/v1/{route} HTTP/1.1\r\nHost: {address}\r\nX-Batchshare-User: ana\r\n\
                 Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).expect("a head");
            // Whoever answers without the body does so now.
            stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a timeout");
            assert!(reader.fill_buf().is_err(), "{route} is answered before its body came");
            stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a timeout");
            stream.write_all(b"{}").expect("a body");
            let (mut line, mut length) = (String::new(), 0);
            loop {
                line.clear();
                reader.read_line(&mut line).expect("a line");
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                if line == "\r\n" {
                    break;
                }
                assert_ne!(line, "", "{route} ended the connection");
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("the answer");
        }
    });
    asked.await.expect("no panic");
}
