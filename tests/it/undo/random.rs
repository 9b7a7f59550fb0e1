//! Undo commutes: shares of several people, grants taken by hand and undos in any order leave each pair with what the
//! jobs asked for that are not undone, on real databases.

use std::collections::{BTreeMap, BTreeSet};

use batchshare::domain::{JobId, Permission, Recipient};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::desk::Desk;
use crate::on_both_stores;
use crate::world::*;

const SEEDS: std::ops::Range<u64> = 0..10;
const STEPS: usize = 24;
const SECRETS: std::ops::RangeInclusive<i64> = 101..=105;
const RECIPIENTS: [i64; 4] = [BRUNO, EVA, PAYMENTS, ANAS_TEAM];

/// What a naive pair-by-pair model says: each pair has the highest permission that a job which is not undone asked for
/// since the pair was last taken away by hand.
#[derive(Default)]
struct Model {
    asked: BTreeMap<(i64, i64), Vec<(JobId, Permission)>>,
    undone: BTreeSet<JobId>,
}

impl Model {
    fn expected(&self) -> BTreeMap<(i64, i64), i16> {
        let live = |asked: &Vec<(JobId, Permission)>| {
            asked.iter().filter(|(job, _)| !self.undone.contains(job)).map(|(_, of)| of.code()).max()
        };
        self.asked.iter().filter_map(|(pair, asked)| Some((*pair, live(asked)?))).collect()
    }
}

fn some(random: &mut StdRng, of: impl IntoIterator<Item = i64>) -> Vec<i64> {
    let all: Vec<i64> = of.into_iter().collect();
    let mut some: Vec<i64> = all.iter().copied().filter(|_| random.random_bool(0.5)).collect();
    if some.is_empty() {
        some.push(all[random.random_range(0..all.len())]);
    }
    some
}

impl Desk {
    async fn permissions(&self) -> BTreeMap<(i64, i64), i16> {
        let mut all = BTreeMap::new();
        for secret in SECRETS {
            for recipient in RECIPIENTS {
                let permission = self.world.permission(secret, recipient).await;
                if permission > 0 {
                    all.insert((secret, recipient), i16::try_from(permission).expect("a permission"));
                }
            }
        }
        all
    }
}

on_both_stores! {
    async fn undo_commutes_with_shares_and_hands(kind: Kind) {
        for seed in SEEDS {
            let random = &mut StdRng::seed_from_u64(seed);
            // Small jobs end in one transaction, and large ones have lanes.
            let desk = Desk::new(kind, if seed % 2 == 0 { 10_000 } else { 6 }).await;
            let mut model = Model::default();
            let mut jobs: Vec<JobId> = Vec::new();
            for step in 0..STEPS {
                match random.random_range(0..10) {
                    0..=5 => {
                        let secrets = some(random, SECRETS);
                        let recipients: Vec<Recipient> = some(random, RECIPIENTS)
                            .into_iter()
                            .map(|id| to(id, if random.random_bool(0.5) { Permission::Edit } else { Permission::View }))
                            .collect();
                        let job = desk.share_as(ANA, secrets.clone(), recipients.clone()).await;
                        jobs.push(job);
                        for secret in secrets {
                            for of in &recipients {
                                model.asked.entry((secret, of.id.get())).or_default().push((job, of.permission));
                            }
                        }
                    }
                    6 => {
                        let (id, who) = (random.random_range(SECRETS), RECIPIENTS[random.random_range(0..4)]);
                        desk.world.store.revoke(principal(ANA), secret(id), principal(who)).await.expect("taken");
                        model.asked.remove(&(id, who));
                    }
                    _ if !jobs.is_empty() => {
                        let job = jobs.swap_remove(random.random_range(0..jobs.len()));
                        desk.undone(job).await;
                        model.undone.insert(job);
                    }
                    _ => {}
                }
                assert_eq!(desk.permissions().await, model.expected(), "seed {seed}, step {step}");
            }
            while !jobs.is_empty() {
                let job = jobs.swap_remove(random.random_range(0..jobs.len()));
                desk.undone(job).await;
                model.undone.insert(job);
                assert_eq!(desk.permissions().await, model.expected(), "seed {seed}, at the end");
            }
            assert_eq!(desk.grants().await, 0, "seed {seed}");
        }
    }
}
