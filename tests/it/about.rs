//! What a job tells of each of its recipients and secrets adds up to what it did.

use std::collections::{BTreeMap, VecDeque};

use batchshare::contract;
use batchshare::domain::{Counts, JobState, Permission};
use batchshare::store::{MessageKind, OutboxRow};

use crate::on_both_stores;
use crate::properties::Scenario;
use crate::world::{ANA, BRUNO, CARLA_NO_ACCOUNT, EVA, World, counts, share_as, to};

/// Each is one company and one request; a failure names its seed.
const SEEDS: std::ops::Range<u64> = 2_000..2_060;

on_both_stores! {
    async fn the_counts_of_a_jobs_lines_add_up_to_what_it_did(kind: Kind) {
        let mut world = World::empty(kind).await;
        let mut states = BTreeMap::new();
        for seed in SEEDS {
            let tables = ["jobs", "job_rejections", "job_secrets", "job_outcomes", "lanes", "claims", "outbox", "notices"];
            world.test.sql(&tables.map(|table| format!("DELETE FROM {table};")).concat()).await;
            let scenario = Scenario::new(seed);
            scenario.write(&world).await;
            // Some as one chunk, most through lanes.
            world.set_chunks(if seed % 3 == 0 { 10_000 } else { 1 + seed % 7 });
            let job = world.run(&scenario.asked_by(1)).await;
            let context = format!("seed {seed}: {job:?}");
            let recipients = world.store.job_recipients(job.job_id, 0, 100).await.expect("recipients");
            let secrets = world.store.job_secrets(job.job_id, 0, 100).await.expect("secrets");
            assert_eq!(recipients.len() as u64, job.recipients.expect("known"), "{context}");
            assert_eq!(secrets.len() as u64, job.secrets.unwrap_or(0), "{context}");
            let sum = |counts: Vec<Option<Counts>>| {
                counts.into_iter().fold(Counts::default(), |sum, of| sum + of.expect("it is recorded"))
            };
            assert_eq!(sum(recipients.iter().map(|(_, counts)| *counts).collect()), job.counts, "{context}");
            assert_eq!(sum(secrets.iter().map(|(_, counts)| *counts).collect()), job.counts, "{context}");
            // What was given has this job in its row.
            let given = async |whose: &str, upgraded: bool| {
                let null = if upgraded { "IS NOT NULL" } else { "IS NULL" };
                world.test.number(&format!(
                    "SELECT count(*) FROM grants WHERE {whose} AND ((edit_job = (SELECT max(id) FROM jobs) AND view_job {null}) \
                     OR ({} AND view_job = (SELECT max(id) FROM jobs)))",
                    if upgraded { "1 = 0" } else { "1 = 1" },
                )).await as u64
            };
            for (whose, counts) in recipients.iter().map(|(of, counts)| (format!("principal_id = {}", of.id), counts))
                .chain(secrets.iter().map(|(id, counts)| (format!("secret_id = {id}"), counts)))
            {
                // A principal may be asked for as two kinds; only one of them is its own.
                let twice = recipients.iter().filter(|(of, _)| whose == format!("principal_id = {}", of.id)).count() > 1;
                let counts = counts.expect("it is recorded");
                if !twice {
                    let found = (given(&whose, false).await, given(&whose, true).await);
                    assert_eq!((counts.granted, counts.upgraded), found, "{context}: {whose}");
                }
            }
            // A page has what the whole list has there.
            for (offset, limit) in [(0, 1), (1, 2), (2, 100), (100, 1)] {
                let page = world.store.job_recipients(job.job_id, offset, limit).await.expect("recipients");
                let wanted: Vec<_> = recipients.iter().skip(offset).take(limit).copied().collect();
                assert_eq!(page, wanted, "{context}");
                let page = world.store.job_secrets(job.job_id, offset, limit).await.expect("secrets");
                let wanted: Vec<_> = secrets.iter().skip(offset).take(limit).copied().collect();
                assert_eq!(page, wanted, "{context}");
            }
            *states.entry(job.state.as_str()).or_insert(0) += 1;
        }
        assert!(states.len() == 3, "{states:?}");
    }

    async fn a_line_says_what_became_of_its_own_pairs_also_on_the_way(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=106).await;
        world.grant(101, BRUNO, Permission::View).await;
        world.grant(102, EVA, Permission::Edit).await;
        let recipients =
            vec![to(BRUNO, Permission::Edit), to(CARLA_NO_ACCOUNT, Permission::View), to(EVA, Permission::View)];
        let ids = (101..=106).map(crate::world::secret).collect();
        let asked = share_as(ANA, batchshare::domain::Selection::Ids(ids), recipients);
        let of = async || {
            let recipients = world.store.job_recipients(asked.job_id, 0, 10).await.expect("recipients");
            let secrets = world.store.job_secrets(asked.job_id, 0, 10).await.expect("secrets");
            let recipients: Vec<Counts> = recipients.into_iter().map(|(_, counts)| counts.expect("recorded")).collect();
            let secrets: Vec<Counts> = secrets.into_iter().map(|(_, counts)| counts.expect("recorded")).collect();
            (recipients, secrets)
        };
        let sum = |all: &[Counts]| all.iter().fold(Counts::default(), |sum, of| sum + *of);
        world.begin(&asked).await;
        let mut messages: VecDeque<OutboxRow> = world.take_messages().await.into();
        let mut running = 0;
        while let Some(message) = messages.pop_front() {
            if message.kind == MessageKind::Step {
                world.step(&contract::decode_step(&message.body).expect("a step")).await;
                messages.extend(world.take_messages().await);
            }
            let (recipients, secrets) = of().await;
            let job = world.job(asked.job_id).await;
            assert_eq!((sum(&recipients), sum(&secrets)), (job.counts, job.counts));
            running += i32::from(job.state == JobState::Running && job.done() > 0);
        }
        assert!(running > 2, "{running}");
        let (recipients, secrets) = of().await;
        assert_eq!(recipients, [counts(5, 1, 0, 0), counts(0, 0, 0, 6), counts(5, 0, 1, 0)]);
        let plain = counts(2, 0, 0, 1);
        assert_eq!(secrets, [counts(1, 1, 0, 1), counts(1, 0, 1, 1), plain, plain, plain, plain]);
        // A job that an older program worked on tells nothing of single pairs, rather than something wrong.
        world.test.sql("UPDATE lanes SET recorded = 0").await;
        let recipients = world.store.job_recipients(asked.job_id, 0, 10).await.expect("recipients");
        assert!(recipients.iter().all(|(_, counts)| counts.is_none()), "{recipients:?}");
    }
}
