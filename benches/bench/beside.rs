//! Measures this program beside another one, in pairs of runs: what one of them costs, the other has just cost, too.
//!
//! Both run on the same servers, each with a database and queues of its own, and take turns within seconds. So the ratio
//! of a pair says more than the two speeds, on a machine whose speed drifts.

use std::path::PathBuf;
use std::time::Duration;

use crate::Bench;
use crate::client::{Client, Request, request};
use crate::figures::Samples;
use crate::program::{self, Program};
use crate::servers::{FIRST_SECRET, FIRST_USER, Site};
use crate::small::singles;

const SECRETS: i64 = 100_000;

/// One of the two programs at work.
struct Side {
    site: Site,
    client: Client,
    programs: [Program; 2],
}

impl Side {
    async fn new(bench: &Bench, program: Option<PathBuf>) -> Self {
        program::use_other(program);
        let site = Site::new(&bench.servers, SECRETS);
        let programs = [site.serve(), site.work()];
        program::use_other(None);
        let client = Client::new(&site).await;
        Self { site, client, programs }
    }

    /// Does the work, on an empty table or again, and returns how long it took.
    async fn run(&mut self, work: &Work, again: bool) -> Duration {
        if again {
            self.site.sql("CHECKPOINT")
        } else {
            self.site.empty("grants")
        }
        let requests = work.requests();
        let (took, _) = self.client.all(&requests).await;
        self.site.check_rows("grants", work.pairs());
        took
    }
}

/// What both programs do.
#[derive(Clone, Copy)]
enum Work {
    /// One job with so many secrets and users.
    One(i64, i64),
    /// So many jobs of 1 x 1.
    Small(usize),
}

impl Work {
    fn requests(&self) -> Vec<Request> {
        match *self {
            Self::One(secrets, users) => vec![request((FIRST_SECRET, secrets), (FIRST_USER, users))],
            Self::Small(count) => singles(count),
        }
    }

    fn pairs(&self) -> i64 {
        match *self {
            Self::One(secrets, users) => secrets * users,
            Self::Small(count) => i64::try_from(count).expect("small"),
        }
    }

    fn name(&self) -> String {
        match *self {
            Self::One(secrets, users) => format!("one job of {secrets} x {users}"),
            Self::Small(count) => format!("{count} jobs of 1 x 1"),
        }
    }
}

/// What is measured, the number of pairs of runs, and what is asked for.
const WORK: [(Work, usize, [&str; 2]); 4] = [
    (Work::One(5_000, 200), 15, ["≥ 0.98", "≥ 0.90"]),
    (Work::One(100_000, 10), 15, ["≥ 0.98", ""]),
    (Work::One(10_000, 1), 45, ["≥ 0.98", "≥ 0.25"]),
    (Work::Small(2_000), 25, ["≥ 0.97", ""]),
];

pub async fn beside(bench: &mut Bench) {
    let other = std::env::var_os("BATCHSHARE_BENCH_OTHER").expect("./dev compare REV --beside");
    let mut sides = [Side::new(bench, None).await, Side::new(bench, Some(other.into())).await];
    // The first job of a process is not measured, since the process does much for the first time then.
    for side in &mut sides {
        side.run(&Work::One(1_000, 20), false).await;
    }
    for (work, pairs, targets) in WORK {
        let pairs = if bench.full { pairs } else { pairs.div_ceil(3) };
        for (again, target) in [(false, targets[0]), (true, targets[1])] {
            let (mut ratios, mut seconds) = (Samples::default(), [Samples::default(), Samples::default()]);
            for pair in 0..pairs {
                let mut took = [0.0; 2];
                // Nobody is always first.
                for turn in 0..2 {
                    let side = (pair + turn) % 2;
                    took[side] = sides[side].run(&work, again).await.as_secs_f64();
                    seconds[side].add(took[side]);
                }
                ratios.add(took[1] / took[0]);
            }
            let what = if again { "again" } else { "new" };
            let what = format!("{}, {what}: speed beside the other program", work.name());
            bench.report.line("beside", &what, "ratio", &ratios).target(target).add();
            let (from, to) = ratios.median_interval();
            let medians = seconds.each_ref().map(Samples::median);
            bench.report.note(
                "beside",
                format!(
                    "{what}: the median of {pairs} pairs lies between {from:.3} and {to:.3} (95 %); {:.3} s and {:.3} s",
                    medians[0], medians[1]
                ),
            );
        }
    }
    for side in sides {
        side.site.close(side.programs).await;
    }
}
