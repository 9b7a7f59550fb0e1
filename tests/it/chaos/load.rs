//! Requests jobs all the time, over HTTP and by message, and notes what must become of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchshare::broker::topology::KEY_REQUESTED;
use batchshare::broker::{Broker, Exchange, Outgoing};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::site::{ANA, FIRST_SECRET, RECIPIENTS, SECRETS, TO_TAKE_BACK};
use crate::process::try_http;

/// What was requested and what was answered.
#[derive(Default)]
pub struct Ledger {
    /// The jobs that were accepted, with their pairs.
    pub accepted: BTreeMap<String, Vec<(i64, i64)>>,
    /// The marks of the poison messages that the broker has confirmed.
    pub poison: BTreeSet<String>,
    /// The marks of the hostile publisher's messages that the broker has confirmed.
    pub hostile: BTreeSet<String>,
    /// The pairs that were taken back after their job had ended.
    pub revoked: BTreeSet<(i64, i64)>,
    pub sent_again: u32,
    pub refused: u32,
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
struct Asker {
    ledger: Arc<Mutex<Ledger>>,
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
        tasks.spawn(asker.take_back());
        Self { ledger, stop, tasks, busy }
    }

    /// The run says here from time to time how many jobs have ended.
    pub fn ended(&self, jobs: usize) {
        let asked = self.ledger.lock().expect("the ledger").accepted.len();
        self.busy.store(asked.saturating_sub(jobs) > ENOUGH, Ordering::Relaxed);
    }

    pub async fn finish(mut self) -> Ledger {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
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
    async fn ask(self, mut rng: StdRng, lane: u64) {
        while !*self.stop.borrow() {
            if self.busy.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            let (secrets, recipients) = request(&mut rng, lane);
            let pairs = secrets.iter().flat_map(|s| recipients.iter().map(move |r| (*s, *r))).collect();
            let data = json!({
                "secrets": {"ids": secrets},
                "recipients": recipients.iter().map(|id| json!({"kind": "user", "id": id})).collect::<Vec<_>>(),
            });
            if lane.is_multiple_of(2) {
                let key = uuid::Uuid::now_v7().to_string();
                let id = self.post(&data, &key, &mut rng).await;
                self.ledger.lock().expect("the ledger").accepted.insert(id, pairs);
            } else {
                let id = uuid::Uuid::now_v7().to_string();
                // The job is noted before it is sent, since a message whose confirm was lost may have arrived.
                self.ledger.lock().expect("the ledger").accepted.insert(id.clone(), pairs);
                self.publish(&id, data, &mut rng).await;
            }
            let pause = Duration::from_millis(rng.random_range(20..200));
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
            self.publish(&id, data.clone(), &mut rng).await;
            let path = format!("/api/v1/share-jobs/{id}");
            self.answered("GET", &path, |status, job| status == 200 && !job["finished_at"].is_null()).await;
            self.answered("DELETE", &format!("/api/v1/secrets/{secret}/grants/2"), |status, _| status == 204)
                .await;
            self.ledger.lock().expect("the ledger").revoked.insert((secret, 2));
            self.publish(&id, data, &mut rng).await;
        }
    }

    /// Repeats a request until its answer is the one that is wanted.
    async fn answered(&self, method: &'static str, path: &str, wanted: impl Fn(u16, &Value) -> bool) {
        loop {
            let address = self.addresses.lock().expect("addresses")[0].clone();
            let path = path.to_owned();
            let answer =
                tokio::task::spawn_blocking(move || try_http(method, &address, &path, "ana", None, None))
                    .await;
            if let Ok(Some((status, body))) = answer
                && wanted(status, &body)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Repeats a request, always with the same key, until it is answered with 202.
    async fn post(&self, data: &Value, key: &str, rng: &mut StdRng) -> String {
        loop {
            let address = {
                let addresses = self.addresses.lock().expect("addresses");
                addresses[rng.random_range(0..addresses.len())].clone()
            };
            let (data, key) = (data.clone(), key.to_owned());
            let answer = tokio::task::spawn_blocking(move || {
                try_http("POST", &address, "/api/v1/share-jobs", "ana", Some(&data), Some(&key))
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
    async fn publish(&self, id: &str, mut data: Value, rng: &mut StdRng) {
        data["requested_by"] = ANA.into();
        let event = json!({
            "specversion": "1.0", "id": id, "source": "/chaos", "type": "batchshare.job.requested.v1", "data": data,
        });
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
