//! Measures the values among which the settings of the worker were chosen.

use std::time::Duration;

use crate::Bench;
use crate::client::{Client, request};
use crate::figures::{Samples, float};
use crate::large::speed;
use crate::raw::Pairs;
use crate::servers::{FIRST_SECRET, FIRST_USER, Site};
use crate::small::singles;

/// A setting of the worker and the values that are measured. The default is among them.
type Setting = (&'static str, &'static [&'static str]);

const OF_LARGE: [Setting; 3] = [
    ("BATCHSHARE__WORKER__CHUNK_PAIRS", &["2500", "5000", "10000", "20000", "50000"]),
    ("BATCHSHARE__WORKER__LANES", &["1", "2", "3", "4"]),
    ("BATCHSHARE__WORKER__SLICE_MS", &["100", "250", "1000"]),
];
const OF_SMALL: [Setting; 4] = [
    ("BATCHSHARE__WORKER__TOGETHER", &["1", "20", "100", "200"]),
    ("BATCHSHARE__BROKER__PREFETCH", &["200", "300", "400"]),
    ("BATCHSHARE__WORKER__REQUEST_CONCURRENCY", &["1", "2", "4"]),
    ("BATCHSHARE__RELAY__BATCH", &["50", "200", "400", "800"]),
];

pub async fn tune(bench: &mut Bench) {
    let pairs = Pairs { first_secret: FIRST_SECRET, secrets: 2_500, users: 200, step: 1 };
    let (count, runs) = (3_000, bench.repetitions());
    let mut site = Site::new(&bench.servers, 3_000);
    for (setting, values) in OF_LARGE {
        let job = || vec![request((pairs.first_secret, pairs.secrets), (FIRST_USER, pairs.users))];
        let speed = |took| speed(pairs, took);
        let of = Measured { what: "one job of 500,000 pairs", unit: "grants/s", rows: pairs.count() };
        each(bench, &mut site, (setting, values), runs, of, job, speed).await;
    }
    for (setting, values) in OF_SMALL {
        let speed = |took: Duration| float(count) / took.as_secs_f64();
        let of = Measured { what: "3,000 jobs of 1 x 1", unit: "jobs/s", rows: 3_000 };
        each(bench, &mut site, (setting, values), runs, of, || singles(count), speed).await;
    }
    site.close([]).await;
}

struct Measured {
    what: &'static str,
    unit: &'static str,
    /// The number of grants that there must be at the end.
    rows: i64,
}

/// Measures every value in turn, in several rounds.
async fn each(
    bench: &mut Bench,
    site: &mut Site,
    (setting, values): Setting,
    runs: usize,
    of: Measured,
    jobs: impl Fn() -> Vec<crate::client::Request>,
    speed: impl Fn(Duration) -> f64,
) {
    let mut measured: Vec<Samples> = values.iter().map(|_| Samples::default()).collect();
    for _ in 0..runs {
        for (value, samples) in values.iter().zip(&mut measured) {
            site.env.push((setting, (*value).to_owned()));
            let (serve, work) = (site.serve(), site.work());
            let mut client = Client::new(site).await;
            // The first message of each queue costs a process more, so a job with steps comes before the measurement.
            client.one(&request((FIRST_SECRET, 300), (FIRST_USER + 500, 200))).await;
            site.empty("grants");
            let (took, _) = client.all(&jobs()).await;
            samples.add(speed(took));
            site.check_rows("grants", of.rows);
            drop((serve, work));
            site.env.pop();
        }
    }
    let name = setting.trim_start_matches("BATCHSHARE__").replace("__", ".").to_lowercase();
    for (value, samples) in values.iter().zip(&measured) {
        bench.report.line("tune", &format!("{}, {name} = {value}", of.what), of.unit, samples).add();
    }
}
