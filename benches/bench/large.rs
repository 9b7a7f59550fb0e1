//! One large job: all pairs new, and the same again.

use std::time::Duration;

use crate::Bench;
use crate::client::{Client, request};
use crate::figures::Samples;
use crate::raw::{self, AS_IT_IS, CHUNKS, Pairs};
use crate::servers::{FIRST_SECRET, FIRST_USER, Site};

/// The index is what makes it fast: in small chunks the planner may read the whole table.
const BY_INDEX: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

fn pairs(full: bool) -> Pairs {
    Pairs { first_secret: FIRST_SECRET, secrets: if full { 5_000 } else { 1_000 }, users: 200 }
}

#[allow(clippy::cast_precision_loss)]
pub fn speed(pairs: Pairs, took: Duration) -> f64 {
    pairs.count() as f64 / took.as_secs_f64()
}

/// The samples of the chunk size with the best median.
pub fn best(samples: &[(i64, Samples)]) -> &(i64, Samples) {
    let order = |of: &&(i64, Samples)| of.1.median();
    samples.iter().max_by(|a, b| order(a).total_cmp(&order(b))).expect("one at least")
}

pub async fn large(bench: &mut Bench) {
    let pairs = pairs(bench.full);
    let site = Site::new(&bench.servers, pairs.secrets);
    site.make_raw();
    let (serve, work) = (site.serve(), site.work());
    let mut client = Client::new(&site).await;
    let mut ours = Samples::default();
    let mut limits = CHUNKS.map(|chunk| (chunk, Samples::default()));
    let mut cpu = String::new();
    for run in 0..bench.repetitions() {
        for (chunk, samples) in &mut limits {
            site.empty("raw, grants");
            let took = raw::run_beside(&site.url, AS_IT_IS, raw::upsert, pairs, *chunk).await;
            site.check_rows("raw", pairs.count());
            samples.add(speed(pairs, took));
        }
        site.empty("raw, grants");
        let job = request((pairs.first_secret, pairs.secrets), (FIRST_USER, pairs.users));
        let before = site.cpu(&[&serve, &work]);
        let took = client.one(&job).await;
        cpu = site.cpu(&[&serve, &work]).since(&before);
        site.check_rows("grants", pairs.count());
        site.check_jobs(run + 1);
        ours.add(speed(pairs, took));
    }
    let what = format!("one job of {} new grants", pairs.count());
    let (chunk, limit) = best(&limits);
    let line = bench.report.line("large", &what, "grants/s", &ours);
    line.limit(&format!("raw upsert, 2 connections, chunks of {chunk}"), limit)
        .target("≥ 0.9 of the raw upsert, 2 connections, best of three chunk sizes")
        .add();
    for (chunk, samples) in &limits {
        bench.report.line("large", &format!("raw upsert, chunks of {chunk}"), "grants/s", samples).add();
    }
    bench.report.note("large", format!("the last job: {cpu}"));
    site.close().await;
}

pub async fn repeat(bench: &mut Bench) {
    let pairs = pairs(bench.full);
    let site = Site::new(&bench.servers, pairs.secrets);
    site.make_raw();
    let (_serve, _work) = (site.serve(), site.work());
    let mut client = Client::new(&site).await;
    let job = || request((pairs.first_secret, pairs.secrets), (FIRST_USER, pairs.users));
    client.one(&job()).await;
    raw::run_beside(&site.url, AS_IT_IS, raw::upsert, pairs, 10_000).await;
    site.sql("VACUUM ANALYZE grants");
    site.sql("VACUUM ANALYZE raw");
    let mut ours = Samples::default();
    let mut limits = [10_000, 50_000].map(|chunk| (chunk, Samples::default()));
    for run in 0..bench.repetitions() {
        for (chunk, samples) in &mut limits {
            site.sql("CHECKPOINT");
            let took = raw::run_beside(&site.url, BY_INDEX, raw::anti_join, pairs, *chunk).await;
            samples.add(speed(pairs, took));
        }
        site.sql("CHECKPOINT");
        ours.add(speed(pairs, client.one(&job()).await));
        site.check_jobs(run + 2);
    }
    for table in ["grants", "raw"] {
        site.check_rows(table, pairs.count());
    }
    let unchanged = site.number("SELECT count(*) FROM jobs WHERE unchanged = pairs");
    assert_eq!(usize::try_from(unchanged).ok(), Some(bench.repetitions()), "jobs that changed nothing");
    let what = format!("one job of {} grants that are there", pairs.count());
    let (chunk, limit) = best(&limits);
    let line = bench.report.line("repeat", &what, "pairs/s", &ours);
    line.limit(&format!("raw anti-join, 2 connections, chunks of {chunk}"), limit)
        .target("≥ 0.8 of the raw anti-join")
        .add();
    for (chunk, samples) in &limits {
        bench.report.line("repeat", &format!("raw anti-join, chunks of {chunk}"), "pairs/s", samples).add();
    }
    site.close().await;
}
