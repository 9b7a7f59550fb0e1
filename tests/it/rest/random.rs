//! Random companies and jobs that reject some of their pairs or are cancelled, while the company changes: the rest is
//! exactly the pairs that are missing, and it does with each what a share of that pair would do.

use std::collections::BTreeSet;

use batchshare::contract;
use batchshare::contract::JobRequested;
use batchshare::domain::{EndedBy, JobSnapshot, PairOutcome, RejectReason};
use batchshare::store::{
    Cancelled, MessageKind, NoRest, RestOrder, RestOrdered, UndoBy, UndoOrder, UndoOrdered,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::desk::{Pair, because, order};
use crate::on_both_stores;
use crate::properties::Scenario;
use crate::world::*;

const SEEDS: std::ops::Range<u64> = 0..24;

/// Something in the company changes.
async fn change(world: &World, random: &mut StdRng) {
    let (person, id) = (random.random_range(2..=6), random.random_range(101..=112));
    let sql = match random.random_range(0..5) {
        0 => format!("UPDATE principals SET active = NOT active WHERE id = {person}"),
        1 => format!("UPDATE principals SET has_account = NOT has_account WHERE id = {person}"),
        2 => format!("UPDATE principals SET active = NOT active WHERE id = {}", random.random_range(10..=12)),
        3 => format!("UPDATE secrets SET disabled = NOT disabled WHERE id = {id}"),
        _ => format!("UPDATE secrets SET owner_id = {} WHERE id = {id}", random.random_range(1..=2)),
    };
    world.test.sql(&sql).await;
}

/// Begins the job and works on some of its chunks, while the company changes or does not. Then it is cancelled, if it
/// has not ended.
async fn work(world: &World, random: &mut StdRng, asked: &JobRequested, changes: bool) -> JobSnapshot {
    world.begin(asked).await;
    let mut chunks = if random.random_bool(0.5) { random.random_range(0..6) } else { 1_000 };
    let mut messages = world.take_messages().await;
    while chunks > 0 && !messages.is_empty() {
        let row = messages.remove(random.random_range(0..messages.len()));
        if row.kind == MessageKind::Step {
            if changes && random.random_bool(0.3) {
                change(world, random).await;
            }
            world.step(&contract::decode_step(&row.body).expect("a step")).await;
            chunks -= 1;
            messages.extend(world.take_messages().await);
        }
    }
    let by = EndedBy::Person(asked.request.requested_by);
    let cancelled = world.store.cancel(asked.job_id, by).await.expect("an answer");
    assert!(matches!(cancelled, Cancelled::Done(_) | Cancelled::Ended(_)), "{cancelled:?}");
    world.drain().await;
    world.job(asked.job_id).await
}

/// What is mended, and what somebody takes back, between the job and its rest.
async fn mend(world: &World, random: &mut StdRng) {
    for sql in [
        "UPDATE principals SET active = true WHERE id IN (1, 2, 3, 10, 20)",
        "UPDATE principals SET has_account = true WHERE id IN (1, 2, 4)",
        "UPDATE secrets SET disabled = false",
        "UPDATE secrets SET owner_id = 1 WHERE id % 3 = 0",
        "DELETE FROM grants WHERE (secret_id + principal_id) % 3 = 0 AND principal_id <> 1",
    ] {
        if random.random_bool(0.6) {
            world.test.sql(sql).await;
        }
    }
}

fn left_of(job: &JobSnapshot, left: &BTreeSet<Pair>, reason: RejectReason) -> BTreeSet<Pair> {
    let reason_of = |kind: &str, id: i64| {
        let line =
            job.rejections.iter().map(line).find(|of| (of.0 == "secret") == (kind == "secret") && of.1 == id);
        line.map(|of| of.2)
    };
    let is_meant = |(secret, to): &&Pair| {
        reason_of("secret", *secret).or_else(|| reason_of("recipient", *to)) == Some(reason.as_str())
    };
    left.iter().filter(is_meant).copied().collect()
}

/// The permission that the job asks for with this recipient, as the database has it.
fn wanted(asked: &JobRequested, to: i64) -> i64 {
    let of = asked.request.recipients.iter().find(|of| of.id.get() == to);
    i64::from(of.expect("a recipient").permission.code())
}

/// Each pair is what a share of nothing but this pair would have made of it.
async fn each_is_shared(world: &World, asked: &JobRequested, rest: &JobSnapshot, what: &str) {
    let told = world.outcome_of_pairs(rest.job_id).await;
    let told: Vec<(Pair, PairOutcome)> =
        told.into_iter().filter_map(|(pair, of)| Some((pair, of?))).collect();
    let single = |(pair, _): &(Pair, PairOutcome)| {
        let to = asked.request.recipients.iter().find(|of| of.id.get() == pair.1).expect("a recipient");
        let selection = batchshare::domain::Selection::Ids(vec![secret(pair.0)]);
        share_as(ANA, selection, vec![*to])
    };
    let singles: Vec<JobRequested> = told.iter().map(single).collect();
    for (((pair, outcome), asked), begun) in told
        .iter()
        .zip(&singles)
        .zip(world.store.begin(singles.clone(), world.options.clone()).await.expect("begun"))
    {
        assert!(begun.is_some(), "{what}");
        let alone = world.job(asked.job_id).await;
        let is_rejected = (alone.counts.rejected, *outcome == PairOutcome::Rejected);
        assert_eq!(is_rejected, (u64::from(is_rejected.1), is_rejected.1), "{what}: {pair:?} {alone:?}");
        assert_eq!(alone.counts.granted + alone.counts.upgraded, 0, "{what}: {pair:?} is there");
    }
    world.take_messages().await;
}

async fn undo(world: &World, parent: &JobSnapshot) -> JobSnapshot {
    let by = UndoBy::Person(principal(ANA));
    let foreseen = world.store.foresee_undo(parent.job_id, by).await.expect("an answer");
    let order = UndoOrder { parent: parent.job_id, by, idempotency_key: None, traceparent: None };
    let UndoOrdered::Accepted(job) = world.store.undo(order, world.options.clone()).await.expect("an answer")
    else {
        panic!("not accepted");
    };
    world.drain_twice().await;
    let undone = world.job(job.job_id).await;
    let batchshare::store::Foreseen::Preview(preview) = foreseen else { panic!("{foreseen:?}") };
    assert_eq!((preview.taken, preview.rejected), (undone.taken, undone.counts.rejected));
    assert_eq!((undone.pairs, undone.done()), (parent.pairs, parent.pairs.unwrap_or(0)));
    undone
}

on_both_stores! {
    async fn the_rest_is_exactly_what_is_missing_and_is_shared_pair_by_pair(kind: Kind) {
        let mut world = World::empty(kind).await;
        let (mut rests, mut sets, mut narrowed, mut undone) = (0, 0, 0, 0);
        for seed in SEEDS {
            let random = &mut StdRng::seed_from_u64(seed);
            let scenario = Scenario::new(seed);
            scenario.write(&world).await;
            world.test.sql("UPDATE principals SET active = true, has_account = true WHERE id = 1").await;
            world.set_chunks(random.random_range(1..=5));
            let asked = scenario.asked_by(ANA);
            let named: BTreeSet<i64> = asked.request.recipients.iter().map(|to| to.id.get()).collect();
            if named.len() < asked.request.recipients.len() {
                // Two of them have one id, with different kinds. The pairs of this test know no kinds.
                continue;
            }
            let changes = random.random_bool(0.5);
            let job = work(&world, random, &asked, changes).await;
            let what = format!("seed {seed}, {job:?}");
            let mut expected = world.left(job.job_id).await;
            mend(&world, random).await;
            let mut asking = order(job.job_id);
            if let Some(of) = job.rejections.first().filter(|_| !changes && job.done() == job.pairs.unwrap_or(0)) {
                asking = because(job.job_id, [of.reason]);
                expected = left_of(&job, &expected, of.reason);
                narrowed += 1;
            }
            if expected.is_empty() {
                assert_eq!(world.no_rest(asking).await, NoRest::Nothing, "{what}");
                continue;
            }
            let before = world.permissions().await;
            let owners = world.test.texts("SELECT id || ' ' || owner_id AS t FROM secrets").await;
            let owns = |(secret, to): &Pair| owners.contains(&format!("{secret} {to}"));
            let with_key = RestOrder { idempotency_key: Some(format!("key {seed}")), ..asking.clone() };
            let accepted = world.accepted(with_key.clone()).await;
            let again = world.ordered(asking.clone()).await;
            assert!(matches!(&again, RestOrdered::Repeated(of) if of.job_id == accepted.job_id), "{what}: {again:?}");
            world.drain_twice().await;
            let rest = world.job(accepted.job_id).await;
            let again = world.ordered(with_key).await;
            assert!(matches!(&again, RestOrdered::Repeated(of) if *of == rest), "{what}: {again:?}");

            // It is about exactly these pairs.
            let (done, rejected) = world.done(rest.job_id).await;
            assert_eq!(done.union(&rejected).copied().collect::<BTreeSet<_>>(), expected, "{what}");
            assert_eq!((rest.pairs, rest.done()), (Some(expected.len() as u64), expected.len() as u64), "{what}");
            let (secrets, recipients) = world.about(rest.job_id).await;
            let sorted: BTreeSet<i64> = secrets.iter().copied().collect();
            assert_eq!((sorted.len() as u64, rest.secrets), (secrets.len() as u64, Some(secrets.len() as u64)));
            assert_eq!(sorted, expected.iter().map(|(secret, _)| *secret).collect(), "{what}");
            let people: BTreeSet<i64> = recipients.iter().copied().collect();
            assert_eq!(people, expected.iter().map(|(_, to)| *to).collect(), "{what}");
            assert_eq!(rest.recipients, Some(recipients.len() as u64), "{what}");
            sets += u64::from(rest.pairs != Some(secrets.len() as u64 * recipients.len() as u64));

            // It changed nothing but these pairs, and each of them by the rules of a share.
            let after = world.permissions().await;
            for (pair, permission) in &after {
                let was = before.get(pair).copied().unwrap_or(0);
                let gets = if done.contains(pair) && !owns(pair) { wanted(&asked, pair.1) } else { 0 };
                assert_eq!(*permission, was.max(gets), "{what}: {pair:?}");
            }
            assert!(before.keys().all(|pair| after.contains_key(pair)), "{what}");
            let changed = after.iter().filter(|(pair, of)| before.get(*pair) != Some(*of)).count() as u64;
            assert_eq!(rest.counts.granted + rest.counts.upgraded, changed, "{what}");

            if rest.counts.shared() > 0 && random.random_bool(0.4) {
                // Its undo takes its own pairs back, and then they are left again.
                undo(&world, &rest).await;
                assert_eq!(world.permissions().await, before, "{what}");
                let again = world.accepted(asking).await;
                assert_eq!(again.pairs, rest.pairs, "{what}");
                world.drain().await;
                undone += 1;
            } else {
                each_is_shared(&world, &asked, &rest, &what).await;
                // What the rest rejected is left, both of it and of the job.
                let of = if random.random_bool(0.5) { rest.job_id } else { job.job_id };
                // A pair may have been rejected for another reason this time.
                let reasons = if of == job.job_id { asking.reasons.clone() } else { BTreeSet::new() };
                let again = RestOrder { parent: of, reasons, ..asking };
                if rejected.is_empty() {
                    assert_eq!(world.no_rest(again).await, NoRest::Nothing, "{what}");
                } else {
                    let third = world.rest(again).await;
                    let (done, still) = world.done(third.job_id).await;
                    assert_eq!((done.len(), still), (0, rejected), "{what}: nothing was mended");
                }
            }
            rests += 1;
        }
        println!("{rests} rests, {sets} no rectangles, {narrowed} narrowed, {undone} undone");
        assert!(rests > 12 && sets > 3 && narrowed > 3 && undone > 1, "the seeds reach every case");
        assert_eq!(world.test.number("SELECT COUNT(*) FROM dead_letters").await, 0);
    }
}
