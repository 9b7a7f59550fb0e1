//! Counts the statements and transactions that a job costs the database.

use std::time::{Duration, Instant};

use crate::Bench;
use crate::client::{Client, Request, request};
use crate::figures::{Samples, float};
use crate::http::Http;
use crate::servers::{FIRST_SECRET, FIRST_USER, Site};
use crate::small::{single, singles};

const COUNTER: &str = "batchshare_database_statements_total";
/// The sessions of PostgreSQL report their counts when they have been idle for this long, or sooner.
const HANDED_IN: Duration = Duration::from_secs(11);
/// The time in which the notices and the outbox of a job are done.
const SETTLED: Duration = Duration::from_millis(300);

/// The counters of the database at one time.
struct Counts {
    worker: Option<f64>,
    serve: Option<f64>,
    writes: f64,
    commits: f64,
}

#[allow(clippy::cast_precision_loss)]
fn counts(site: &Site, work: &Http, serve: &Http) -> Counts {
    let commits =
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    Counts {
        worker: work.counter(COUNTER),
        serve: serve.counter(COUNTER),
        // Each transaction that writes takes a number, and this query takes one as well.
        writes: site.number("SELECT pg_current_xact_id()::text::bigint") as f64,
        commits: site.number(commits) as f64,
    }
}

pub async fn statements(bench: &mut Bench) {
    let site = Site::new(&bench.servers, 3_000);
    let (mut serve_program, mut work_program) = (site.serve(), site.work());
    let serve = Http::new(&serve_program.logged("the gateway listens", "listen="));
    let work = Http::new(&work_program.logged("the worker's health is told", "listen="));
    let mut client = Client::new(&site).await;
    // The first job of a process is not counted, since it reads more than the others.
    client.one(&single(2_900)).await;
    tokio::time::sleep(SETTLED).await;
    let runs: [(&str, Vec<Vec<Request>>); 3] = [
        ("one job of 1 x 1 alone", (0..10).map(|index| vec![single(index)]).collect()),
        ("1,000 jobs of 1 x 1 at once", vec![singles(1_000)]),
        ("one job of 100,000 pairs", vec![vec![request((FIRST_SECRET + 1_100, 500), (FIRST_USER, 200))]]),
    ];
    let mut jobs = 1;
    let mut counted = true;
    for (what, groups) in runs {
        let (mut worker, mut gateway, mut writes) =
            (Samples::default(), Samples::default(), Samples::default());
        for group in &groups {
            let before = counts(&site, &work, &serve);
            let began = Instant::now();
            client.all(group).await;
            jobs += group.len();
            site.await_notices(i64::try_from(jobs).expect("small"));
            site.await_outbox();
            tokio::time::sleep(SETTLED).await;
            let took = began.elapsed();
            let after = counts(&site, &work, &serve);
            // What the process does in that time without a job, and what this counting costs, is taken off.
            tokio::time::sleep(took).await;
            let idle = counts(&site, &work, &serve);
            let each = float(group.len());
            let more = |of: fn(&Counts) -> f64| {
                ((of(&after) - of(&before)) - (of(&idle) - of(&after))).max(0.0) / each
            };
            writes.add(more(|counts| counts.writes));
            counted &= after.worker.is_some() && after.serve.is_some();
            worker.add(more(|counts| counts.worker.unwrap_or(0.0)));
            gateway.add(more(|counts| counts.serve.unwrap_or(0.0)));
        }
        let report = &mut bench.report;
        let unit = "a job";
        report.line("statements", &format!("{what}: transactions that write"), unit, &writes).add();
        if counted {
            report.line("statements", &format!("{what}: statements of the worker"), unit, &worker).add();
            report.line("statements", &format!("{what}: statements of serve"), unit, &gateway).add();
        }
    }
    if !counted {
        bench.report.note("statements", format!("{COUNTER} is not counted by this build"));
    }
    site.check_jobs(jobs);
    site.check_rows("grants", 1 + 1_000 + 100_000);
    if bench.full {
        commits(bench, &site, (&work, &serve), &mut client).await;
    } else {
        bench.report.note("statements", "commits as PostgreSQL counts them: with --full only".to_owned());
    }
    site.close([serve_program, work_program]).await;
}

/// Commits and rollbacks, those of readers included, less those of a time of the same length without a job.
async fn commits(bench: &mut Bench, site: &Site, of: (&Http, &Http), client: &mut Client) {
    let now = || counts(site, of.0, of.1).commits;
    tokio::time::sleep(HANDED_IN).await;
    let begin = now();
    tokio::time::sleep(HANDED_IN).await;
    let idle = now() - begin;
    let line =
        bench.report.line("statements", "no job for 11 s: transactions", "in all", &Samples::from(idle));
    line.add();
    let groups = [
        ("one job of 1 x 1 alone", vec![single(2_000)]),
        ("1,000 jobs of 1 x 1 at once", (0..1_000).map(|index| single(1_800 + index)).collect()),
        ("one job of 100,000 pairs", vec![request((FIRST_SECRET + 1_100, 500), (FIRST_USER + 300, 200))]),
    ];
    for (what, group) in groups {
        let before = now();
        client.all(&group).await;
        tokio::time::sleep(HANDED_IN).await;
        let each = Samples::from((now() - before - idle) / float(group.len()));
        let what = format!("{what}: transactions, readers too, less those of 11 s without a job");
        bench.report.line("statements", &what, "a job", &each).add();
    }
}
