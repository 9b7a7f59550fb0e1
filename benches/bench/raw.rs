//! What PostgreSQL does with the same pairs and nothing of ours: table `raw`, two connections.

use std::ops::Range;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;

use crate::servers::{FIRST_USER, connect};

/// No settings but the server's own.
pub const AS_IT_IS: &str = "SET application_name = 'bench'";

/// Pairs of one transaction that are tried; the best is the limit.
pub const CHUNKS: [i64; 3] = [5_000, 10_000, 50_000];

/// Which pairs: secrets from an id on, with users from [`FIRST_USER`] on.
#[derive(Clone, Copy)]
pub struct Pairs {
    pub first_secret: i64,
    pub secrets: i64,
    pub users: i64,
    /// From one user's id to the next.
    pub step: i64,
}

impl Pairs {
    pub fn count(self) -> i64 {
        self.secrets * self.users
    }
}

/// A statement for these secrets, which is a transaction.
type Statement = fn(Range<i64>, Pairs) -> String;

/// All pairs are new: the upsert.
pub fn upsert(secrets: Range<i64>, of: Pairs) -> String {
    format!(
        "INSERT INTO raw (secret_id, principal_id, permission, view_job, edit_job, granted_at) \
         SELECT s, p, 1, 1, NULL, 1 {} ORDER BY s, p {CONFLICT}",
        pairs(secrets, of)
    )
}

/// All pairs are there: looked up first, and only what is missing would be written.
pub fn anti_join(secrets: Range<i64>, of: Pairs) -> String {
    format!(
        "INSERT INTO raw (secret_id, principal_id, permission, view_job, edit_job, granted_at) \
         SELECT s, p, 1, 1, NULL, 1 {} \
         WHERE NOT EXISTS (SELECT 1 FROM raw r WHERE r.secret_id = s AND r.principal_id = p \
                           AND r.permission >= 1) ORDER BY s, p {CONFLICT}",
        pairs(secrets, of)
    )
}

const CONFLICT: &str = "ON CONFLICT (secret_id, principal_id) DO UPDATE SET permission = excluded.permission, \
                        view_job = COALESCE(raw.view_job, 0), edit_job = excluded.edit_job, \
                        granted_at = excluded.granted_at WHERE raw.permission < excluded.permission";

fn pairs(secrets: Range<i64>, of: Pairs) -> String {
    let (first, last) = (secrets.start, secrets.end - 1);
    let last_user = FIRST_USER + (of.users - 1) * of.step;
    format!(
        "FROM generate_series({first}::bigint, {last}::bigint) s \
         CROSS JOIN generate_series({FIRST_USER}::bigint, {last_user}::bigint, {}::bigint) p",
        of.step
    )
}

/// Runs the statements over so many connections on disjoint secrets; how long until all are done.
fn run(url: &str, on: i64, setup: &str, statement: Statement, pairs: Pairs, chunk: i64) -> Duration {
    let step = (chunk / pairs.users).max(1);
    let at = |part: i64| pairs.first_secret + pairs.secrets * part / on;
    let mut parts: Vec<_> = (0..on)
        .map(|part| at(part)..at(part + 1))
        .map(|secrets| {
            let mut conn = connect(url);
            conn.batch_execute(setup).expect("settings");
            (conn, secrets)
        })
        .collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (conn, secrets) in &mut parts {
            scope.spawn(move || {
                let mut from = secrets.start;
                while from < secrets.end {
                    let to = (from + step).min(secrets.end);
                    conn.batch_execute(&statement(from..to, pairs)).expect("a chunk");
                    from = to;
                }
            });
        }
    });
    began.elapsed()
}

/// Over two connections. Without the main thread, which drives the rest.
pub async fn run_beside(
    url: &str,
    setup: &'static str,
    statement: Statement,
    pairs: Pairs,
    chunk: i64,
) -> Duration {
    let url = url.to_owned();
    let run = move || run(&url, 2, setup, statement, pairs, chunk);
    tokio::task::spawn_blocking(run).await.expect("raw SQL")
}

/// The upsert of all pairs in one transaction on one connection.
pub async fn run_alone(url: &str, pairs: Pairs) -> Duration {
    let url = url.to_owned();
    let run = move || run(&url, 1, AS_IT_IS, upsert, pairs, pairs.count());
    tokio::task::spawn_blocking(run).await.expect("raw SQL")
}
