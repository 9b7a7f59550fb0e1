//! Measures what more workers bring.

use crate::Bench;
use crate::client::{Client, Request, request};
use crate::figures::{Samples, float};
use crate::program::Program;
use crate::servers::{FIRST_SECRET, FIRST_USER, Site};
use crate::small::singles;

/// The numbers of worker processes that are measured.
const WORKERS: [usize; 3] = [1, 2, 4];
const USERS: i64 = 200;

/// What was measured with one number of workers.
#[derive(Default)]
struct Of {
    large: Samples,
    small: Samples,
    cpu: [String; 2],
}

pub async fn scale(bench: &mut Bench) {
    let (jobs, secrets, singles_count) = if bench.full { (8, 1_250, 5_000) } else { (4, 250, 500) };
    let rounds = if bench.full { 5 } else { 1 };
    let site = Site::new(&bench.servers, (jobs * secrets).max(singles_count));
    let serve = site.serve();
    let mut client = Client::new(&site).await;
    let count = usize::try_from(singles_count).expect("small");
    let mut done = 0;
    let mut all: Vec<(usize, Of)> = WORKERS.map(|workers| (workers, Of::default())).into();
    for _ in 0..rounds {
        for (workers, of) in &mut all {
            let programs: Vec<Program> = (0..*workers).map(|_| site.work()).collect();
            let watched: Vec<&Program> = programs.iter().chain([&serve]).collect();
            site.empty("grants");
            let large: Vec<Request> = (0..jobs)
                .map(|index| request((FIRST_SECRET + index * secrets, secrets), (FIRST_USER, USERS)))
                .collect();
            let before = site.cpu(&watched);
            let (took, _) = client.all(&large).await;
            of.cpu[0] = site.cpu(&watched).since(&before);
            of.large.add(took.as_secs_f64());
            site.check_rows("grants", jobs * secrets * USERS);
            site.empty("grants");
            let small = singles(count);
            let before = site.cpu(&watched);
            let (took, _) = client.all(&small).await;
            of.cpu[1] = site.cpu(&watched).since(&before);
            of.small.add(float(count) / took.as_secs_f64());
            site.check_rows("grants", singles_count);
            done += large.len() + count;
            site.check_jobs(done);
        }
    }
    for (workers, of) in &all {
        let what = format!("{workers} worker(s), {jobs} jobs of {} pairs", secrets * USERS);
        bench.report.line("scale", &what, "s", &of.large).add();
        bench.report.note("scale", format!("{what}, the last time: {}", of.cpu[0]));
        let what = format!("{workers} worker(s), {count} jobs of 1 x 1");
        bench.report.line("scale", &what, "jobs/s", &of.small).add();
        bench.report.note("scale", format!("{what}, the last time: {}", of.cpu[1]));
    }
    site.close([serve]).await;
}
