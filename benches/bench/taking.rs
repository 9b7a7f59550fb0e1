//! Measures how fast access is taken away again: an undo and an unshare of a large job, and the cancel of one that runs.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;

use crate::Bench;
use crate::client::{self, Client, request};
use crate::figures::Samples;
use crate::http::Http;
use crate::large::{best, speed};
use crate::raw::{self, AS_IT_IS, Pairs};
use crate::servers::{FIRST_SECRET, FIRST_USER, Site, connect};

const LIMIT: &str = "raw DELETE of the same pairs, 2 connections";

fn pairs(full: bool) -> Pairs {
    Pairs { first_secret: FIRST_SECRET, secrets: if full { 5_000 } else { 1_000 }, users: 200, step: 1 }
}

/// How the pairs are taken away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Undo,
    /// Another job has asked for the pairs of every fifth user, who keep them.
    UndoOfClaimed,
    Unshare,
}

/// What the cases of this file have for themselves.
struct Taking {
    site: Site,
    client: Client,
    http: Http,
    pairs: Pairs,
    limits: [(i64, Samples); 2],
}

impl Taking {
    fn all(&self) -> ((i64, i64), (i64, i64)) {
        ((self.pairs.first_secret, self.pairs.secrets), (FIRST_USER, self.pairs.users))
    }

    /// Gives both sides the same start: nothing is left to be written for what came before.
    fn ready(&self, table: &str) {
        self.site.sql(&format!("VACUUM ANALYZE {table}"));
        self.site.sql("CHECKPOINT");
    }

    async fn limit(&mut self, place: usize) {
        let (pairs, site) = (self.pairs, &self.site);
        site.empty("raw");
        raw::run_beside(&site.url, AS_IT_IS, raw::upsert, pairs, 10_000).await;
        site.check_rows("raw", pairs.count());
        self.ready("raw");
        let Some((chunk, samples)) = self.limits.get_mut(place) else { return };
        let took = raw::run_beside(&site.url, AS_IT_IS, raw::delete, pairs, *chunk).await;
        site.check_rows("raw", 0);
        samples.add(speed(pairs, took));
    }

    async fn ours(&mut self, how: How) -> f64 {
        self.site.empty("grants");
        let (secrets, users) = self.all();
        let gave = request(secrets, users);
        self.client.one(&gave).await;
        self.site.check_rows("grants", self.pairs.count());
        let mut left = 0;
        if how == How::UndoOfClaimed {
            let claimed = self.pairs.users / 5;
            self.client.one(&request(secrets, (users.0, claimed))).await;
            left = self.pairs.secrets * claimed;
        }
        self.ready("grants");
        let took = match how {
            How::Unshare => self.client.one(&client::unshare(secrets, users)).await,
            How::Undo | How::UndoOfClaimed => {
                let began = Instant::now();
                let (http, gave) = (self.http.clone(), gave.id.to_string());
                let undo = tokio::task::spawn_blocking(move || http.undo(&gave)).await.expect("an answer");
                self.client.end_of(undo.parse().expect("an id")).await - began
            }
        };
        self.site.check_rows("grants", left);
        let counts = self
            .site
            .number("SELECT revoked * 1000000000 + COALESCE(kept, 0) FROM jobs ORDER BY id DESC LIMIT 1");
        assert_eq!(counts, (self.pairs.count() - left) * 1_000_000_000 + left, "revoked and kept");
        speed(self.pairs, took)
    }
}

pub async fn undo(bench: &mut Bench) {
    let lines = [
        (How::Undo, "undo of {} grants", "≥ 0.8 of the raw DELETE"),
        (
            How::UndoOfClaimed,
            "undo of {} grants, a fifth of which another job claims",
            "≥ 0.6 of the raw DELETE",
        ),
    ];
    measure(bench, "undo", &lines).await;
}

pub async fn unshare(bench: &mut Bench) {
    measure(bench, "unshare", &[(How::Unshare, "unshare of {} grants", "≥ 0.8 of the raw DELETE")]).await;
}

async fn measure(bench: &mut Bench, case: &'static str, lines: &[(How, &str, &'static str)]) {
    let pairs = pairs(bench.full);
    let site = Site::new(&bench.servers, pairs.secrets);
    site.make_raw();
    let (mut serve, work) = (site.serve(), site.work());
    let http = Http::new(&serve.logged("the gateway listens", "listen="));
    let client = Client::new(&site).await;
    let limits = [10_000, 50_000].map(|chunk| (chunk, Samples::default()));
    let mut taking = Taking { site, client, http, pairs, limits };
    let mut ours = vec![Samples::default(); lines.len()];
    for run in 0..bench.repetitions() {
        // The sides take turns in being the first.
        let turns = taking.limits.len() + lines.len();
        for turn in 0..turns {
            match ((run + turn) % turns).checked_sub(taking.limits.len()) {
                None => taking.limit((run + turn) % turns).await,
                Some(line) => ours[line].add(taking.ours(lines[line].0).await),
            }
        }
    }
    let (chunk, limit) = best(&taking.limits);
    for ((_, what, target), samples) in lines.iter().zip(&ours) {
        let what = what.replace("{}", &pairs.count().to_string());
        let line = bench.report.line(case, &what, "pairs/s", samples);
        line.limit(&format!("{LIMIT}, chunks of {chunk}"), limit).target(target).add();
    }
    for (chunk, samples) in &taking.limits {
        bench.report.line(case, &format!("raw DELETE, chunks of {chunk}"), "pairs/s", samples).add();
    }
    taking.site.close([serve, work]).await;
}

/// How many secrets a job that is cancelled has, each with 200 users, and how many such jobs there are.
fn cancelled(full: bool) -> (i64, usize) {
    if full { (50_000, 200) } else { (5_000, 20) }
}

pub async fn cancel(bench: &mut Bench) {
    const USERS: i64 = 200;
    let (secrets, samples) = cancelled(bench.full);
    let site = Site::new(&bench.servers, secrets);
    site.sql("CREATE TABLE bare (at BIGINT NOT NULL)");
    let (mut serve, work) = (site.serve(), site.work());
    let http = Http::new(&serve.logged("the gateway listens", "listen="));
    let client = Client::new(&site).await;
    let (mut ours, mut commit) = (Samples::default(), Samples::default());
    let mut bare = connect(&site.url);
    for sample in 0..samples {
        site.empty("grants");
        let job = request((FIRST_SECRET, secrets), (FIRST_USER, USERS));
        client.publish(std::slice::from_ref(&job)).await;
        let end = Instant::now() + Duration::from_secs(120);
        while site.number("SELECT count(*) FROM (SELECT 1 FROM grants LIMIT 1) AS one") == 0 {
            assert!(Instant::now() < end, "the job does not begin");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Each job is cancelled at another time of its chunks.
        tokio::time::sleep(Duration::from_millis(sample as u64 * 37 % 200)).await;
        let began = Instant::now();
        bare.batch_execute("INSERT INTO bare VALUES (1)").expect("a row");
        commit.add_ms(began.elapsed());
        let began = Instant::now();
        let (http, id) = (http.clone(), job.id.to_string());
        let done = tokio::task::spawn_blocking(move || http.cancel(&id)).await.expect("an answer");
        ours.add_ms(began.elapsed());
        assert!(0 < done && done < secrets * USERS, "{done} pairs were done");
        site.check_rows("grants", done);
    }
    let cancelled = site.number("SELECT count(*) FROM jobs WHERE state = 'cancelled'");
    assert_eq!(usize::try_from(cancelled).ok(), Some(samples), "jobs that were cancelled");
    let what = format!("a job of {} pairs, from the request until it is cancelled", secrets * USERS);
    let limits = [("one row, committed beside the job", &commit)];
    let blocks = bench.repetitions();
    bench.report.latency("cancel", &what, &ours, &limits, "p99 ≤ 1 s", blocks);
    site.close([serve, work]).await;
}
