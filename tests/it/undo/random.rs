//! Undo commutes: shares of several people, grants taken by hand and undos in any order leave each pair with what the
//! jobs asked for that are not undone, on real databases.

use std::collections::BTreeMap;

use batchshare::domain::{JobId, Permission, Recipient};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::desk::Desk;
use crate::on_both_stores;
use crate::wishes::Wishes;
use crate::world::*;

const SEEDS: std::ops::Range<u64> = 0..10;
const STEPS: usize = 24;
const SECRETS: std::ops::RangeInclusive<i64> = 101..=105;
const RECIPIENTS: [i64; 4] = [BRUNO, EVA, PAYMENTS, ANAS_TEAM];

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
            let mut model = Wishes::default();
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
                                model.share(job, (secret, of.id.get()), of.permission);
                            }
                        }
                    }
                    6 => {
                        let (id, who) = (random.random_range(SECRETS), RECIPIENTS[random.random_range(0..4)]);
                        desk.world.store.revoke(principal(ANA), secret(id), principal(who)).await.expect("taken");
                        model.take((id, who));
                    }
                    _ if !jobs.is_empty() => {
                        let job = jobs.swap_remove(random.random_range(0..jobs.len()));
                        desk.undone(job).await;
                        model.undo(job);
                    }
                    _ => {}
                }
                assert_eq!(desk.permissions().await, model.expected(), "seed {seed}, step {step}");
            }
            while !jobs.is_empty() {
                let job = jobs.swap_remove(random.random_range(0..jobs.len()));
                desk.undone(job).await;
                model.undo(job);
                assert_eq!(desk.permissions().await, model.expected(), "seed {seed}, at the end");
            }
            assert_eq!(desk.grants().await, 0, "seed {seed}");
        }
    }
}
