//! Measures how long a person waits for the answer 202 to a request.

use std::time::Instant;

use diesel::RunQueryDsl as _;
use diesel::sql_types::Text;

use crate::Bench;
use crate::client::share;
use crate::figures::Samples;
use crate::http::Http;
use crate::servers::{FIRST_SECRET, FIRST_USER, Site, connect};

const SECRETS: i64 = 10_000;
const USERS: i64 = 100;
const TARGET: &str = "p99 ≤ 25 ms";

pub async fn post(bench: &mut Bench) {
    let (blocks, block) = (bench.repetitions(), if bench.full { 200 } else { 30 });
    let mut site = Site::new(&bench.servers, SECRETS);
    // One person asks for more here than anybody may in an hour: 0 is no limit.
    site.env.push(("BATCHSHARE__LIMITS__PAIRS_PER_HOUR", "0".to_owned()));
    site.env.push(("BATCHSHARE__LIMITS__BYTES_PER_HOUR", "0".to_owned()));
    site.env.push(("BATCHSHARE__LIMITS__UNFINISHED_JOBS", "100000".to_owned()));
    site.sql("CREATE TABLE bare (body TEXT NOT NULL)");
    let mut serve = site.serve();
    let http = Http::new(&serve.logged("the gateway listens", "listen="));
    let body = share((FIRST_SECRET, SECRETS), (FIRST_USER, USERS)).to_string();
    let bytes = body.len();
    // The first request is not measured, since it opens the connection.
    http.share(&body);
    let (mut without, mut row) = (Samples::default(), Samples::default());
    for _ in 0..blocks {
        bare_rows(&site, &body, block, &mut row).await;
        requests(&http, &body, block, &mut without).await;
    }
    let work = site.work();
    let mut beside = Samples::default();
    for _ in 0..blocks {
        requests(&http, &body, block, &mut beside).await;
    }
    let jobs = site.number("SELECT count(*) FROM jobs");
    assert_eq!(usize::try_from(jobs).ok(), Some(1 + 2 * blocks * block), "jobs that were accepted");
    let what = format!("POST of 10,000 secrets x 100 users ({bytes} bytes) until 202, no worker");
    let limits = [("the same bytes as a row, committed", &row)];
    bench.report.latency("post", &what, &without, &limits, TARGET, blocks);
    let what = "the same while a worker works on the jobs of before, each of a million pairs";
    bench.report.latency("post", what, &beside, &[], "", blocks);
    site.close([serve, work]).await;
}

async fn requests(http: &Http, body: &str, count: usize, into: &mut Samples) {
    let (http, body) = (http.clone(), body.to_owned());
    let run = move || {
        (0..count)
            .map(|_| {
                let began = Instant::now();
                http.share(&body);
                began.elapsed()
            })
            .collect::<Vec<_>>()
    };
    let times = tokio::task::spawn_blocking(run).await.expect("requests");
    times.into_iter().for_each(|took| into.add_ms(took));
}

/// Measures what a commit of this many bytes costs.
async fn bare_rows(site: &Site, body: &str, count: usize, into: &mut Samples) {
    let (url, body) = (site.url.clone(), body.to_owned());
    let run = move || {
        let mut conn = connect(&url);
        (0..count)
            .map(|_| {
                let began = Instant::now();
                let insert = diesel::sql_query("INSERT INTO bare VALUES ($1)").bind::<Text, _>(&body);
                insert.execute(&mut conn).expect("a row");
                began.elapsed()
            })
            .collect::<Vec<_>>()
    };
    let times = tokio::task::spawn_blocking(run).await.expect("rows");
    times.into_iter().for_each(|took| into.add_ms(took));
}
