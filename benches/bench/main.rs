//! `./dev bench`: measures how fast and how large the program is, beside what the servers alone can do.
//!
//! The runs of both sides take turns, and every count is checked by SQL. No number is printed that was not measured in
//! this run. The benchmark does not judge its figures: the text of the target is printed beside each of them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "as in tests: what goes wrong ends the run with words, and the table goes to stdout"
)]

mod bare;
mod beside;
mod client;
mod compare;
mod embedded;
mod export;
mod figures;
mod footprint;
mod growth;
mod http;
mod large;
mod loaded;
mod machine;
mod post;
mod preview;
mod program;
mod raw;
mod report;
mod scale;
mod servers;
mod small;
mod statements;
mod taking;
mod tune;

use std::path::Path;
use std::time::Instant;

use clap::Parser;

use crate::report::Report;
use crate::servers::Servers;

/// Measures a release build on the servers of `./dev bench`.
#[derive(Parser)]
struct Args {
    /// The sizes of the targets and five repetitions at least; takes up to 25 minutes
    #[arg(long)]
    full: bool,
    /// Only these
    #[arg(value_parser = CASES)]
    cases: Vec<String>,
    /// Measures nothing: reads the reports that `./dev compare` left in this folder
    #[arg(long, hide = true)]
    compare: Option<std::path::PathBuf>,
    /// Cargo says this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    /// Whether this case is to run. If no case is named, all run except that of the settings, which no target is
    /// about, and that which needs another program.
    fn wants(&self, name: &str) -> bool {
        if self.cases.is_empty() {
            !["tune", "beside"].contains(&name)
        } else {
            self.cases.iter().any(|case| case == name)
        }
    }
}

/// All cases, in the order in which they run.
const CASES: [&str; 19] = [
    "large",
    "repeat",
    "undo",
    "unshare",
    "cancel",
    "small",
    "idle",
    "loaded",
    "statements",
    "post",
    "preview",
    "footprint",
    "embedded",
    "export",
    "scale",
    "fairness",
    "growth",
    "tune",
    "beside",
];

/// What every case is given.
pub struct Bench {
    full: bool,
    servers: Servers,
    report: Report,
}

impl Bench {
    /// The number of runs of each side, which take turns.
    fn repetitions(&self) -> usize {
        if self.full { 5 } else { 3 }
    }

    async fn case(&mut self, name: &str) {
        let began = Instant::now();
        println!("{name}");
        match name {
            "large" => large::large(self).await,
            "repeat" => large::repeat(self).await,
            "undo" => taking::undo(self).await,
            "unshare" => taking::unshare(self).await,
            "cancel" => taking::cancel(self).await,
            "small" => small::small(self).await,
            "idle" => small::idle(self).await,
            "loaded" => loaded::loaded(self).await,
            "statements" => statements::statements(self).await,
            "post" => post::post(self).await,
            "preview" => preview::preview(self).await,
            "footprint" => footprint::footprint(self).await,
            "embedded" => embedded::embedded(self),
            "export" => export::export(self),
            "scale" => scale::scale(self).await,
            "fairness" => loaded::fairness(self).await,
            "growth" => growth::growth(self).await,
            "tune" => tune::tune(self).await,
            "beside" => beside::beside(self).await,
            other => unreachable!("no case {other}"),
        }
        println!("  ({:.1} s)", began.elapsed().as_secs_f64());
    }
}

fn main() {
    let args = Args::parse();
    if let Some(folder) = &args.compare {
        let table = compare::table(folder);
        std::fs::write(folder.join("table.md"), &table).expect("table.md");
        println!("{table}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let servers = Servers::from_env();
    let copy = tempfile::tempdir().expect("a folder");
    let facts = [machine::facts(), program::keep(copy.path()), servers.facts()].concat();
    let mut bench = Bench { full: args.full, report: Report::new(args.full, facts), servers };
    if !args.full {
        println!("short mode: fewer repetitions and smaller cases than the targets (--full)");
    }
    // All processes are started by this thread, because the kernel ends them when the thread ends.
    runtime.block_on(async {
        for name in CASES.iter().filter(|name| args.wants(name)) {
            bench.case(name).await;
        }
    });
    let folder = Path::new(program::BUILT).ancestors().nth(2).expect("the target folder").join("bench");
    bench.report.write(&folder);
    println!("\n{}", bench.report.table());
    println!("report.md and report.json are in {}", folder.display());
}
