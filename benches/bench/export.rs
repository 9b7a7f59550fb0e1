//! Measures the export of a job on the embedded default: how many lines a second come over HTTP, and how much memory
//! the program takes for it.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use ureq::Agent;

use crate::Bench;
use crate::client::share;
use crate::figures::{Samples, rate};
use crate::http::Http;
use crate::program::{Env, Program, run};
use crate::servers::{FIRST_SECRET, FIRST_USER, company};

const CASE: &str = "export";
const USERS: i64 = 200;
/// How many grants of others the table holds in a full run.
const OTHERS: i64 = 9_000_000;

fn series(from: i64, to: i64) -> String {
    format!(
        "(WITH RECURSIVE s(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM s WHERE i < {to}) SELECT i FROM s)"
    )
}

fn env(file: &Path) -> Env {
    vec![
        ("BATCHSHARE__DATABASE__URL", format!("sqlite://{}", file.display())),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
    ]
}

/// A database with a company and, in a full run, grants of others on secrets of others.
fn fill(file: &Path, secrets: i64, others: i64) {
    run(&["migrate"], &env(file));
    let mut conn = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("SQLite opens");
    conn.batch_execute("PRAGMA journal_mode = WAL; PRAGMA cache_size = -65536").expect("pragmas");
    conn.batch_execute(&company(secrets, series)).expect("a company");
    let (first, last) = (FIRST_SECRET + 10_000_000, FIRST_SECRET + 10_000_000 + others / USERS - 1);
    if others > 0 {
        conn.batch_execute(&format!(
            "INSERT INTO grants (secret_id, principal_id, permission, granted_at) \
             SELECT s.i, p.i, 1, 0 FROM {} AS s CROSS JOIN {} AS p ORDER BY 1, 2",
            series(first, last),
            series(FIRST_USER, FIRST_USER + USERS - 1),
        ))
        .expect("grants of others");
    }
    conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
}

/// Reads an export to its end. Returns its lines, and by how much the program's memory has grown at most, in MiB.
fn read(agent: &Agent, address: &str, job: &str, format: &str, program: &Program) -> (usize, f64) {
    let url = format!("http://{address}/api/v1/share-jobs/{job}/export?format={format}");
    let before = program.memory_mib("VmRSS:");
    let mut answer = agent.get(url).header("X-Batchshare-User", "user1").call().expect("an answer");
    let mut body = answer.body_mut().as_reader();
    let (mut buffer, mut lines, mut most) = (vec![0; 1024 * 1024], 0, before);
    loop {
        let count = body.read(&mut buffer).expect("a whole answer");
        if count == 0 {
            return (lines, most - before);
        }
        lines += buffer[..count].iter().filter(|byte| **byte == b'\n').count();
        most = program.memory_mib("VmRSS:").max(most);
    }
}

pub fn export(bench: &mut Bench) {
    let (secrets, others) = if bench.full { (5_000, OTHERS) } else { (1_000, 0) };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("export.db");
    fill(&file, secrets, others);
    let mut program = Program::start(&["up"], &env(&file));
    let listen = program.logged("the gateway listens", "listen=");
    let http = Http::new(&listen);
    let address = listen.trim_start_matches("Some(").trim_end_matches(')').to_owned();
    let pairs = usize::try_from(secrets * USERS).expect("small");
    let id = http.share(&share((FIRST_SECRET, secrets), (FIRST_USER, USERS)).to_string());
    while http.job(&id)["finished_at"].is_null() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let agent: Agent = Agent::config_builder().timeout_global(Some(Duration::from_secs(600))).build().into();
    for (format, head) in [("csv", 1), ("jsonl", 0)] {
        let (mut speed, mut memory) = (Samples::default(), Samples::default());
        for _ in 0..bench.repetitions() {
            let began = Instant::now();
            let (lines, grown) = read(&agent, &address, &id, format, &program);
            assert_eq!(lines, pairs + head, "{format}");
            speed.add(rate(pairs, began));
            memory.add(grown);
        }
        let what = format!("{format} of a job of {pairs} pairs over HTTP, {others} grants of others, SQLite");
        bench.report.line(CASE, &what, "lines/s", &speed).target("≥ 200,000").add();
        bench.report.line(CASE, &format!("memory for that ({format})"), "MiB", &memory).target("≤ 16").add();
    }
    program.stop();
}
