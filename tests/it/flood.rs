//! A flood of messages that can never be handled, while people go on sharing.
//!
//! `./dev chaos --poison N` runs it for N seconds with a release build (BATCHSHARE_FLOOD_SECONDS); the
//! usual tests take two.

use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use serde_json::json;

use crate::process::{http, until};
use crate::production::Site;
use crate::support::{eventually, server};

const EACH_SECOND: u32 = 1_000;
/// Messages published together: a tenth of a second's.
const BURST: u32 = 100;
/// Good jobs that are sent at least. On a busy machine the first ones wait behind the whole flood.
const GOOD: usize = 5;

/// Publishes `bursts` of poison, each at its time, and says how long that took. All are confirmed: what is
/// only sent can be lost with its connection.
async fn pour(prefix: String, bursts: u32) -> Duration {
    let url = server("BATCHSHARE_TEST_AMQP_URL");
    let connection =
        Connection::connect(&url, ConnectionProperties::default()).await.expect("RabbitMQ answers");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    let exchange = format!("{prefix}.jobs");
    let mut confirms = Vec::new();
    let began = Instant::now();
    for burst in 0..bursts {
        tokio::time::sleep_until((began + Duration::from_secs(1) * BURST / EACH_SECOND * burst).into()).await;
        for number in 0..BURST {
            // Each is its own, so that none can be taken for another.
            let body = format!("poison {burst}/{number}");
            let options = BasicPublishOptions::default();
            let properties = BasicProperties::default().with_delivery_mode(2);
            let key = "job.requested".into();
            let sent =
                channel.basic_publish(exchange.as_str().into(), key, options, body.as_bytes(), properties);
            confirms.push(sent.await.expect("published"));
        }
    }
    for confirm in confirms {
        assert_eq!(confirm.await.expect("an answer"), Confirmation::Ack(None));
    }
    let took = began.elapsed();
    connection.close(200, "done".into()).await.expect("closed");
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_poison_delays_no_good_job_and_is_kept_whole() {
    let seconds: u32 = std::env::var("BATCHSHARE_FLOOD_SECONDS")
        .map_or(2, |text| text.parse().expect("a number of seconds"));
    let site = Site::start().await;
    let memory = |field: &str| site.work.iter().map(|work| work.memory_kib(field)).max().expect("workers");
    let before = memory("VmRSS:");
    let total = seconds * EACH_SECOND;
    let flood = tokio::spawn(pour(site.prefix.clone(), total / BURST));
    let mut waits = Vec::new();
    let mut halfway = 0;
    while !flood.is_finished() || waits.len() < GOOD {
        let began = Instant::now();
        let secret = 1_001 + waits.len() as i64 % 1_000;
        let body = json!({"secrets": {"ids": [secret]}, "recipients": [{"kind": "user", "id": 3}]});
        let address = &site.addresses[0];
        let (status, job) = http("POST", address, "/api/v1/share-jobs", "ana", Some(&body));
        assert_eq!(status, 202, "{job}");
        let path = format!("/api/v1/share-jobs/{}", job["job_id"].as_str().expect("an id"));
        until("a good job's end", 60, || {
            (http("GET", address, &path, "ana", None).1["state"] == "completed").then_some(())
        });
        waits.push(began.elapsed());
        if halfway == 0 && site.dead("not_json").await >= i64::from(total) / 2 {
            halfway = memory("VmRSS:");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = flood.await.expect("poured");
    eventually("every poison in the dead letters", 60, async || {
        (site.dead("not_json").await == i64::from(total)).then_some(())
    })
    .await;
    let bodies = "SELECT COUNT(DISTINCT body) FROM dead_letters";
    assert_eq!(site.db.number(bodies).await, i64::from(total), "each once");
    site.quiet().await;
    let (after, peak) = (memory("VmRSS:"), memory("VmHWM:"));
    waits.sort();
    let ms = |wait: &Duration| wait.as_millis();
    println!(
        "poison: {total} in {:.1} s; {} good jobs beside it, from POST to end p50 {} ms, at most {} ms",
        took.as_secs_f64(),
        waits.len(),
        waits.get(waits.len() / 2).map_or(0, ms),
        waits.last().map_or(0, ms),
    );
    println!(
        "poison: memory of a worker {before} KiB before, {halfway} halfway, {after} after, {peak} at its peak"
    );
    assert!(peak < before + 32 * 1_024, "memory grew from {before} to {peak} KiB");
    for program in site.work.iter().chain(&site.serve) {
        assert!(!program.log().contains("panicked"), "{}", program.log());
    }
}
