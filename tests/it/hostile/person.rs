//! A signed-in person, or whoever reaches the port: they can use up their own share and nobody else's.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixtures::Fixture;
use crate::gateway::app::App;
use crate::on_both_stores;
use crate::process::{Program, http, until};
use crate::production::Site;
use crate::support::{Kind, TestDb, eventually};

use super::others::{Control, Gateway, Others, allowed};

pub(super) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream
}

/// Says this and no more.
pub(super) fn half(address: &str, said: &str) -> TcpStream {
    let mut stream = connect(address);
    // A connection that was given up at once says so here; it has its place no more, which is the point.
    let _ = stream.write_all(said.as_bytes());
    stream
}

pub(super) fn head(address: &str, method: &str, path: &str, person: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nX-Batchshare-User: {person}\r\n")
}

/// Whether the peer has closed it: nothing more comes, with or without a word before.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

on_both_stores! {
    /// More of them than the connections that there may be.
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
        // Of a body, too, for as many as one person may have in hand.
        for _ in 0..20 {
            let head = head(&address, "POST", "/api/v1/share-jobs", "ana");
            held.push(half(&address, &format!("{head}Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{{")));
        }
        std::thread::sleep(Duration::from_secs(1)); // so long others are watched
        others.were_served();
        gateway.stops();
        drop(held);
    }

    async fn large_requests_leave_no_memory_behind(kind: Kind) {
        let gateway = Gateway::start(kind, Vec::new()).await;
        let address = gateway.address.clone();
        // One of each kind first: what a program needs anyway is not the flood's.
        let body = large(gateway.secret, 2 * 1024 * 1024);
        assert_eq!(post(&address, &body), 202);
        let before = gateway.program.memory_kib("VmRSS:");
        let others = Others::begin(&gateway);
        let senders: Vec<_> = (0..30)
            .map(|_| {
                let (address, body) = (address.clone(), body.clone());
                std::thread::spawn(move || post(&address, &body))
            })
            .collect();
        let answers: Vec<u16> = senders.into_iter().map(|sender| sender.join().expect("an answer")).collect();
        others.were_served();
        assert!(answers.iter().all(|status| [202, 429, 503].contains(status)), "{answers:?}");
        assert!(answers.contains(&202), "{answers:?}");
        let peak = gateway.program.memory_kib("VmHWM:");
        assert!(peak < before + 700 * 1024, "from {before} KiB to {peak} KiB");
        eventually("the memory is free again", 60, async || {
            (gateway.program.memory_kib("VmRSS:") < before + 100 * 1024).then_some(())
        })
        .await;
        gateway.stops();
    }

    async fn one_persons_streams_are_so_many_and_end_with_their_right(kind: Kind) {
        let fixture = Fixture::new().user(1, "ana").user(2, "bruno");
        let mut app = App::start_with(kind, fixture, |settings| settings.gateway.streams_per_person = 3).await;
        let address = app.address.clone();
        let mut open: Vec<TcpStream> = (0..3).map(|_| stream(&address, "ana")).collect();
        let control = Control::start();
        let refused = app.get("ana", "/events").await;
        refused.problem(429);
        assert_ne!(refused.header("retry-after"), "");
        let mut bruno = stream(&address, "bruno");
        // A place is free when its stream has ended.
        open.pop();
        let again = until("a free place", 20, || try_stream(&address, "ana"));
        open.push(again);
        app.test.sql("UPDATE principals SET active = false WHERE id = 1").await;
        let began = Instant::now();
        let ended = tokio::task::spawn_blocking(move || open.iter_mut().all(is_closed));
        assert!(ended.await.expect("no panic"), "streams of who may not sign in end");
        assert!(began.elapsed() < Duration::from_secs(35), "{:?}", began.elapsed());
        // Bruno's lives, and ends with the gateway.
        bruno.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        assert!(!is_closed(&mut bruno));
        let control = control.stop();
        let asked = Instant::now();
        app.stop().await;
        bruno.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        assert!(tokio::task::spawn_blocking(move || is_closed(&mut bruno)).await.expect("no panic"));
        let (took, control) = (asked.elapsed(), control.join().expect("it stops"));
        assert!(took < allowed(control, Duration::from_secs(5)), "{took:?}, and another {control:?}");
    }

    async fn what_one_person_asks_for_in_an_hour_has_an_end(kind: Kind) {
        let fixture = Fixture::new().user(1, "ana").user(2, "bruno").user(3, "carla").secrets(1, 101..=110);
        let fixture = fixture.secrets(2, 201..=210);
        let app = App::start_with(kind, fixture, |settings| settings.limits.pairs_per_hour = 25).await;
        let ask = |person: &'static str, secrets: Value, key: &'static str| {
            let body = json!({"secrets": secrets, "recipients": [{"kind": "user", "id": 3}]});
            app.request("POST", "/share-jobs").user(person).header("Idempotency-Key", key).json(body).send()
        };
        let ten = || json!({"ids": (101..=110).collect::<Vec<i64>>()});
        ask("ana", ten(), "a").await.ok(202);
        ask("ana", ten(), "b").await.ok(202);
        // "All" counts what it has become.
        for secrets in [ten(), json!({"all": {}})] {
            let refused = ask("ana", secrets, "c").await;
            refused.problem(429);
            let seconds: u32 = refused.header("retry-after").parse().expect("seconds");
            assert!((3_000..=3_600).contains(&seconds), "{seconds}");
        }
        ask("ana", ten(), "b").await.ok(202); // the same again is no more
        ask("ana", json!({"ids": [101, 102, 103, 104, 105]}), "d").await.ok(202);
        ask("ana", json!({"ids": [101]}), "e").await.problem(429);
        ask("bruno", json!({"all": {}}), "a").await.ok(202);
        assert_eq!(app.test.number("SELECT COUNT(*) FROM jobs").await, 4);
        // An hour later there is room again: what is counted is in the database.
        let store = batchshare::store::Store::new(app.test.db.clone());
        let (ana, hour) = (batchshare::domain::PrincipalId::try_from(1).expect("an id"), Duration::from_secs(3_600));
        assert_eq!(store.asked(ana, hour).await.expect("asked").pairs, 25);
        app.test.sql("UPDATE jobs SET requested_at = requested_at - 3600001 WHERE pairs = 10").await;
        assert_eq!(store.asked(ana, hour).await.expect("asked").pairs, 5);
    }
}

/// A request of so many bytes that asks for one pair.
fn large(secret: i64, bytes: usize) -> String {
    let ids = format!("{secret},").repeat(bytes / (secret.to_string().len() + 1) - 40);
    let recipients = json!([{"kind": "user", "id": 3}]);
    format!("{{\"secrets\":{{\"ids\":[{}]}},\"recipients\":{recipients}}}", ids.trim_end_matches(','))
}

/// Its status.
fn post(address: &str, body: &str) -> u16 {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .new_agent();
    let request =
        agent.post(format!("http://{address}/api/v1/share-jobs")).header("X-Batchshare-User", "ana");
    request.header("Content-Type", "application/json").send(body).expect("an answer").status().as_u16()
}

/// An event stream that has begun.
fn stream(address: &str, person: &str) -> TcpStream {
    try_stream(address, person).expect("a stream")
}

fn try_stream(address: &str, person: &str) -> Option<TcpStream> {
    let head = head(address, "GET", "/api/v1/events", person);
    let mut stream = half(address, &format!("{head}Connection: close\r\n\r\n"));
    let mut seen = Vec::new();
    let mut buffer = [0; 1_024];
    while !String::from_utf8_lossy(&seen).contains("event: snapshot") {
        let read = stream.read(&mut buffer).expect("it answers");
        seen.extend_from_slice(&buffer[..read]);
        if read == 0 || String::from_utf8_lossy(&seen).contains("429 Too Many") {
            return None;
        }
    }
    Some(stream)
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
        // It trickles: each byte in time, the head never.
        let mut slow = connect(&address);
        let began = Instant::now();
        while slow.write_all(b"a").is_ok() {
            assert!(began.elapsed() < Duration::from_secs(20), "a head has one deadline and no other");
            std::thread::sleep(Duration::from_millis(50));
        }
        // One request, and then nothing, or half of the next.
        for said in [whole.clone(), format!("{whole}GET"), format!("{whole}{whole}")] {
            assert!(is_closed(&mut half(&address, &said)), "{said:?}");
        }
        // It asks and asks, and takes no answer. (The buffers of both sides take a few megabytes.)
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

/// A body that never comes whole, and an answer that nobody takes, at a stop.
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

/// On PostgreSQL, and with a lock, so that it is not by luck.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_reads_of_one_person_end_and_hold_up_nobody_else() {
    let test = TestDb::with_settings(Kind::Postgres, |settings| {
        settings.database.pool_size = 8;
        settings.database.read_timeout_ms = 700;
    })
    .await;
    Fixture::new().user(1, "ana").user(2, "bruno").secret(101, 1, "Stripe").load(&test).await;
    let store = batchshare::store::Store::new(test.db.clone());
    let app = App::serve(test, store, |_| {}).await;
    // Whoever reads a secret waits until the statement's time is over.
    let url = app.test.url.clone();
    let (locked, unlock) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_locked, until_then) = (Arc::clone(&locked), Arc::clone(&unlock));
    let lock = std::thread::spawn(move || {
        use diesel::Connection as _;
        use diesel::connection::SimpleConnection as _;
        let mut connection = diesel::PgConnection::establish(&url).expect("the private PostgreSQL answers");
        connection.batch_execute("BEGIN; LOCK TABLE secrets IN ACCESS EXCLUSIVE MODE").expect("a lock");
        is_locked.store(true, Ordering::Relaxed);
        while !until_then.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        connection.batch_execute("ROLLBACK").expect("rollback");
    });
    eventually("the lock", 20, async || locked.load(Ordering::Relaxed).then_some(())).await;
    let slow = futures_util::future::join_all((0..40).map(|_| app.get("ana", "/secrets?search=str")));
    let quick = async {
        let mut took = Vec::new();
        for _ in 0..20 {
            let began = Instant::now();
            app.get("bruno", "/notices").await.ok(200);
            took.push(began.elapsed());
        }
        took.sort_unstable();
        took[18]
    };
    let (slow, quick) = tokio::join!(slow, quick);
    unlock.store(true, Ordering::Relaxed);
    lock.join().expect("no panic");
    assert!(quick < Duration::from_secs(2), "{quick:?}");
    let of = |status: u16| slow.iter().filter(|answer| answer.status == status).count();
    assert_eq!(of(503) + of(429), 40, "{:?}", slow.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert!(of(503) >= 2 && of(429) >= 2, "some were tried, and the others waited for their turn");
    assert!(slow.iter().all(|answer| !answer.header("retry-after").is_empty()));
    app.get("ana", "/secrets?search=str").await.ok(200);
}

/// What one gateway took counts at the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hours_limit_is_one_for_all_gateways() {
    let site = Site::start_with(vec![("BATCHSHARE__LIMITS__BYTES_PER_HOUR", "20000".to_owned())]).await;
    let ids: Vec<i64> = (1_001..=2_200).collect();
    let body = json!({"secrets": {"ids": ids}, "recipients": [{"kind": "user", "id": 3}]});
    let ask =
        |gateway: usize| http("POST", &site.addresses[gateway], "/api/v1/share-jobs", "ana", Some(&body)).0;
    let (first, second) = ([ask(0), ask(0), ask(0)], ask(1));
    assert_eq!((first, second), ([202, 202, 202], 429));
}

/// The access log: who asked for what, and a trace of sign-ins that were refused.
#[test]
fn requests_and_refused_sign_ins_leave_lines_and_probes_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = "0123456789abcdef0123456789abcdef";
    let file = crate::process::file(&folder, "secret", secret);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).expect("chmod");
    let mut env = crate::embedded::settings(&folder);
    env.push(("BATCHSHARE__AUTH__MODE", "proxy".to_owned()));
    env.push(("BATCHSHARE__AUTH__PROXY__SECRET_FILE", file.display().to_string()));
    env.push(("BATCHSHARE__AUTH__PROXY__FORWARDED_FOR", "true".to_owned()));
    let mut program = Program::start(&["up"], &env);
    let address = program.address();
    let ask = |path: &str, secret: &str, forwarded: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-User: nobody\r\n\
             X-Batchshare-Proxy-Secret: {secret}\r\nX-Forwarded-For: {forwarded}\r\nConnection: close\r\n\r\n"
        );
        assert!(is_closed(&mut half(&address, &request)));
    };
    for _ in 0..5 {
        ask("/api/v1/secrets?search=tops3cret", secret, "192.0.2.66, 203.0.113.7");
        ask("/api/v1/secrets", "wrong", "203.0.113.8");
        ask("/healthz", secret, "203.0.113.9");
    }
    until("ten lines", 20, || (program.log().matches("status=401").count() == 10).then_some(()));
    assert_eq!(program.stop(), 0);
    let log = program.log();
    assert_eq!(log.matches("a sign-in was refused").count(), 2, "{log}");
    assert_eq!(log.matches("client=203.0.113.7").count(), 5, "{log}");
    assert!(log.contains("path=\"/api/v1/secrets\"") || log.contains("path=/api/v1/secrets"), "{log}");
    for never in ["192.0.2.66", "203.0.113.8", "203.0.113.9", "healthz", "tops3cret", secret, "nobody"] {
        assert!(!log.contains(never), "{never}: {log}");
    }
}
