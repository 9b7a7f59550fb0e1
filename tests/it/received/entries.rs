//! Exactly one entry for each recipient of a batch that got something, whatever happens to the batch and its messages.

use std::collections::BTreeMap;

use batchshare::contract::JobRequested;
use batchshare::domain::{EndedBy, JobId, JobState, PairOutcome, Permission, Recipient, Selection};
use batchshare::store::{Cancelled, RestOrder};
use futures_util::future::join_all;

use crate::on_both_stores;
use crate::properties::Scenario;
use crate::world::*;

const VIEW: Permission = Permission::View;
const EDIT: Permission = Permission::Edit;

impl World {
    /// Each recipient with an entry of the job, with the permission and the number of secrets that it tells.
    async fn entries(&self, job: JobId) -> BTreeMap<i64, (i64, i64)> {
        let sql = format!(
            "SELECT r.principal_id || ' ' || r.permission || ' ' || r.secrets AS t FROM received r \
             JOIN jobs j ON j.id = r.job WHERE j.job_id = '{job}'"
        );
        let entries: Vec<Vec<i64>> = (self.test.texts(&sql).await.iter())
            .map(|text| text.split(' ').map(|number| number.parse().expect("a number")).collect())
            .collect();
        let found: BTreeMap<i64, (i64, i64)> = entries.iter().map(|of| (of[0], (of[1], of[2]))).collect();
        assert_eq!(found.len(), entries.len(), "a recipient has one entry: {entries:?}");
        found
    }

    /// What the entries have to be: of each recipient, the pairs that were granted or upgraded.
    async fn expected(&self, job: JobId) -> BTreeMap<i64, (i64, i64)> {
        let recipients = self.store.job_recipients(job, 0, 100).await.expect("recipients");
        let outcomes = self.store.outcomes(job, 0, 1_000).await.expect("outcomes").expect("a share");
        let mut expected = BTreeMap::new();
        for secret in outcomes.chunks(recipients.len().max(1)) {
            for ((of, _), outcome) in recipients.iter().zip(secret) {
                if matches!(outcome, Some(PairOutcome::Granted | PairOutcome::Upgraded)) {
                    let code = i64::from(of.permission.code());
                    expected.entry(of.id.get()).or_insert((code, 0)).1 += 1;
                }
            }
        }
        expected
    }

    async fn tell(&self, job: JobId, run: i32) {
        self.tell_all(vec![(job, run)]).await;
    }

    /// As the notifier does: where somebody holds a row for too long, again.
    async fn tell_all(&self, ended: Vec<(JobId, i32)>) {
        for _ in 0..200 {
            if self.store.make_notices(ended.clone()).await.is_ok() {
                return;
            }
        }
        panic!("nobody was told");
    }

    /// Runs the job, tells its end several times at once and once more, and returns its entries, which are as they
    /// have to be.
    async fn received_of(&self, asked: &JobRequested) -> BTreeMap<i64, (i64, i64)> {
        let job = self.run(asked).await.job_id;
        assert!(self.entries(job).await.is_empty(), "entries come with the notice");
        join_all((0..4).map(|_| self.tell(job, 1))).await;
        let entries = self.entries(job).await;
        assert_eq!(entries, self.expected(job).await);
        self.tell(job, 1).await;
        assert_eq!(self.entries(job).await, entries);
        entries
    }
}

fn entry(permission: Permission, secrets: i64) -> (i64, i64) {
    (i64::from(permission.code()), secrets)
}

fn asked(secrets: std::ops::RangeInclusive<i64>, recipients: Vec<Recipient>) -> JobRequested {
    share_as(ANA, Selection::Ids(secrets.map(secret).collect()), recipients)
}

on_both_stores! {
    async fn each_recipient_that_got_something_has_one_entry(kind: Kind) {
        // The first round has jobs of one chunk, and the second jobs with lanes and chunks of one secret.
        let mut world = World::new(kind).await;
        world.secrets(ANA, 101..=124).await;
        world.secrets(BRUNO, [201]).await;
        for (chunk, first) in [(10_000, 101), (1, 113)] {
            world.set_chunks(chunk);
            let all = first..=first + 5;
            // New grants to everybody.
            let whole = world.received_of(&asked(all.clone(), vec![to(BRUNO, VIEW), to(PAYMENTS, EDIT)])).await;
            assert_eq!(whole, BTreeMap::from([(BRUNO, entry(VIEW, 6)), (PAYMENTS, entry(EDIT, 6))]));
            // Nobody got anything new.
            assert!(world.received_of(&asked(all.clone(), vec![to(BRUNO, VIEW)])).await.is_empty());
            // All were upgraded.
            let more = world.received_of(&asked(all.clone(), vec![to(BRUNO, EDIT)])).await;
            assert_eq!(more, BTreeMap::from([(BRUNO, entry(EDIT, 6))]));
            // Some had some of it, one has no account, one owns the secrets, and one secret is not ana's to share.
            let mixed: Vec<i64> = (first..=first + 8).chain([201]).collect();
            let to_all = [BRUNO, EVA, CARLA_NO_ACCOUNT, ANA].map(|id| to(id, VIEW)).to_vec();
            let mixed = share_as(ANA, Selection::Ids(mixed.into_iter().map(secret).collect()), to_all);
            let mixed = world.received_of(&mixed).await;
            assert_eq!(mixed, BTreeMap::from([(BRUNO, entry(VIEW, 3)), (EVA, entry(VIEW, 9))]));
            // Everything was rejected.
            assert!(world.received_of(&asked(201..=201, vec![to(EVA, VIEW)])).await.is_empty());
        }
    }

    async fn a_cancelled_batch_tells_of_what_was_granted(kind: Kind) {
        let world = World::with_chunks(kind, 2).await;
        world.secrets(ANA, 101..=106).await;
        world.grant(101, BRUNO, VIEW).await;
        let asked = share(101..=106, &[BRUNO, EVA]);
        world.begin(&asked).await;
        let steps = world.take_messages().await;
        let step = steps.iter().find_map(|row| batchshare::contract::decode_step(&row.body).ok()).expect("a step");
        world.step(&step).await;
        let by = EndedBy::Person(principal(ANA));
        let cancelled = world.store.cancel(asked.job_id, by).await.expect("an answer");
        assert!(matches!(cancelled, Cancelled::Done(_)), "{cancelled:?}");
        world.tell(asked.job_id, 1).await;
        assert_eq!(world.job(asked.job_id).await.state, JobState::Cancelled);
        // Only one secret was come to.
        let entries = world.entries(asked.job_id).await;
        assert_eq!(entries, world.expected(asked.job_id).await);
        assert_eq!(entries.get(&EVA), Some(&entry(VIEW, 1)));
    }

    async fn a_rest_tells_whoever_got_something_of_it(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=106).await;
        world.test.sql("UPDATE secrets SET disabled = true WHERE id IN (103, 104)").await;
        let parent = world.run(&share(101..=106, &[BRUNO, EVA, DAVI_INACTIVE])).await.job_id;
        world.test.sql("UPDATE secrets SET disabled = false").await;
        world.test.sql(&format!("UPDATE principals SET active = true WHERE id = {DAVI_INACTIVE}")).await;
        world.grant(103, EVA, VIEW).await;
        let by = Some(principal(ANA));
        let reasons = std::collections::BTreeSet::new();
        let order = RestOrder { parent, by, reasons, idempotency_key: None, traceparent: None };
        let rest = world.rest(order).await.job_id;
        for job in [parent, rest] {
            world.tell(job, 1).await;
            assert_eq!(world.entries(job).await, world.expected(job).await);
        }
        let got = BTreeMap::from([(BRUNO, entry(VIEW, 2)), (EVA, entry(VIEW, 1)), (DAVI_INACTIVE, entry(VIEW, 6))]);
        assert_eq!(world.entries(rest).await, got);
    }

    async fn many_ends_are_told_together(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, 101..=110).await;
        world.grant(105, BRUNO, VIEW).await;
        let mut jobs = Vec::new();
        for id in 101..=110 {
            jobs.push(world.run(&share([id], &[BRUNO, EVA])).await.job_id);
        }
        let ended: Vec<(JobId, i32)> = jobs.iter().map(|job| (*job, 1)).collect();
        join_all((0..4).map(|_| world.tell_all(ended.clone()))).await;
        for (id, job) in (101..=110).zip(&jobs) {
            assert_eq!(world.entries(*job).await, world.expected(*job).await, "secret {id}");
        }
        assert_eq!(world.test.number("SELECT COUNT(*) FROM received").await, 19);
    }

    /// Due work makes the notice where its event was lost, and the entries with it.
    async fn the_entries_come_also_where_the_event_was_lost(kind: Kind) {
        let world = World::new(kind).await;
        world.secrets(ANA, [101]).await;
        let job = world.run(&share([101], &[BRUNO])).await.job_id;
        world.time_passes(3_600).await;
        world.store.wake_due(false, world.due_options()).await.expect("due work");
        assert_eq!(world.entries(job).await, BTreeMap::from([(BRUNO, entry(VIEW, 1))]));
    }

    async fn a_batch_that_ran_again_is_told_anew_to_whom_it_gave_more(kind: Kind) {
        let world = World::with_chunks(kind, 2).await;
        world.secrets(ANA, 101..=104).await;
        world.grant(101, EVA, VIEW).await;
        let job = world.run(&share(101..=104, &[BRUNO, EVA])).await.job_id;
        world.tell(job, 1).await;
        let ids = async || world.test.texts("SELECT principal_id || ' ' || id AS t FROM received ORDER BY principal_id").await;
        // As if the first run had given bruno less, and one recipient something that is no longer counted.
        world.test.sql(&format!("UPDATE received SET secrets = 1 WHERE principal_id = {BRUNO}")).await;
        let before = ids().await;
        world.test.sql("UPDATE jobs SET run = 2, notice_due = true").await;
        world.tell(job, 1).await;
        assert_eq!(ids().await, before, "the end of the older run");
        world.tell(job, 2).await;
        let after = ids().await;
        assert_eq!(world.entries(job).await, world.expected(job).await);
        assert!(before[0] != after[0] && before[1] == after[1] && after.len() == 2, "{before:?} {after:?}");
    }

    async fn entries_are_what_the_outcomes_say_in_random_companies(kind: Kind) {
        let mut world = World::empty(kind).await;
        let (mut with, mut without) = (0, 0);
        for seed in 3_000..3_040 {
            let scenario = Scenario::new(seed);
            scenario.write(&world).await;
            world.set_chunks(if seed % 2 == 0 { 10_000 } else { 3 });
            let job = world.run(&scenario.asked_by(1)).await;
            world.tell(job.job_id, 1).await;
            let entries = world.entries(job.job_id).await;
            assert_eq!(entries, world.expected(job.job_id).await, "seed {seed}");
            let given = i64::try_from(job.counts.granted + job.counts.upgraded).expect("a count");
            assert_eq!(entries.values().map(|(_, secrets)| secrets).sum::<i64>(), given, "seed {seed}");
            if entries.is_empty() { without += 1 } else { with += 1 }
        }
        assert!(with > 10 && without > 0, "{with} {without}");
    }
}
