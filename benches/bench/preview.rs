//! Measures how long a person waits for what a share would do, however many grants there are.

use std::time::Instant;

use serde_json::{Value, json};

use crate::Bench;
use crate::figures::Samples;
use crate::http::Http;
use crate::servers::{FIRST_SECRET, FIRST_USER, Site};

const CASE: &str = "preview";
const SECRETS: i64 = 1_200;
const USERS: i64 = 20;
/// Each secret of the table is granted to so many users.
const GRANTED: i64 = 200;
const TARGET: &str = "p99 ≤ 100 ms with 10M grants";

pub async fn preview(bench: &mut Bench) {
    let (blocks, block) = (bench.repetitions(), if bench.full { 200 } else { 30 });
    let all: i64 = if bench.full { 50_000 } else { 5_000 };
    let site = Site::new(&bench.servers, all);
    // Half of the recipients have access to all of the secrets already, and half to none.
    let (first, last) = (FIRST_USER + USERS / 2, FIRST_USER + USERS / 2 + GRANTED - 1);
    site.sql(&format!(
        "INSERT INTO grants (secret_id, principal_id, permission, granted_at) \
         SELECT s, p, 1, 0 FROM generate_series({FIRST_SECRET}, {}) s CROSS JOIN generate_series({first}, {last}) p \
         ORDER BY s, p",
        FIRST_SECRET + all - 1
    ));
    site.sql("VACUUM ANALYZE grants");
    site.check_rows("grants", all * GRANTED);
    let mut serve = site.serve();
    let http = Http::new(&serve.logged("the gateway listens", "listen="));
    // The secrets lie far apart in the table.
    let ids: Vec<i64> = (0..SECRETS).map(|place| FIRST_SECRET + place * (all / SECRETS)).collect();
    let users: Vec<Value> = (0..USERS)
        .map(|place| json!({"kind": "user", "id": FIRST_USER + place, "permission": "edit"}))
        .collect();
    let body = json!({"secrets": {"ids": ids}, "recipients": users}).to_string();
    let run = move || {
        let mut times = Vec::new();
        // The first one is not measured, since it opens the connection.
        for _ in 0..=blocks * block {
            let began = Instant::now();
            let told = http.preview(&body);
            times.push(began.elapsed());
            let half = SECRETS * USERS / 2;
            assert_eq!((&told["exact"], &told["granted"]), (&json!(true), &json!(half)), "{told}");
            assert_eq!(told["upgraded"], json!(half), "{told}");
        }
        times
    };
    let times = tokio::task::spawn_blocking(run).await.expect("previews");
    let mut ours = Samples::default();
    times.into_iter().skip(1).for_each(|took| ours.add_ms(took));
    let what = format!("preview of {SECRETS} secrets x {USERS} users, {} grants in the table", all * GRANTED);
    bench.report.latency(CASE, &what, &ours, &[], TARGET, blocks);
    site.close([serve]).await;
}
