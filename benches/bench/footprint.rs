//! Measures how large the program is: on disk, in memory, and what it uses while it is idle.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Bench;
use crate::client::{Client, Request, WINDOW, asked, request, share};
use crate::figures::{Samples, float};
use crate::program::{self, Program, cpu_seconds};
use crate::servers::{FIRST_SECRET, FIRST_USER, REQUESTER, Site};

const CASE: &str = "footprint";
const MIB: f64 = 1_048_576.0;
/// The number of secrets of the largest job.
const MANY: i64 = 100_000;
/// The first of some ids that have as many digits as an id may have.
const LONG_IDS: i64 = 9_000_000_000_000_000;

#[allow(clippy::cast_precision_loss)]
pub async fn footprint(bench: &mut Bench) {
    let site = Site::new(&bench.servers, if bench.full { MANY } else { 5_000 });
    let size = std::fs::metadata(program::path()).expect("the program").len() as f64 / MIB;
    let report = &mut bench.report;
    report.line(CASE, "the binary", "MiB", &Samples::from(size)).target("≤ 25 MiB").add();
    start_times(bench, &site);
    idle(bench, &site).await;
    peaks(bench, &site).await;
    site.close([]).await;
}

fn start_times(bench: &mut Bench, site: &Site) {
    let starts = [("serve", "the gateway listens"), ("work", "the worker's health is told")];
    for (role, ready) in starts {
        let mut samples = Samples::default();
        for _ in 0..5 {
            let began = Instant::now();
            let mut program = Program::start_bare(&[role], &site.env);
            program.logged(ready, "listen=");
            samples.add_ms(began.elapsed());
            program.stop();
        }
        let what = format!("start of {role}, until it says that it is ready");
        bench.report.line(CASE, &what, "ms", &samples).target("< 100 ms").add();
    }
}

async fn idle(bench: &mut Bench, site: &Site) {
    let seconds = if bench.full { 20 } else { 8 };
    let (mut memory, mut used) = (Samples::default(), Samples::default());
    for _ in 0..bench.repetitions() {
        let work = site.work();
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory.add(work.memory_mib("VmRSS:"));
    }
    let work = site.work();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, began) = (cpu_seconds(work.pid()), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    used.add((cpu_seconds(work.pid()) - before) / began.elapsed().as_secs_f64() * 100.0);
    let report = &mut bench.report;
    report.line(CASE, "idle worker, resident", "MiB", &memory).target("≤ 20 MiB").add();
    let what = format!("idle worker, processor time over {seconds} s (counted in 10 ms)");
    report.line(CASE, &what, "% of a core", &used).target("< 0.5 % of a core").add();
}

/// Jobs at the limits of what a job may be: what each shares, how many pairs it has, and whether it completes.
fn edges(full: bool) -> Vec<(&'static str, Value, i64)> {
    let secrets = if full { MANY } else { 2_500 };
    let users = if full { (100, 10_000, 1_000) } else { (200, 2_000, 250) };
    let all = json!({"secrets": {"all": {}}, "recipients": [{"kind": "user", "id": FIRST_USER}]});
    vec![
        ("most secrets", share((FIRST_SECRET, secrets), (FIRST_USER, users.0)), secrets * users.0),
        ("most recipients", share((FIRST_SECRET, users.2), (FIRST_USER, users.1)), users.1 * users.2),
        ("all that there are", all, if full { MANY } else { 5_000 }),
    ]
}

async fn peaks(bench: &mut Bench, site: &Site) {
    let _serve = site.serve();
    let mut client = Client::new(site).await;
    let mut jobs = 0;
    for (what, share, pairs) in edges(bench.full) {
        let work = site.work();
        site.empty("grants");
        client.one(&asked(&share)).await;
        jobs += 1;
        site.check_rows("grants", pairs);
        site.check_jobs(jobs);
        let (peak, after) = (work.memory_mib("VmHWM:"), work.memory_mib("VmRSS:"));
        let what = format!("worker, peak resident with one job of {pairs} pairs: {what}");
        let line = bench.report.line(CASE, &what, "MiB", &Samples::from(peak));
        line.target("≤ 64 MiB with any one job").add();
        bench.report.note(CASE, format!("after it, {after:.1} MiB are resident"));
    }
    // Many secrets with long ids, so that the message has as many bytes as it may have.
    site.sql(&format!(
        "INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, updated_at) \
         SELECT {LONG_IDS} + i, {REQUESTER}, 'long', 'https://a.example', 'ci', 'GET', '', false, 'long', 0 \
         FROM generate_series(1, {MANY}) i; ANALYZE secrets"
    ));
    site.empty("grants");
    let requests: Vec<Request> =
        (0..WINDOW).map(|_| request((LONG_IDS + 1, MANY), (FIRST_USER, 1))).collect();
    let bytes: usize = requests.iter().map(|request| request.body.len()).sum();
    for few in requests.chunks(20) {
        client.publish(few).await;
    }
    let work = site.work();
    for _ in &requests {
        client.next().await;
    }
    site.check_rows("grants", MANY);
    site.check_jobs(jobs + requests.len());
    let (peak, after) = (Samples::from(work.memory_mib("VmHWM:")), work.memory_mib("VmRSS:"));
    let mib = float(bytes) / MIB;
    let what =
        format!("worker, peak resident with a queue of {WINDOW} requests of {MANY} secrets ({mib:.0} MiB)");
    let target = "≤ 64 MiB + prefetch (200) x message size";
    bench.report.line(CASE, &what, "MiB", &peak).target(target).add();
    bench.report.note(CASE, format!("after it, {after:.1} MiB are resident"));
}
