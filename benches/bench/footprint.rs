//! How large the program is: on disk, in memory, at rest.

use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use crate::Bench;
use crate::client::{Client, Request, WINDOW, request};
use crate::figures::{Samples, float};
use crate::program::{self, Program, cpu_seconds};
use crate::servers::{FIRST_SECRET, FIRST_USER, REQUESTER, Site};

const CASE: &str = "footprint";
const MIB: f64 = 1_048_576.0;
/// The largest id that there may be: a message with it has as many bytes as any.
const LARGEST_ID: i64 = 9_007_199_254_740_991;

#[allow(clippy::cast_precision_loss)]
pub async fn footprint(bench: &mut Bench) {
    let site = Site::new(&bench.servers, if bench.full { 50_000 } else { 5_000 });
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
    let work = site.work();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, began) = (cpu_seconds(work.pid()), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = (cpu_seconds(work.pid()) - before) / began.elapsed().as_secs_f64() * 100.0;
    let memory = Samples::from(work.memory_mib("VmRSS:"));
    let report = &mut bench.report;
    report.line(CASE, "idle worker, resident", "MiB", &memory).target("≤ 20 MiB").add();
    let what = format!("idle worker, processor time over {seconds} s (counted in 10 ms)");
    report.line(CASE, &what, "% of a core", &Samples::from(used)).target("< 0.5 % of a core").add();
}

async fn peaks(bench: &mut Bench, site: &Site) {
    let _serve = site.serve();
    let mut client = Client::new(site).await;
    let mut jobs = 0;
    let sizes: &[i64] = if bench.full { &[5_000, 50_000] } else { &[2_500] };
    for secrets in sizes {
        let work = site.work();
        site.empty("grants");
        client.one(&request((FIRST_SECRET, *secrets), (FIRST_USER, 200))).await;
        jobs += 1;
        site.check_rows("grants", secrets * 200);
        site.check_jobs(jobs);
        let peak = Samples::from(work.memory_mib("VmHWM:"));
        let what = format!("worker, peak resident with one job of {} pairs", secrets * 200);
        bench.report.line(CASE, &what, "MiB", &peak).target("≤ 64 MiB with any one job").add();
    }
    site.sql(&format!(
        "INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, updated_at) \
         VALUES ({LARGEST_ID}, {REQUESTER}, 'last', 'https://a.example', 'ci', 'GET', '', false, 'last', 0)"
    ));
    let requests: Vec<Request> = (0..WINDOW).map(|_| largest()).collect();
    let bytes: usize = requests.iter().map(|request| request.body.len()).sum();
    for few in requests.chunks(20) {
        client.publish(few).await;
    }
    let work = site.work();
    for _ in &requests {
        client.next().await;
    }
    site.check_jobs(jobs + requests.len());
    let peak = Samples::from(work.memory_mib("VmHWM:"));
    let mib = float(bytes) / MIB;
    let what = format!("worker, peak resident with a queue of {WINDOW} requests of 2 MiB ({mib:.0} MiB)");
    let target = "≤ 64 MiB + prefetch (200) x message size";
    bench.report.line(CASE, &what, "MiB", &peak).target(target).add();
}

/// As many bytes as a message may have: one secret named again and again, which counts once.
fn largest() -> Request {
    const LIMIT: usize = 2 * 1_024 * 1_024;
    let id = Uuid::now_v7();
    let with = |ids: usize| {
        let event = json!({
            "specversion": "1.0", "id": id.to_string(), "source": "/bench",
            "type": "batchshare.job.requested.v1",
            "data": {"requested_by": REQUESTER, "secrets": {"ids": vec![LARGEST_ID; ids]},
                     "recipients": [{"kind": "user", "id": FIRST_USER}]},
        });
        event.to_string().into_bytes()
    };
    let (one, two) = (with(1).len(), with(2).len());
    let body = with(1 + (LIMIT - one) / (two - one));
    assert!(body.len() <= LIMIT && body.len() > LIMIT - 100, "{} bytes", body.len());
    Request { id, body }
}
