//! Measures one large job, first with pairs that are all new, and then with the same pairs again.

use std::time::Duration;

use serde_json::json;

use crate::Bench;
use crate::client::{Client, asked, request};
use crate::figures::Samples;
use crate::raw::{self, AS_IT_IS, CHUNKS, Pairs};
use crate::servers::{FIRST_SECRET, FIRST_USER, Site};

/// Makes the raw query use the index, which is what makes it fast. For small chunks the planner may otherwise read the
/// whole table.
const BY_INDEX: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

fn pairs(full: bool) -> Pairs {
    Pairs { first_secret: FIRST_SECRET, secrets: if full { 5_000 } else { 1_000 }, users: 200, step: 1 }
}

#[allow(clippy::cast_precision_loss)]
pub fn speed(pairs: Pairs, took: Duration) -> f64 {
    pairs.count() as f64 / took.as_secs_f64()
}

/// The samples of the chunk size whose median is the best.
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
        // The sides take turns in being the first.
        for turn in 0..=limits.len() {
            site.empty("raw, grants");
            if let Some((chunk, samples)) = limits.get_mut((run + turn) % (CHUNKS.len() + 1)) {
                let took = raw::run_beside(&site.url, AS_IT_IS, raw::upsert, pairs, *chunk).await;
                site.check_rows("raw", pairs.count());
                samples.add(speed(pairs, took));
                continue;
            }
            let job = request((pairs.first_secret, pairs.secrets), (FIRST_USER, pairs.users));
            let before = site.cpu(&[&serve, &work]);
            let took = client.one(&job).await;
            cpu = site.cpu(&[&serve, &work]).since(&before);
            site.check_rows("grants", pairs.count());
            site.check_granted(pairs.count());
            site.check_jobs(run + 1);
            ours.add(speed(pairs, took));
        }
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
    site.close([serve, work]).await;
}

pub async fn repeat(bench: &mut Bench) {
    let pairs = pairs(bench.full);
    again(bench, pairs, pairs.users, "one job of {} grants that are there", "≥ 0.8 of the raw anti-join")
        .await;
    // Every fifth user gets the secrets, between other users who have them already.
    let spread = Pairs { step: 5, ..pairs };
    again(bench, spread, 1_000, "the same of every fifth of 1,000 users who have them", "").await;
}

/// Shares once more what `holders` users have already.
async fn again(bench: &mut Bench, pairs: Pairs, holders: i64, what: &str, target: &'static str) {
    let site = Site::new(&bench.servers, pairs.secrets);
    site.make_raw();
    let all = Pairs { users: holders, step: 1, ..pairs };
    for table in ["grants", "raw"] {
        site.sql(&format!(
            "INSERT INTO {table} SELECT s, p, 1, 0, NULL, 0 FROM generate_series({}, {}) s \
             CROSS JOIN generate_series({FIRST_USER}, {}) p ORDER BY s, p",
            all.first_secret,
            all.first_secret + all.secrets - 1,
            FIRST_USER + holders - 1,
        ));
        site.sql(&format!("VACUUM ANALYZE {table}"));
    }
    let (serve, work) = (site.serve(), site.work());
    let mut client = Client::new(&site).await;
    let secrets: Vec<i64> = (pairs.first_secret..pairs.first_secret + pairs.secrets).collect();
    let users = (0..pairs.users).map(|user| json!({"kind": "user", "id": FIRST_USER + user * pairs.step}));
    let share = json!({"secrets": {"ids": secrets}, "recipients": users.collect::<Vec<_>>()});
    // The first job of a process is not measured, since the process does much for the first time then.
    client.one(&asked(&share)).await;
    let mut ours = Samples::default();
    let mut limits = [10_000, 50_000].map(|chunk| (chunk, Samples::default()));
    for run in 0..bench.repetitions() {
        for (chunk, samples) in &mut limits {
            site.sql("CHECKPOINT");
            let took = raw::run_beside(&site.url, BY_INDEX, raw::anti_join, pairs, *chunk).await;
            samples.add(speed(pairs, took));
        }
        site.sql("CHECKPOINT");
        ours.add(speed(pairs, client.one(&asked(&share)).await));
        site.check_jobs(run + 2);
    }
    for table in ["grants", "raw"] {
        site.check_rows(table, all.count());
    }
    let unchanged = site.number("SELECT count(*) FROM jobs WHERE unchanged = pairs");
    assert_eq!(usize::try_from(unchanged).ok(), Some(bench.repetitions() + 1), "jobs that changed nothing");
    let what = what.replace("{}", &pairs.count().to_string());
    let (chunk, limit) = best(&limits);
    let line = bench.report.line("repeat", &what, "pairs/s", &ours);
    line.limit(&format!("raw anti-join by the index, 2 connections, chunks of {chunk}"), limit)
        .target(target)
        .add();
    for (chunk, samples) in &limits {
        bench.report.line("repeat", &format!("raw anti-join, chunks of {chunk}"), "pairs/s", samples).add();
    }
    site.close([serve, work]).await;
}
