//! Connections that keep the gateway waiting: half-sent requests, answers that nobody reads, and a stop meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::super::others::{Gateway, Others};
use super::{connect, half, head, is_closed};
use crate::fixtures::Fixture;
use crate::gateway::app::App;
use crate::on_both_stores;
use crate::support::Kind;

on_both_stores! {
    /// There are more of them than there may be connections.
    async fn half_sent_requests_hold_up_nobody_and_no_stop(kind: Kind) {
        let gateway =
            Gateway::start(kind, vec![("BATCHSHARE__GATEWAY__MAX_CONNECTIONS", "300".to_owned())]).await;
        let address = gateway.address.clone();
        let others = Others::begin(&gateway);
        let mut held = Vec::new();
        for turn in 0..1_100 {
            let head = head(&address, "POST", "/api/v1/share-jobs", "ana");
            held.push(half(&address, match turn % 4 {
                0 => "",
                1 => "GE",
                2 => &head,
                _ => "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
            }));
        }
        // Some send half a body, more of them than one person may have in hand.
        for _ in 0..20 {
            let head = head(&address, "POST", "/api/v1/share-jobs", "ana");
            held.push(half(&address, &format!("{head}Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{{")));
        }
        std::thread::sleep(Duration::from_secs(1)); // the others are watched for this long
        others.were_served();
        gateway.stops();
        drop(held);
    }
}

fn quick(settings: &mut batchshare::config::Settings) {
    settings.gateway.header_timeout_ms = 400;
    settings.gateway.idle_timeout_ms = 800;
    settings.gateway.write_timeout_ms = 500;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_keeps_a_connection_waiting_loses_it() {
    let app = App::start_with(Kind::Sqlite, Fixture::new().user(1, "ana"), quick).await;
    let address = app.address.clone();
    let whole = format!("{}\r\n", head(&address, "GET", "/healthz", "ana"));
    tokio::task::spawn_blocking(move || {
        for said in ["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n", "\r\n\r\n\r\n"] {
            assert!(is_closed(&mut half(&address, said)), "{said:?}");
        }
        // Each byte comes in time, and the head never does.
        let mut slow = connect(&address);
        let began = Instant::now();
        while slow.write_all(b"a").is_ok() {
            assert!(began.elapsed() < Duration::from_secs(20), "a head has one deadline and no other");
            std::thread::sleep(Duration::from_millis(50));
        }
        // One request comes, and then nothing, or half of the next one.
        for said in [whole.clone(), format!("{whole}GET"), format!("{whole}{whole}")] {
            assert!(is_closed(&mut half(&address, &said)), "{said:?}");
        }
        // This client sends requests and reads no answer. The buffers of both sides take a few megabytes first.
        let mut deaf = connect(&address);
        deaf.set_write_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let page = format!("{}\r\n", head(&address, "GET", "/assets/style.css", "ana")).repeat(100);
        let refused = (0..10_000).find_map(|_| deaf.write_all(page.as_bytes()).err());
        let kind = refused.expect("it is ended").kind();
        assert!(!matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{kind:?}");
    })
    .await
    .expect("no panic");
    app.request("GET", "/me").send().await.ok(200);
}

/// At the stop, one body is never sent to its end, and one answer is never read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_what_is_in_hand_and_for_nothing_else() {
    let mut app = App::start(Kind::Sqlite, Fixture::new().user(1, "ana").secrets(1, 101..=2_000)).await;
    let address = app.address.clone();
    let body = "Content-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    let mut half_body =
        half(&address, &format!("{}{body}", head(&address, "POST", "/api/v1/share-jobs", "ana")));
    // The gateway has taken the request in hand when it gives leave to send the body.
    let mut leave = [0; 25];
    let mut half_body = tokio::task::spawn_blocking(move || {
        half_body.read_exact(&mut leave).expect("leave to send");
        assert!(leave.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&leave));
        half_body.write_all(b"{").expect("the gateway reads");
        half_body
    })
    .await
    .expect("no panic");
    let _idle = half(&address, "");
    let _half_head = half(&address, "GET / HTTP/1.1\r\n");
    let pages = format!("{}\r\n", head(&address, "GET", "/assets/style.css", "ana")).repeat(4_000);
    let mut deaf = connect(&address);
    deaf.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let _ = tokio::task::spawn_blocking(move || drop(deaf.write_all(pages.as_bytes()).map(|()| deaf))).await;
    app.stop().await;
    let answer = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let _ = half_body.read_to_string(&mut text);
        text
    });
    assert!(answer.await.expect("no panic").starts_with("HTTP/1.1 503"), "nothing was done of it");
}
