//! Measures PostgreSQL alone: it writes the same pairs into a table `raw` over two connections, without our program.

use std::ops::Range;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;

use crate::servers::{FIRST_USER, connect};

/// No settings other than those of the server.
pub const AS_IT_IS: &str = "SET application_name = 'bench'";

/// The numbers of pairs in one transaction that are tried. The best result counts as the limit.
pub const CHUNKS: [i64; 3] = [5_000, 10_000, 50_000];

/// The pairs to write: secrets from an id on, with users from [`FIRST_USER`] on.
#[derive(Clone, Copy)]
pub struct Pairs {
    pub first_secret: i64,
    pub secrets: i64,
    pub users: i64,
    /// The distance between the ids of two users.
    pub step: i64,
}

impl Pairs {
    pub fn count(self) -> i64 {
        self.secrets * self.users
    }
}

/// Makes the statement for some secrets. Each statement is a transaction.
type Statement = fn(Range<i64>, Pairs) -> String;

/// The statement for pairs that are all new, which is the upsert.
pub fn upsert(secrets: Range<i64>, of: Pairs) -> String {
    format!(
        "INSERT INTO raw (secret_id, principal_id, permission, view_job, edit_job, granted_at) \
         SELECT s, p, 1, 1, NULL, 1 {} ORDER BY s, p {CONFLICT}",
        pairs(secrets, of)
    )
}

/// The statement for pairs that are all there. They are looked up first, and only missing ones would be written.
pub fn anti_join(secrets: Range<i64>, of: Pairs) -> String {
    format!(
        "INSERT INTO raw (secret_id, principal_id, permission, view_job, edit_job, granted_at) \
         SELECT s, p, 1, 1, NULL, 1 {} \
         WHERE NOT EXISTS (SELECT 1 FROM raw r WHERE r.secret_id = s AND r.principal_id = p \
                           AND r.permission >= 1) ORDER BY s, p {CONFLICT}",
        pairs(secrets, of)
    )
}

/// The statement that deletes the pairs.
pub fn delete(secrets: Range<i64>, of: Pairs) -> String {
    let (first, last) = (secrets.start, secrets.end - 1);
    format!(
        "DELETE FROM raw WHERE secret_id BETWEEN {first} AND {last} AND principal_id BETWEEN {FIRST_USER} AND {}",
        FIRST_USER + (of.users - 1) * of.step
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

/// Runs the statements over this many connections, each for other secrets. Returns the time until all are done.
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

/// Runs the statements over two connections, on threads other than the main thread, which drives the rest.
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

/// Runs the upsert of all pairs in one transaction on one connection.
pub async fn run_alone(url: &str, pairs: Pairs) -> Duration {
    let url = url.to_owned();
    let run = move || run(&url, 1, AS_IT_IS, upsert, pairs, pairs.count());
    tokio::task::spawn_blocking(run).await.expect("raw SQL")
}
