//! Requests jobs all the time, over HTTP and by message, and notes what must become of them.
//!
//! There are three parts of the load, each with secrets of its own. Four askers share, and each pair is granted once. One
//! takes grants back by hand, and what was taken back stays away. Four others share, cancel, undo and unshare (`control.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchshare::broker::topology::KEY_REQUESTED;
use batchshare::broker::{Broker, Exchange, Outgoing};
use batchshare::contract::REQUEST_TYPE;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::control::{Act, Noted};
use super::site::{ANA, FIRST_SECRET, RECIPIENTS, REGIONS, SECRETS, TO_TAKE_BACK};
use crate::process::try_http;

/// What was requested and what was answered.
#[derive(Default)]
pub struct Ledger {
    /// The jobs of those who only share that were accepted, with their pairs.
    pub accepted: BTreeMap<String, Vec<(i64, i64)>>,
    /// What was done to the regions, in an order in which it may be read (see `control.rs`).
    pub acts: Vec<Noted>,
    /// The ids of the jobs that somebody has tried to cancel.
    pub cancels: BTreeSet<String>,
    /// The marks of the poison messages that the broker has confirmed.
    pub poison: BTreeSet<String>,
    /// The marks of the hostile publisher's messages that the broker has confirmed.
    pub hostile: BTreeSet<String>,
    /// The pairs that were taken back after their job had ended.
    pub revoked: BTreeSet<(i64, i64)>,
    pub sent_again: u32,
    pub refused: u32,
}

impl Ledger {
    /// The ids of all jobs that were accepted.
    pub fn jobs(&self) -> BTreeSet<&String> {
        self.accepted.keys().chain(self.acts.iter().filter_map(|noted| noted.job.as_ref())).collect()
    }

    /// How many jobs undo, unshare, or were to be cancelled.
    pub fn controlled(&self) -> usize {
        let control = |noted: &&Noted| match (&noted.act, &noted.job) {
            (Act::Undo { .. } | Act::Unshare(..), _) => true,
            (_, Some(job)) => self.cancels.contains(job),
            (_, None) => false,
        };
        self.acts.iter().filter(control).count()
    }
}

/// Requests jobs until it is told to stop, and then waits until each request was answered.
pub struct Load {
    pub ledger: Arc<Mutex<Ledger>>,
    stop: tokio::sync::watch::Sender<bool>,
    tasks: JoinSet<()>,
    busy: Arc<AtomicBool>,
}

/// While there are more unfinished jobs than this, no more are requested.
const ENOUGH: usize = 60;

#[derive(Clone)]
pub(super) struct Asker {
    pub(super) ledger: Arc<Mutex<Ledger>>,
    addresses: Arc<Mutex<Vec<String>>>,
    broker: Broker,
    stop: tokio::sync::watch::Receiver<bool>,
    /// Whether enough jobs are under way. This tests faults, and not how many jobs the program can do.
    busy: Arc<AtomicBool>,
}

impl Load {
    pub fn start(seed: u64, addresses: Arc<Mutex<Vec<String>>>, broker: Broker) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let busy = Arc::new(AtomicBool::new(false));
        let asker =
            Asker { ledger: Arc::clone(&ledger), addresses, broker, stop: stopped, busy: Arc::clone(&busy) };
        let mut tasks = JoinSet::new();
        for lane in 0..4 {
            let rng = StdRng::seed_from_u64(seed * 31 + lane);
            tasks.spawn(asker.clone().ask(rng, lane));
        }
        for region in 0..REGIONS {
            let rng = StdRng::seed_from_u64(seed * 131 + region);
            tasks.spawn(asker.clone().control(rng, region));
        }
        tasks.spawn(asker.take_back());
        Self { ledger, stop, tasks, busy }
    }

    /// The run says here from time to time how many jobs have ended.
    pub fn ended(&self, jobs: usize) {
        let asked = self.ledger.lock().expect("the ledger").jobs().len();
        self.busy.store(asked.saturating_sub(jobs) > ENOUGH, Ordering::Relaxed);
    }

    pub async fn finish(mut self) -> Ledger {
        self.stop.send_replace(true);
        while let Some(done) = self.tasks.join_next().await {
            done.expect("what was asked for was answered");
        }
        std::mem::take(&mut *self.ledger.lock().expect("the ledger"))
    }
}

/// A request of one of three sizes, about the secrets of this requester. Nobody else shares them, so that a grant
/// that was taken back is not given again.
fn request(rng: &mut StdRng, lane: u64) -> (Vec<i64>, Vec<i64>) {
    let share = SECRETS / 4;
    let first = FIRST_SECRET + i64::try_from(lane).expect("small") * share;
    let (secrets, recipients) = match rng.random_range(0..10) {
        0..6 => (1, 1),
        6..9 => (20, 10),
        _ => (share - 1, RECIPIENTS),
    };
    let from = first + rng.random_range(0..share - secrets);
    let people = 2 + rng.random_range(0..=RECIPIENTS - recipients);
    ((from..from + secrets).collect(), (people..people + recipients).collect())
}

impl Asker {
    /// Whether to go on asking. It waits while enough jobs are under way.
    pub(super) async fn goes_on(&self) -> bool {
        while !self.is_stopped() && self.busy.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        !self.is_stopped()
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    async fn ask(self, mut rng: StdRng, lane: u64) {
        while self.goes_on().await {
            let (secrets, recipients) = request(&mut rng, lane);
            let pairs = secrets.iter().flat_map(|s| recipients.iter().map(move |r| (*s, *r))).collect();
            let data = json!({
                "secrets": {"ids": secrets},
                "recipients": recipients.iter().map(|id| json!({"kind": "user", "id": id})).collect::<Vec<_>>(),
            });
            if lane.is_multiple_of(2) {
                let key = uuid::Uuid::now_v7().to_string();
                let id = self.post("/api/v1/share-jobs", &data, &key, &mut rng).await;
                self.ledger.lock().expect("the ledger").accepted.insert(id, pairs);
            } else {
                let id = uuid::Uuid::now_v7().to_string();
                // The job is noted before it is sent, since a message whose confirm was lost may have arrived.
                self.ledger.lock().expect("the ledger").accepted.insert(id.clone(), pairs);
                self.publish(&id, REQUEST_TYPE, data, &mut rng).await;
            }
            // Most of the time is left to those who cancel, undo and unshare.
            let pause = Duration::from_millis(rng.random_range(100..600));
            tokio::time::sleep(pause).await;
        }
    }

    /// Shares, waits for the end, takes the grant back, and has the same message delivered again.
    async fn take_back(self) {
        let mut rng = StdRng::seed_from_u64(0);
        for secret in FIRST_SECRET + SECRETS.. {
            if *self.stop.borrow() || secret == FIRST_SECRET + SECRETS + TO_TAKE_BACK {
                return;
            }
            let id = uuid::Uuid::now_v7().to_string();
            let data = json!({
                "secrets": {"ids": [secret]}, "recipients": [{"kind": "user", "id": 2}],
            });
            self.ledger.lock().expect("the ledger").accepted.insert(id.clone(), vec![(secret, 2)]);
            self.publish(&id, REQUEST_TYPE, data.clone(), &mut rng).await;
            let path = format!("/api/v1/share-jobs/{id}");
            self.answered("GET", &path, |status, job| status == 200 && !job["finished_at"].is_null()).await;
            self.answered("DELETE", &format!("/api/v1/secrets/{secret}/grants/2"), |status, _| status == 204)
                .await;
            self.ledger.lock().expect("the ledger").revoked.insert((secret, 2));
            self.publish(&id, REQUEST_TYPE, data, &mut rng).await;
        }
    }

    /// Repeats a request until its answer is the one that is wanted, and returns that.
    pub(super) async fn answered(
        &self,
        method: &'static str,
        path: &str,
        wanted: impl Fn(u16, &Value) -> bool,
    ) -> Value {
        loop {
            let address = self.addresses.lock().expect("addresses")[0].clone();
            let path = path.to_owned();
            let answer =
                tokio::task::spawn_blocking(move || try_http(method, &address, &path, "ana", None, None))
                    .await;
            if let Ok(Some((status, body))) = answer
                && wanted(status, &body)
            {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Repeats a request, always with the same key, until it is answered with 202. Returns the id of its job.
    pub(super) async fn post(&self, path: &str, data: &Value, key: &str, rng: &mut StdRng) -> String {
        loop {
            let address = {
                let addresses = self.addresses.lock().expect("addresses");
                addresses[rng.random_range(0..addresses.len())].clone()
            };
            let (path, data, key) = (path.to_owned(), data.clone(), key.to_owned());
            let answer = tokio::task::spawn_blocking(move || {
                try_http("POST", &address, &path, "ana", Some(&data), Some(&key))
            })
            .await
            .expect("a request");
            match answer {
                Some((202, job)) => return job["job_id"].as_str().expect("a job id").to_owned(),
                Some((503, _)) | None => self.ledger.lock().expect("the ledger").refused += 1,
                Some((status, body)) => panic!("POST answered {status}: {body}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Publishes a message once or several times, and some poison with it.
    pub(super) async fn publish(&self, id: &str, of: &str, mut data: Value, rng: &mut StdRng) {
        data["requested_by"] = ANA.into();
        let event = json!({"specversion": "1.0", "id": id, "source": "/chaos", "type": of, "data": data});
        let times = rng.random_range(1..=3);
        for _ in 0..times {
            self.confirmed(event.to_string().into_bytes()).await;
        }
        self.ledger.lock().expect("the ledger").sent_again += times - 1;
        if rng.random_range(0..5) == 0 {
            let mark = uuid::Uuid::now_v7().to_string();
            self.confirmed(format!("poison {mark}").into_bytes()).await;
            self.ledger.lock().expect("the ledger").poison.insert(mark);
        }
    }

    async fn confirmed(&self, body: Vec<u8>) {
        let message = Outgoing {
            exchange: Exchange::Jobs,
            routing_key: KEY_REQUESTED.to_owned(),
            message_id: uuid::Uuid::new_v4().to_string(),
            kind: "chaos".to_owned(),
            traceparent: None,
            mandatory: true,
            timestamp: 0,
            headers: Vec::new(),
            body,
        };
        while self.broker.publish(std::slice::from_ref(&message)).await != [Ok(())] {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
