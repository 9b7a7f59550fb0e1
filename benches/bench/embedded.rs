//! Measures the embedded default: one process with one SQLite file, which gets its requests over HTTP.

use std::path::Path;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};

use crate::Bench;
use crate::client::share;
use crate::figures::Samples;
use crate::http::Http;
use crate::large::speed;
use crate::program::{Env, Program, run};
use crate::raw::Pairs;
use crate::servers::{FIRST_SECRET, FIRST_USER, company};

/// The chunk size (`worker.chunk_pairs`) and the pragmas of `src/db`, which both sides use.
const CHUNK: i64 = 10_000;
const PRAGMAS: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                       PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384";

fn open(file: &Path) -> SqliteConnection {
    let mut conn = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("SQLite opens");
    conn.batch_execute(PRAGMAS).expect("pragmas");
    conn
}

fn series(from: i64, to: i64) -> String {
    format!(
        "(WITH RECURSIVE s(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM s WHERE i < {to}) SELECT i FROM s)"
    )
}

fn check(file: &Path, sql: &str, expected: i64) {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let row: Row = diesel::sql_query(sql).get_result(&mut open(file)).expect("a number");
    assert_eq!(row.n, expected, "{sql}");
}

fn env(file: &Path) -> Env {
    vec![
        ("BATCHSHARE__DATABASE__URL", format!("sqlite://{}", file.display())),
        ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
    ]
}

/// The time from the POST until the job shows as ended. The job is asked for every 5 ms.
fn ours(file: &Path, pairs: Pairs) -> Duration {
    let mut program = Program::start(&["up"], &env(file));
    let http = Http::new(&program.logged("the gateway listens", "listen="));
    let body = share((pairs.first_secret, pairs.secrets), (FIRST_USER, pairs.users)).to_string();
    let began = Instant::now();
    let id = http.share(&body);
    while http.job(&id)["finished_at"].is_null() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = began.elapsed();
    program.stop();
    check(file, "SELECT count(*) AS n FROM jobs WHERE state = 'completed'", 1);
    took
}

/// Measures the upsert alone, on the same table in the same kind of file. Its rows are in key order without a sort.
fn raw(file: &Path, pairs: Pairs) -> Duration {
    let mut conn = open(file);
    let last = pairs.first_secret + pairs.secrets;
    conn.batch_execute(&format!(
        "CREATE TEMP TABLE s (id INTEGER PRIMARY KEY); CREATE TEMP TABLE p (id INTEGER PRIMARY KEY); \
         INSERT INTO s SELECT i FROM {}; INSERT INTO p SELECT i FROM {}",
        series(pairs.first_secret, last - 1),
        series(FIRST_USER, FIRST_USER + pairs.users - 1),
    ))
    .expect("ids");
    let step = CHUNK / pairs.users;
    let mut from = pairs.first_secret;
    let began = Instant::now();
    while from < last {
        let to = (from + step).min(last);
        let sql = format!(
            "BEGIN IMMEDIATE; \
             INSERT INTO grants (secret_id, principal_id, permission, view_job, edit_job, granted_at) \
             SELECT s.id, p.id, 1, 1, NULL, 1 FROM s CROSS JOIN p WHERE s.id >= {from} AND s.id < {to} \
             ORDER BY s.id, p.id \
             ON CONFLICT (secret_id, principal_id) DO UPDATE SET permission = excluded.permission, \
             view_job = COALESCE(grants.view_job, 0), edit_job = excluded.edit_job, \
             granted_at = excluded.granted_at WHERE grants.permission < excluded.permission; \
             COMMIT"
        );
        conn.batch_execute(&sql).expect("a chunk");
        from = to;
    }
    began.elapsed()
}

pub fn embedded(bench: &mut Bench) {
    let secrets = if bench.full { 5_000 } else { 1_000 };
    let pairs = Pairs { first_secret: FIRST_SECRET, secrets, users: 200, step: 1 };
    let folder = tempfile::tempdir().expect("a folder");
    let template = folder.path().join("template.db");
    run(&["migrate"], &env(&template));
    let mut conn = open(&template);
    conn.batch_execute(&company(secrets, series)).expect("a company");
    conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
    drop(conn);
    let (mut upsert, mut job) = (Samples::default(), Samples::default());
    for run in 0..bench.repetitions() {
        for (name, samples, measure) in
            [("raw", &mut upsert, raw as fn(&Path, Pairs) -> Duration), ("ours", &mut job, ours)]
        {
            // Each run has a fresh file, so that it finds no pages of the run before.
            let file = folder.path().join(format!("{name}{run}.db"));
            std::fs::copy(&template, &file).expect("a copy");
            std::fs::File::open(&file).and_then(|file| file.sync_all()).expect("written");
            samples.add(speed(pairs, measure(&file, pairs)));
            check(&file, "SELECT count(*) AS n FROM grants", pairs.count());
            std::fs::remove_file(&file).expect("removed");
        }
    }
    let what = format!("one job of {} new grants, `up` on a SQLite file", pairs.count());
    let line = bench.report.line("embedded", &what, "grants/s", &job);
    line.limit(&format!("raw SQLite upsert, chunks of {CHUNK}"), &upsert)
        .target("≥ 0.8 of a raw SQLite upsert, same chunks, same pragmas")
        .add();
}
