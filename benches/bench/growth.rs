//! Measures whether a pair and a job still cost the same when there are many more of them.

use std::time::Duration;

use crate::Bench;
use crate::client::{Client, request};
use crate::figures::{Samples, float};
use crate::large::speed;
use crate::raw::{self, AS_IT_IS, Pairs};
use crate::servers::{FIRST_SECRET, FIRST_USER, Site};
use crate::small::singles;

const CASE: &str = "growth";
const USERS: i64 = 200;
/// The pairs that one transaction of the raw upsert writes, which are as many as in one of our chunks.
const CHUNK: i64 = 10_000;
const TARGET: &str = "the ratio stays within ± 15 % from 10k to 10M pairs";

pub async fn growth(bench: &mut Bench) {
    // The number of secrets of a job, and how often it is measured.
    let sizes: &[(i64, usize)] =
        if bench.full { &[(50, 5), (500, 5), (5_000, 5), (50_000, 5)] } else { &[(50, 3), (500, 3)] };
    let most = sizes.iter().map(|(secrets, _)| *secrets).max().expect("some");
    let site = Site::new(&bench.servers, most.max(5_000));
    site.make_raw();
    let (serve, work) = (site.serve(), site.work());
    let mut client = Client::new(&site).await;
    // The worker opens its connections and makes its plans before the smallest job is measured.
    client.one(&request((FIRST_SECRET, 1), (FIRST_USER, 1))).await;
    let mut jobs = 1;
    for (secrets, runs) in sizes {
        let pairs = Pairs { first_secret: FIRST_SECRET, secrets: *secrets, users: USERS, step: 1 };
        let (mut ours, mut limit, mut alone) = (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..*runs {
            site.empty("raw, grants");
            one(&site, &mut client, pairs, (&mut ours, &mut limit), pairs.count()).await;
            jobs += 1;
            if pairs.count() <= CHUNK {
                site.empty("raw");
                alone.add(speed(pairs, raw::run_alone(&site.url, pairs).await));
            }
        }
        site.check_jobs(jobs);
        let what = format!("one job of {} pairs, empty table", pairs.count());
        if alone.len() > 0 {
            // One chunk is one transaction, so the raw upsert must not divide it between two connections either.
            let line = bench.report.line(CASE, &what, "grants/s", &ours);
            line.limit("raw upsert, 1 connection, one transaction", &alone).add();
        }
        line(bench, &what, &ours, &limit);
    }
    if bench.full {
        jobs += filled(bench, &site, &mut client).await;
        site.check_jobs(jobs);
    } else {
        bench.report.note(CASE, "1M and 10M pairs, and a filled table: with --full only".to_owned());
    }
    site.close([serve, work]).await;
    backlog(bench).await;
}

/// Does one run of the raw upsert and one of our program.
async fn one(site: &Site, client: &mut Client, pairs: Pairs, into: (&mut Samples, &mut Samples), rows: i64) {
    let took = raw::run_beside(&site.url, AS_IT_IS, raw::upsert, pairs, CHUNK).await;
    into.1.add(speed(pairs, took));
    site.check_rows("raw", rows);
    site.sql("CHECKPOINT");
    let job = request((pairs.first_secret, pairs.secrets), (FIRST_USER, pairs.users));
    into.0.add(speed(pairs, client.one(&job).await));
    site.check_rows("grants", rows);
}

fn line(bench: &mut Bench, what: &str, ours: &Samples, limit: &Samples) {
    let line = bench.report.line(CASE, what, "grants/s", ours);
    line.limit("raw upsert, 2 connections, chunks of 10000", limit).target(TARGET).add();
}

/// Writes a million pairs into tables that hold five million others on the same secrets. Returns the number of jobs.
async fn filled(bench: &mut Bench, site: &Site, client: &mut Client) -> usize {
    const OTHERS: i64 = 5_000_000;
    const RUNS: i64 = 5;
    site.empty("raw, grants");
    for table in ["raw", "grants"] {
        let (last, user) = (FIRST_SECRET + OTHERS / USERS - 1, FIRST_USER + 300);
        site.sql(&format!(
            "INSERT INTO {table} SELECT s, p, 1, 0, NULL, 0 FROM generate_series({FIRST_SECRET}, {last}) s \
             CROSS JOIN generate_series({user}, {}) p ORDER BY s, p",
            user + USERS - 1
        ));
        site.sql(&format!("VACUUM ANALYZE {table}"));
        site.check_rows(table, OTHERS);
    }
    let (mut ours, mut limit) = (Samples::default(), Samples::default());
    for run in 0..RUNS {
        let pairs = Pairs { first_secret: FIRST_SECRET + run * 5_000, secrets: 5_000, users: USERS, step: 1 };
        site.sql("CHECKPOINT");
        one(site, client, pairs, (&mut ours, &mut limit), OTHERS + (run + 1) * pairs.count()).await;
    }
    line(bench, "one job of 1000000 pairs, table of 5M others", &ours, &limit);
    usize::try_from(RUNS).expect("small")
}

/// Measures how fast the first of many waiting jobs are done, depending on how many others wait behind them.
async fn backlog(bench: &mut Bench) {
    let (measured, some, many) = if bench.full { (2_000, 4_000, 40_000) } else { (500, 1_000, 4_000) };
    let rounds = if bench.full { 5 } else { 1 };
    let (mut few, mut behind) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        // In both cases the worker is busy with the next jobs when the last job that is measured ends.
        for (waiting, samples) in [(some, &mut few), (many, &mut behind)] {
            let site = Site::new(&bench.servers, i64::try_from(waiting).expect("small"));
            let serve = site.serve();
            let mut client = Client::new(&site).await;
            client.publish(&singles(waiting)).await;
            let work = site.work();
            let first = client.next().await.at;
            let mut last = first;
            for _ in 1..measured {
                last = client.next().await.at;
            }
            let took: Duration = last - first;
            samples.add(float(measured - 1) / took.as_secs_f64());
            let rows = site.number("SELECT count(*) FROM grants");
            assert!(usize::try_from(rows).is_ok_and(|rows| rows >= measured), "{rows} grants");
            site.close([serve, work]).await;
        }
    }
    let what = format!("the first {measured} jobs of 1 x 1 while {many} wait");
    let line = bench.report.line(CASE, &what, "jobs/s", &behind);
    line.limit(&format!("while {some} wait"), &few)
        .target("a backlog of jobs does not slow the running ones")
        .add();
}
