//! Unshares in random worlds do, pair by pair, what a naive model says.

use std::collections::BTreeMap;

use batchshare::domain::{JobId, JobState, Permission, Recipient};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::desk::{run, taken, unshare};
use crate::on_both_stores;
use crate::world::*;

const SEEDS: std::ops::Range<u64> = 0..24;
const SECRETS: std::ops::RangeInclusive<i64> = 101..=108;
/// The last one is nobody.
const RECIPIENTS: [i64; 11] = [
    ANA,
    BRUNO,
    CARLA_NO_ACCOUNT,
    DAVI_INACTIVE,
    EVA,
    PAYMENTS,
    OLD_TEAM_INACTIVE,
    ANAS_OWN,
    BRUNOS_SEEN,
    BRUNOS_HIDDEN,
    29,
];

/// Ana, and the active groups that she is a member of.
const ACTING: [i64; 4] = [ANA, ANAS_TEAM, BRUNOS_SEEN, BRUNOS_HIDDEN];

#[derive(Default)]
struct Model {
    owners: BTreeMap<i64, i64>,
    grants: BTreeMap<(i64, i64), i16>,
}

impl Model {
    /// Ana owns the secret, or may edit it herself or by a group that she is a member of.
    fn may_take(&self, secret: i64) -> bool {
        let edits = |who| self.grants.get(&(secret, who)) == Some(&2);
        self.owners.get(&secret).is_some_and(|owner| *owner == ANA || ACTING.into_iter().any(edits))
    }

    /// Takes access away, and returns what became of each pair: 0 revoked, 1 lowered, 2 untouched, 3 rejected.
    fn take(&mut self, secrets: &[i64], from: &[Recipient]) -> Vec<u8> {
        let mut outcomes = Vec::new();
        let before: Vec<bool> = secrets.iter().map(|secret| self.may_take(*secret)).collect();
        for (secret, may) in secrets.iter().zip(before) {
            for of in from {
                let (id, pair) = (of.id.get(), (*secret, of.id.get()));
                let held = self.grants.get(&pair).copied().unwrap_or(0);
                let place = if !may || id == 29 || (id == BRUNOS_HIDDEN && held == 0) {
                    3
                } else if self.owners.get(secret) == Some(&id) || held == 0 {
                    2
                } else if of.permission == Permission::View {
                    self.grants.remove(&pair);
                    0
                } else if held == 2 {
                    self.grants.insert(pair, 1);
                    1
                } else {
                    2
                };
                outcomes.push(place);
            }
        }
        outcomes
    }
}

/// What became of each pair, as the job's records say. A pair without a record was revoked.
async fn recorded(world: &World, job: JobId, pairs: usize) -> Vec<u8> {
    let hex = match world.test.url.starts_with("sqlite") {
        true => "lower(hex(o.pairs))",
        false => "encode(o.pairs, 'hex')",
    };
    let sql = format!(
        "SELECT position || ' ' || end_position || ' ' || COALESCE(CAST(code AS TEXT), {hex}) || ' ' \
         || CASE WHEN code IS NULL THEN 'packed' ELSE 'alike' END AS t \
         FROM job_outcomes o JOIN jobs j ON j.id = o.job WHERE j.job_id = '{job}'"
    );
    let recipients = usize::try_from(world.job(job).await.recipients.expect("recipients")).expect("a number");
    let mut outcomes = vec![0; pairs];
    for row in world.test.texts(&sql).await {
        let parts: Vec<&str> = row.split(' ').collect();
        let place = |part: &str| part.parse::<usize>().expect("a position") * recipients;
        let (from, to) = (place(parts[0]), place(parts[1]));
        for (n, outcome) in outcomes[from..to].iter_mut().enumerate() {
            *outcome = match parts[3] {
                "alike" => parts[2].parse().expect("a code"),
                _ => {
                    u8::from_str_radix(&parts[2][n / 4 * 2..n / 4 * 2 + 2], 16).expect("hex") >> (2 * (n % 4))
                        & 3
                }
            };
        }
    }
    outcomes
}

on_both_stores! {
    async fn unshares_do_what_a_pair_by_pair_model_says(kind: Kind) {
        for seed in SEEDS {
            let random = &mut StdRng::seed_from_u64(seed);
            let chunk_pairs = [1, 3, 7, 20, 10_000][random.random_range(0..5)];
            let world = World::with_chunks(kind, chunk_pairs).await;
            let mut model = Model::default();
            for secret in SECRETS {
                let owner = [ANA, ANA, BRUNO, EVA][random.random_range(0..4)];
                world.secrets(owner, [secret]).await;
                model.owners.insert(secret, owner);
            }
            let mut rows = Vec::new();
            for secret in SECRETS {
                for who in RECIPIENTS.into_iter().take(10).chain([ANAS_TEAM]) {
                    let permission = random.random_range(0..=2);
                    if permission > 0 {
                        let (view, edit) = match (permission, random.random_range(0..4)) {
                            (1, 0) => ("NULL", "NULL"),
                            (1, _) => ("7", "NULL"),
                            (_, 0) => ("NULL", "8"),
                            (_, 1) => ("0", "8"),
                            (_, 2) => ("NULL", "NULL"),
                            (_, _) => ("7", "8"),
                        };
                        rows.push(format!("({secret}, {who}, {permission}, {view}, {edit}, 1)"));
                        model.grants.insert((secret, who), permission);
                    }
                }
            }
            world.test.sql(&format!(
                "INSERT INTO grants (secret_id, principal_id, permission, view_job, edit_job, granted_at) VALUES {}; \
                 UPDATE secrets SET disabled = id % 2 = 0",
                rows.join(", ")
            )).await;
            // Each unshare finds what the one before it has left.
            for step in 0..3 {
                let mut secrets: Vec<i64> = SECRETS.chain([999]).filter(|_| random.random_bool(0.6)).collect();
                let mut from: Vec<Recipient> = Vec::new();
                for id in RECIPIENTS.into_iter().filter(|_| random.random_bool(0.5)).collect::<Vec<_>>() {
                    let permission = if random.random_bool(0.5) { Permission::Edit } else { Permission::View };
                    from.push(to(id, permission));
                }
                if secrets.is_empty() {
                    secrets.push(101);
                }
                if from.is_empty() {
                    from.push(to(EVA, Permission::View));
                }
                let what = format!("seed {seed}, step {step}");
                let asked = unshare(secrets.clone(), from);
                let outcomes = model.take(&secrets, &asked.request.recipients);
                let count = |code: u8| outcomes.iter().filter(|of| **of == code).count() as u64;
                let [revoked, lowered, untouched, rejected] = [0, 1, 2, 3].map(count);
                let job = run(&world, &asked).await;
                assert_eq!(recorded(&world, job.job_id, outcomes.len()).await, outcomes, "{what}");
                assert_eq!((job.taken, job.counts.rejected), (taken(revoked, lowered, untouched), rejected), "{what}");
                let lines: u64 = job.rejections.iter().map(|line| line.pairs).sum();
                assert_eq!(lines, rejected, "{what}");
                let state = match (revoked + lowered + untouched, rejected) {
                    (_, 0) => JobState::Completed,
                    (0, _) => JobState::Failed,
                    _ => JobState::CompletedWithRejections,
                };
                assert_eq!(job.state, state, "{what}");
                let expected: Vec<String> = model.grants.iter().map(|((secret, who), of)| format!("{secret}/{who} {of}")).collect();
                assert_eq!(world.grants().await, expected, "{what}");
                let odd = "SELECT COUNT(*) FROM grants WHERE permission = 1 AND (edit_job IS NOT NULL OR edit_at IS NOT NULL)";
                assert_eq!(world.test.number(odd).await, 0, "{what}");
            }
        }
    }
}
