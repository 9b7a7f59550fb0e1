//! Shares, cancels, undos and unshares in regions of secrets, each of which belongs to one asker.
//!
//! Processes and servers fail while these jobs run, so nobody knows in which order two of them come to a pair. So the
//! acts on a region come in phases, and each phase begins when all jobs of the one before have ended. In a phase, there
//! are either acts that give and give back (shares, undos and cancels of both) or acts that take away (unshares, their
//! cancels, and grants taken by hand). Within a phase the order makes no difference to what a pair must have in the end:
//! an undo leaves what the jobs asked for that are not undone, and what is taken is gone. How far a job came that was
//! cancelled is read from its lanes, and whether the grants are exactly those is what is checked (`model.rs`). An undo
//! that was cancelled is ordered once more, so that it does not matter how far it came.
//!
//! Edit is lowered to view only where all shares since the region was last emptied gave edit, and once until it is
//! emptied again: a row that is lowered keeps the job that gave its view, and forgets the one that gave edit over it.

use std::ops::Range;
use std::time::Duration;

use batchshare::contract::{CANCEL_TYPE, REQUEST_TYPE, UNDO_TYPE, UNSHARE_TYPE};
use batchshare::domain::Permission;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::load::Asker;
use super::site::{FIRST_OF_REGIONS, RECIPIENTS, REGION_SECRETS};

/// Secrets and recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rectangle {
    pub secrets: Range<i64>,
    pub people: Range<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Share(Rectangle, Permission),
    /// The undo of this job. If it is early, it was published at the same time as its job, so it may have failed.
    Undo {
        parent: String,
        early: bool,
    },
    /// The permission says what is taken: view is everything, and edit leaves view.
    Unshare(Rectangle, Permission),
    /// A grant was taken by hand.
    Hand(i64, i64),
}

/// An act, and the job that does it.
#[derive(Debug, Clone)]
pub struct Noted {
    pub job: Option<String>,
    pub act: Act,
}

/// What an asker remembers of its region.
struct Region {
    first: i64,
    /// Whether all shares since the region was last emptied gave edit, and nothing was lowered.
    edit_only: bool,
    /// Shares that have ended and are not undone.
    stand: Vec<String>,
}

impl Rectangle {
    fn whole(region: &Region) -> Self {
        Self { secrets: region.first..region.first + REGION_SECRETS, people: 2..2 + RECIPIENTS }
    }

    /// A part of a region, of one of three sizes.
    fn some(region: &Region, rng: &mut StdRng) -> Self {
        let (secrets, people) = match rng.random_range(0..10) {
            0..3 => (1, 1),
            3..7 => (20, 10),
            _ => return Self::whole(region),
        };
        let first = region.first + rng.random_range(0..=REGION_SECRETS - secrets);
        let person = 2 + rng.random_range(0..=RECIPIENTS - people);
        Self { secrets: first..first + secrets, people: person..person + people }
    }

    pub fn pairs(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.secrets.clone().flat_map(|secret| self.people.clone().map(move |person| (secret, person)))
    }

    fn data(&self, permission: Permission) -> Value {
        let permission = if permission == Permission::Edit { "edit" } else { "view" };
        let recipient = |id| json!({"kind": "user", "id": id, "permission": permission});
        json!({
            "secrets": {"ids": self.secrets.clone().collect::<Vec<_>>()},
            "recipients": self.people.clone().map(recipient).collect::<Vec<_>>(),
        })
    }
}

impl Asker {
    /// Does things to one region until there is nothing more to do.
    pub(super) async fn control(self, mut rng: StdRng, region: u64) {
        let first = FIRST_OF_REGIONS + i64::try_from(region).expect("small") * REGION_SECRETS;
        let mut region = Region { first, edit_only: rng.random_bool(0.5), stand: Vec::new() };
        while self.goes_on().await {
            for _ in 0..rng.random_range(2..5) {
                self.gives(&mut region, &mut rng).await;
                if !self.goes_on().await {
                    return;
                }
                self.takes(&mut region, &mut rng).await;
            }
            let whole = Rectangle::whole(&region);
            self.unshare(whole, Permission::View, false, &mut rng).await;
            region = Region { first, edit_only: rng.random_bool(0.5), stand: Vec::new() };
        }
    }

    /// A phase in which several share, cancel and undo at the same time.
    async fn gives(&self, region: &mut Region, rng: &mut StdRng) {
        let older = match region.stand.len() {
            0 => None,
            jobs => rng.random_bool(0.6).then(|| region.stand.swap_remove(rng.random_range(0..jobs))),
        };
        let mut own = || StdRng::seed_from_u64(rng.random());
        let mut undoes = own();
        let undoes_older = async {
            if let Some(job) = &older {
                self.undo(job, &mut undoes).await;
            }
        };
        let chains: Vec<_> = (0..3).map(|_| self.chain(region, own())).collect();
        let ((), stand) = tokio::join!(undoes_older, join_all(chains));
        region.stand.extend(stand.into_iter().flatten());
    }

    /// Shares, and perhaps cancels that and undoes it. Returns the job if it stands.
    async fn chain(&self, region: &Region, mut rng: StdRng) -> Option<String> {
        let rng = &mut rng;
        let about = Rectangle::some(region, rng);
        let edit = region.edit_only || rng.random_bool(0.4);
        let permission = if edit { Permission::Edit } else { Permission::View };
        let what = rng.random_range(0..10);
        let data = about.data(permission);
        let act = Act::Share(about, permission);
        if what == 0 {
            // The undo may overtake its job, or find that the job has not ended.
            let job = self.send(REQUEST_TYPE, data, act, rng).await;
            let undo = Act::Undo { parent: job.clone(), early: true };
            let undo = self.send(UNDO_TYPE, json!({"job_id": job}), undo, rng).await;
            self.ended(&job).await;
            self.ended(&undo).await;
            return None;
        }
        let job = if rng.random_bool(0.5) {
            self.ask_for("/api/v1/share-jobs", data, act, rng).await
        } else {
            self.send(REQUEST_TYPE, data, act, rng).await
        };
        if what < 4 {
            self.cancel(&job, rng).await;
        }
        let ended = self.ended(&job).await;
        if ended["done_pairs"] == 0 {
            return None;
        }
        if what < 3 || self.is_stopped() {
            return Some(job);
        }
        self.undo(&job, rng).await;
        None
    }

    /// A phase in which access is taken away.
    async fn takes(&self, region: &mut Region, rng: &mut StdRng) {
        let about = Rectangle::some(region, rng);
        let some: Vec<_> = (0..rng.random_range(0..4))
            .map(|_| (rng.random_range(0..REGION_SECRETS), rng.random_range(0..RECIPIENTS)))
            .map(|(secret, person)| (region.first + secret, 2 + person))
            .collect();
        let by_hand = async {
            for (secret, person) in some {
                let path = format!("/api/v1/secrets/{secret}/grants/{person}");
                self.answered("DELETE", &path, |status, _| status == 204).await;
                self.note(None, Act::Hand(secret, person));
            }
        };
        let lowers = region.edit_only && rng.random_bool(0.4);
        let what = if lowers { Permission::Edit } else { Permission::View };
        let cancels = rng.random_bool(0.3);
        tokio::join!(by_hand, self.unshare(about, what, cancels, rng));
        region.edit_only &= !lowers;
    }

    async fn unshare(&self, about: Rectangle, what: Permission, cancels: bool, rng: &mut StdRng) {
        let (data, act) = (about.data(what), Act::Unshare(about, what));
        let job = if rng.random_bool(0.5) {
            self.ask_for("/api/v1/unshare-jobs", data, act, rng).await
        } else {
            self.send(UNSHARE_TYPE, data, act, rng).await
        };
        if cancels {
            self.cancel(&job, rng).await;
        }
        self.ended(&job).await;
    }

    /// Undoes a job, again and again if the undo was cancelled.
    async fn undo(&self, parent: &str, rng: &mut StdRng) {
        loop {
            let act = Act::Undo { parent: parent.to_owned(), early: false };
            let undo = if rng.random_bool(0.5) {
                self.ask_for(&format!("/api/v1/share-jobs/{parent}/undo"), json!({}), act, rng).await
            } else {
                self.send(UNDO_TYPE, json!({"job_id": parent}), act, rng).await
            };
            if rng.random_bool(0.25) {
                self.cancel(&undo, rng).await;
            }
            if self.ended(&undo).await["state"] != "cancelled" {
                return;
            }
        }
    }

    /// Cancels a job, over HTTP or by message, at once or when some of it is done. It may have ended before.
    async fn cancel(&self, job: &str, rng: &mut StdRng) {
        self.ledger.lock().expect("the ledger").cancels.insert(job.to_owned());
        let path = format!("/api/v1/share-jobs/{job}");
        if rng.random_bool(0.6) {
            let some = |job: &Value| job["done_pairs"] != 0 || !job["finished_at"].is_null();
            self.answered("GET", &path, |status, job| status == 200 && some(job)).await;
        }
        if rng.random_bool(0.5) {
            // A job that was asked for by message may not be there yet.
            self.answered("POST", &format!("{path}/cancel"), |status, _| matches!(status, 200 | 409)).await;
        } else {
            let id = uuid::Uuid::now_v7().to_string();
            self.publish(&id, CANCEL_TYPE, json!({"job_id": job}), rng).await;
        }
    }

    async fn ended(&self, job: &str) -> Value {
        let path = format!("/api/v1/share-jobs/{job}");
        self.answered("GET", &path, |status, job| status == 200 && !job["finished_at"].is_null()).await
    }

    /// Asks for a job over HTTP, and notes it.
    async fn ask_for(&self, path: &str, data: Value, act: Act, rng: &mut StdRng) -> String {
        let key = uuid::Uuid::now_v7().to_string();
        let job = self.post(path, &data, &key, rng).await;
        self.note(Some(job.clone()), act);
        job
    }

    /// Asks for a job by message. It is noted before, since a message whose confirm was lost may have arrived.
    async fn send(&self, of: &str, data: Value, act: Act, rng: &mut StdRng) -> String {
        let id = uuid::Uuid::now_v7().to_string();
        self.note(Some(id.clone()), act);
        self.publish(&id, of, data, rng).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..50))).await;
        id
    }

    fn note(&self, job: Option<String>, act: Act) {
        self.ledger.lock().expect("the ledger").acts.push(Noted { job, act });
    }
}
