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
}

impl Pairs {
    pub fn count(self) -> i64 {
        self.secrets * self.users
    }
}

/// A statement for these secrets, which is a transaction.
type Statement = fn(Range<i64>, i64) -> String;

/// All pairs are new: the upsert.
pub fn upsert(secrets: Range<i64>, users: i64) -> String {
    format!(
        "INSERT INTO raw (secret_id, principal_id, permission, view_job, edit_job, granted_at) \
         SELECT s, p, 1, 1, NULL, 1 {} ORDER BY s, p {CONFLICT}",
        pairs(secrets, users)
    )
}

/// All pairs are there: looked up first, and only what is missing would be written.
pub fn anti_join(secrets: Range<i64>, users: i64) -> String {
    format!(
        "INSERT INTO raw (secret_id, principal_id, permission, view_job, edit_job, granted_at) \
         SELECT s, p, 1, 1, NULL, 1 {} \
         WHERE NOT EXISTS (SELECT 1 FROM raw r WHERE r.secret_id = s AND r.principal_id = p \
                           AND r.permission >= 1) ORDER BY s, p {CONFLICT}",
        pairs(secrets, users)
    )
}

const CONFLICT: &str = "ON CONFLICT (secret_id, principal_id) DO UPDATE SET permission = excluded.permission, \
                        view_job = COALESCE(raw.view_job, 0), edit_job = excluded.edit_job, \
                        granted_at = excluded.granted_at WHERE raw.permission < excluded.permission";

fn pairs(secrets: Range<i64>, users: i64) -> String {
    let (first, last) = (secrets.start, secrets.end - 1);
    let last_user = FIRST_USER + users - 1;
    format!(
        "FROM generate_series({first}::bigint, {last}::bigint) s \
         CROSS JOIN generate_series({FIRST_USER}::bigint, {last_user}::bigint) p"
    )
}

/// Runs the statements over two connections on disjoint secrets; how long until both are done.
pub fn run(url: &str, setup: &str, statement: Statement, pairs: Pairs, chunk: i64) -> Duration {
    let step = (chunk / pairs.users).max(1);
    let middle = pairs.first_secret + pairs.secrets / 2;
    let end = pairs.first_secret + pairs.secrets;
    let mut halves: Vec<_> = [pairs.first_secret..middle, middle..end]
        .into_iter()
        .map(|secrets| {
            let mut conn = connect(url);
            conn.batch_execute(setup).expect("settings");
            (conn, secrets)
        })
        .collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (conn, secrets) in &mut halves {
            scope.spawn(move || {
                let mut from = secrets.start;
                while from < secrets.end {
                    let to = (from + step).min(secrets.end);
                    conn.batch_execute(&statement(from..to, pairs.users)).expect("a chunk");
                    from = to;
                }
            });
        }
    });
    began.elapsed()
}

/// Without the main thread, which drives the rest.
pub async fn run_beside(
    url: &str,
    setup: &'static str,
    statement: Statement,
    pairs: Pairs,
    chunk: i64,
) -> Duration {
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || run(&url, setup, statement, pairs, chunk)).await.expect("raw SQL")
}
