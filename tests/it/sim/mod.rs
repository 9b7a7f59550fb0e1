//! A seeded simulation of a whole site: the real store, broker, worker, relay and notifier run on a SQLite file, in
//! one thread.
//!
//! Every call to the database waits until the seed says that it is next (`gate.rs`), so that any two of several
//! workers meet in every order, and a process can die between any two calls. The broker duplicates, delays, reorders,
//! redelivers and loses messages. Rights change and grants are taken back while jobs run, jobs are cancelled and undone, and
//! access is taken away in bulk, and time passes when the seed says so. After every call that wrote, the database is
//! compared with a small reference (`company.rs`, `undos.rs`). At the end nothing may be lost, doubled or stuck.
//!
//! `BATCHSHARE_SIM_SEEDS=N` runs this many seeds (200 by default). `BATCHSHARE_SIM_SEED=S` runs the seed that a
//! failure has named. A seed gives the same run every time.

#![allow(clippy::print_stdout, reason = "what a seed does is read when it fails")]

mod company;
pub(crate) mod gate;
mod orders;
mod site;
mod story;
mod undos;
mod watch;

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use batchshare::db;
use batchshare::db::{Clock, Db, Target};
use diesel::connection::SimpleConnection;
use site::Mistake;

const SEEDS: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// The folder of the files. It is in memory if the machine has such a place, since the simulation is not about disks.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder")
}

/// A migrated database with the company in it, as the bytes of its file.
fn template() -> &'static [u8] {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = folder();
        let path = folder.path().join("template.db");
        let url = format!("sqlite://{}", path.display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let settings = crate::support::settings(&url);
            let db = Db::new(Target::parse(&url).expect("url"), settings.db_options(), Clock::default());
            db::apply_migrations(&db).await.expect("migrations");
            let sql = company::Company::new().sql();
            let last = "PRAGMA wal_checkpoint(TRUNCATE)";
            db.write(move |conn| Ok(conn.batch_execute(&sql)?)).await.expect("people");
            db.read(move |conn| Ok(conn.batch_execute(last)?)).await.expect("checkpoint");
        });
        std::fs::read(&path).expect("the file")
    })
}

fn run(seed: u64, mistake: Option<Mistake>) -> Result<(), String> {
    let folder = folder();
    let path = folder.path().join("sim.db");
    std::fs::write(&path, template()).expect("a copy");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(story::run(seed, &path, mistake))
}

/// Runs seeds on two threads, and returns those that went wrong, in order.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<(u64, String)> {
    let seeds = Mutex::new(seeds);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(seed) = seeds.lock().expect("a lock").next() else { break };
                    if seed % 1_000 == 999 {
                        println!("sim: {} seeds", seed + 1);
                    }
                    if let Err(words) = run(seed, None) {
                        wrong.lock().expect("a lock").push((seed, words));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("a lock");
    wrong.sort();
    wrong
}

#[test]
fn whatever_a_seed_does_nothing_is_lost_doubled_or_stuck() {
    let wrong = match number("BATCHSHARE_SIM_SEED") {
        Some(seed) => run_all(seed..seed + 1),
        None => run_all(0..number("BATCHSHARE_SIM_SEEDS").unwrap_or(SEEDS)),
    };
    let again = |(seed, words): &(u64, String)| {
        format!(
            "seed {seed}: {words}\n  again: BATCHSHARE_SIM_SEED={seed} cargo test --test it sim::whatever\n"
        )
    };
    assert!(
        wrong.is_empty(),
        "{} seeds went wrong\n{}",
        wrong.len(),
        wrong.iter().map(again).collect::<String>()
    );
}

/// Each mistake is found by one of the first seeds.
fn is_caught(mistake: Mistake, within: u64) {
    let found = (0..within).find_map(|seed| run(seed, Some(mistake)).err().map(|words| (seed, words)));
    println!("{mistake:?}: {found:?}");
    assert!(found.is_some(), "{mistake:?} was not found by {within} seeds");
}

#[test]
fn a_worker_that_acknowledges_before_the_commit_is_caught() {
    is_caught(Mistake::AcksBeforeCommit, 20);
}

#[test]
fn a_relay_that_removes_before_it_publishes_is_caught() {
    is_caught(Mistake::RelayRemovesBeforePublishing, 20);
}

#[test]
fn an_outbox_that_dies_with_its_process_is_caught() {
    is_caught(Mistake::OutboxDiesWithItsProcess, 20);
}

#[test]
fn an_acknowledgement_over_what_is_in_work_is_caught() {
    is_caught(Mistake::AcknowledgesOverUnfinished, 40);
}

#[test]
fn a_batch_that_reports_a_bad_job_as_done_is_caught() {
    is_caught(Mistake::ReportsTheBadOneAsDone, 40);
}

#[test]
fn a_cancel_that_only_marks_its_job_is_caught() {
    is_caught(Mistake::CancelOnlyMarksTheJob, 40);
}

#[test]
fn an_undo_without_claims_is_caught() {
    is_caught(Mistake::ClaimsAreForgotten, 100);
}

#[test]
fn claims_and_undos_of_jobs_that_are_undone_are_caught() {
    is_caught(Mistake::NobodyKnowsWhatIsUndone, 60);
}
