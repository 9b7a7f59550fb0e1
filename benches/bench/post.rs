//! How long a person waits for 202.

use std::time::Instant;

use crate::Bench;
use crate::client::share;
use crate::figures::Samples;
use crate::http::Http;
use crate::servers::{FIRST_SECRET, FIRST_USER, Site};

pub async fn post(bench: &mut Bench) {
    const SECRETS: i64 = 10_000;
    const USERS: i64 = 100;
    let count = if bench.full { 200 } else { 30 };
    let site = Site::new(&bench.servers, SECRETS);
    let mut serve = site.serve();
    let http = Http::new(&serve.logged("the gateway listens", "listen="));
    let body = share((FIRST_SECRET, SECRETS), (FIRST_USER, USERS)).to_string();
    let bytes = body.len();
    let requests = async || {
        let (http, body) = (http.clone(), body.clone());
        let run = move || {
            let mut samples = Samples::default();
            for _ in 0..count {
                let began = Instant::now();
                http.share(&body);
                samples.add_ms(began.elapsed());
            }
            samples
        };
        tokio::task::spawn_blocking(run).await.expect("requests")
    };
    // The first request opens the connection.
    http.share(&body);
    let without = requests().await;
    let work = site.work();
    let with = requests().await;
    let jobs = site.number("SELECT count(*) FROM jobs");
    assert_eq!(usize::try_from(jobs).ok(), Some(1 + 2 * count), "jobs that were accepted");
    let what = format!("POST of 10,000 secrets x 100 users ({bytes} bytes) until 202, no worker");
    bench.report.latency("post", &what, &without, &[], "p99 ≤ 25 ms");
    let what = "the same while a worker works on the jobs of before";
    bench.report.latency("post", what, &with, &[], "p99 ≤ 25 ms");
    site.close([serve, work]).await;
}
