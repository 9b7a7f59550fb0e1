//! What belongs to one person: memory for large bodies, streams, time of the database, and pairs in an hour.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::super::others::{Control, Gateway, Others, allowed};
use super::{half, head, is_closed};
use crate::fixtures::Fixture;
use crate::gateway::app::App;
use crate::on_both_stores;
use crate::process::{http, until};
use crate::production::Site;
use crate::support::{Kind, TestDb, eventually};

on_both_stores! {
    async fn large_requests_leave_no_memory_behind(kind: Kind) {
        let gateway = Gateway::start(kind, Vec::new()).await;
        let address = gateway.address.clone();
        // One large request comes first, so that memory which a program needs once is not counted as the flood's.
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
        // The place is free again when its stream has ended.
        open.pop();
        let again = until("a free place", 20, || try_stream(&address, "ana"));
        open.push(again);
        app.test.sql("UPDATE principals SET active = false WHERE id = 1").await;
        let began = Instant::now();
        let ended = tokio::task::spawn_blocking(move || open.iter_mut().all(is_closed));
        assert!(ended.await.expect("no panic"), "streams of who may not sign in end");
        assert!(began.elapsed() < Duration::from_secs(35), "{:?}", began.elapsed());
        // Bruno's stream lives on, and ends with the gateway.
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
        // A request for "all" counts as many pairs as it has been resolved to.
        for secrets in [ten(), json!({"all": {}})] {
            let refused = ask("ana", secrets, "c").await;
            refused.problem(429);
            let seconds: u32 = refused.header("retry-after").parse().expect("seconds");
            assert!((3_000..=3_600).contains(&seconds), "{seconds}");
        }
        ask("ana", ten(), "b").await.ok(202); // the same request again adds nothing
        ask("ana", json!({"ids": [101, 102, 103, 104, 105]}), "d").await.ok(202);
        ask("ana", json!({"ids": [101]}), "e").await.problem(429);
        ask("bruno", json!({"all": {}}), "a").await.ok(202);
        assert_eq!(app.test.number("SELECT COUNT(*) FROM jobs").await, 4);
        // An hour later there is room again. The count is in the database, so that the test can move the jobs into
        // the past.
        let store = batchshare::store::Store::new(app.test.db.clone());
        let (ana, hour) = (batchshare::domain::PrincipalId::try_from(1).expect("an id"), Duration::from_secs(3_600));
        assert_eq!(store.asked(ana, hour).await.expect("asked").pairs, 25);
        app.test.sql("UPDATE jobs SET requested_at = requested_at - 3600001 WHERE pairs = 10").await;
        assert_eq!(store.asked(ana, hour).await.expect("asked").pairs, 5);
    }
}

/// A request of so many bytes that asks for one pair again and again.
fn large(secret: i64, bytes: usize) -> String {
    let ids = format!("{secret},").repeat(bytes / (secret.to_string().len() + 1) - 40);
    let recipients = json!([{"kind": "user", "id": 3}]);
    format!("{{\"secrets\":{{\"ids\":[{}]}},\"recipients\":{recipients}}}", ids.trim_end_matches(','))
}

/// Sends the body and returns the status of the answer.
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

/// An event stream that has told its first snapshot.
fn stream(address: &str, person: &str) -> TcpStream {
    try_stream(address, person).expect("a stream")
}

/// The same; `None` where the gateway refuses it.
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

/// This needs PostgreSQL, where a lock makes the reads slow for certain.
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
    // Whoever reads a secret waits for this lock until the time of the statement is over.
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
    // Which secrets "all" are is looked up like a listing, however it is asked for.
    let all = json!({"secrets": {"all": {"search": "str"}}, "recipients": [{"kind": "user", "id": 2}]});
    let slow = (0..60).map(|number| match number % 3 {
        0 => app.request("POST", "/share-jobs").user("ana").json(all.clone()).send().boxed_local(),
        _ => app.get("ana", "/secrets?search=str").boxed_local(),
    });
    let slow = futures_util::future::join_all(slow);
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
    assert_eq!(of(503) + of(429), 60, "{:?}", slow.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert!(of(503) >= 2 && of(429) >= 2, "some were tried, and the others waited for their turn");
    assert!(slow.iter().all(|answer| !answer.header("retry-after").is_empty()));
    app.get("ana", "/secrets?search=str").await.ok(200);
}

/// A job that one gateway has accepted counts at the other.
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
