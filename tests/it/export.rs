//! The export of a job: its lines add up to what the job did, and each line is true of its own pair.

use std::collections::{BTreeMap, BTreeSet};

use batchshare::contract::decode_step;
use batchshare::domain::event::Subject;
use batchshare::domain::report::{Holding, PairResult, ReportPair};
use batchshare::domain::{
    EndedBy, JobId, JobKind, JobSnapshot, JobState, Permission, PrincipalKind, Recipient, Selection,
    ShareRequest,
};
use batchshare::store::{
    Allowance, Cancelled, MessageKind, RestLimits, RestOrder, RestOrdered, UndoBy, UndoOrder, UndoOrdered,
};

use crate::on_both_stores;
use crate::properties::Scenario;
use crate::world::*;

/// Each is one company and what a few jobs do to it; a failure names its seed.
const SEEDS: std::ops::Range<u64> = 5_000..5_032;

/// A row of the table of grants: permission, and the jobs of its view and its edit.
type Row = (i64, String, String);
type Rows = BTreeMap<(i64, i64), Row>;

async fn rows(world: &World) -> Rows {
    let sql = "SELECT secret_id || ' ' || principal_id || ' ' || permission || ' ' || COALESCE(CAST(view_job AS TEXT), '-') \
               || ' ' || COALESCE(CAST(edit_job AS TEXT), '-') AS t FROM grants";
    let read = |row: String| {
        let parts: Vec<&str> = row.split(' ').collect();
        let number = |place: usize| parts[place].parse::<i64>().expect("a number");
        ((number(0), number(1)), (number(2), parts[3].to_owned(), parts[4].to_owned()))
    };
    world.test.texts(sql).await.into_iter().map(read).collect()
}

/// A line: the secret, the recipient, and what became of the pair.
type Line = (i64, Recipient, ReportPair);

async fn lines(world: &World, job: JobId, reader: Option<i64>) -> Vec<Line> {
    let export = world.store.export(job, reader.map(principal)).await.expect("an export");
    let mut export = export.expect("the job is there");
    let recipients = export.recipients().clone();
    let mut lines = Vec::new();
    loop {
        let part;
        (export, part) = world.store.export_part(export).await.expect("a part");
        if part.secrets.is_empty() {
            return lines;
        }
        assert_eq!(part.pairs.len(), part.secrets.len() * recipients.len());
        for (secret, pairs) in part.secrets.iter().zip(part.pairs.chunks(recipients.len())) {
            let of_secret = recipients.iter().zip(pairs);
            lines.extend(of_secret.filter_map(|(of, pair)| Some((secret.id.get(), of.recipient, (*pair)?))));
        }
    }
}

fn own_kind(of: &Recipient) -> bool {
    let kind = match of.id.get() {
        ..10 => PrincipalKind::User,
        10..20 => PrincipalKind::UserGroup,
        20..30 => PrincipalKind::PersonalGroup,
        _ => return false,
    };
    kind == of.kind
}

/// Checks every line of an ended job against the rows from before it ran and those that are there now.
async fn check(world: &World, job: &JobSnapshot, before: &Rows, context: &str) {
    let after = rows(world).await;
    let lines = lines(world, job.job_id, None).await;
    let of = |result: PairResult| lines.iter().filter(|line| line.2.result == result).count() as u64;
    let given = (job.counts.granted, job.counts.upgraded, job.counts.unchanged, job.counts.rejected);
    use PairResult::*;
    assert_eq!((of(Granted), of(Upgraded), of(Unchanged), of(Rejected)), given, "{context}");
    let taken = (job.taken.revoked, job.taken.lowered, job.taken.kept, job.taken.untouched);
    assert_eq!((of(Revoked), of(Lowered), of(Kept), of(Untouched)), taken, "{context}");
    assert_eq!(of(NotRecorded), 0, "{context}");
    let listed = job.pairs.filter(|_| job.secrets.is_some()).unwrap_or(0);
    assert_eq!(of(NotReached), listed - job.done(), "{context}");
    let pairs: BTreeSet<_> = lines.iter().map(|(secret, of, _)| (*secret, of.kind, of.id)).collect();
    assert_eq!(pairs.len(), lines.len(), "each pair once: {context}");
    let owners = world.test.texts("SELECT id || ' ' || owner_id AS t FROM secrets").await;
    for (secret, of, pair) in &lines {
        let context = format!("{context}: {secret} {of:?} {pair:?}");
        assert_eq!(pair.reason.is_some(), pair.result == Rejected, "{context}");
        let place = (*secret, of.id.get());
        let (was, is) = (before.get(&place), after.get(&place));
        let code = |row: Option<&Row>| row.map_or(0, |row| row.0);
        if !own_kind(of) {
            assert!(matches!(pair.result, Rejected | NotReached | Untouched), "{context}");
            assert!(matches!(pair.now, Some(Holding::Nothing) | None), "{context}");
            continue;
        }
        let true_of_it = match pair.result {
            Granted => (code(was), code(is) > 0) == (0, true),
            Upgraded => (code(was), code(is)) == (1, 2),
            Revoked => (code(was) > 0, code(is)) == (true, 0),
            Lowered => (code(was), code(is)) == (2, 1),
            // An undo may write down who else gave a row that it does not take.
            Kept => code(was) == code(is) && code(is) > 0,
            Untouched => code(was) == code(is),
            Unchanged | Rejected | NotReached => {
                code(was) == code(is) && (job.kind != JobKind::Share || was == is)
            }
            NotRecorded => false,
        };
        assert!(true_of_it, "{context}: {was:?} {is:?}");
        let owns = owners.contains(&format!("{secret} {}", of.id)) && of.kind == PrincipalKind::User;
        let there = owners.iter().any(|row| row.starts_with(&format!("{secret} ")));
        let holding = match code(is) {
            _ if owns => Holding::Owner,
            0 => Holding::Nothing,
            1 => Holding::View,
            _ => Holding::Edit,
        };
        assert_eq!(pair.now, there.then_some(holding), "{context}");
    }
    let report = world.store.rejections(job.job_id, 0, 1_000).await.expect("a report");
    let of_secrets: BTreeSet<i64> = report
        .iter()
        .filter_map(|line| match line.subject {
            Subject::Secret(id) => Some(id.get()),
            Subject::Recipient(..) => None,
        })
        .collect();
    for line in &report {
        let about = lines.iter().filter(|(secret, of, pair)| {
            pair.result == Rejected
                && match line.subject {
                    Subject::Secret(id) => *secret == id.get(),
                    Subject::Recipient(kind, id) => {
                        (kind, id) == (of.kind, of.id) && !of_secrets.contains(secret)
                    }
                }
        });
        let reasons: Vec<_> = about.map(|(_, _, pair)| pair.reason).collect();
        assert_eq!(reasons, vec![Some(line.reason); line.pairs as usize], "{context}: {line:?}");
    }
}

/// Works on a job that has begun: to its end or, with `steps`, on so many steps before the operator cancels it.
async fn work(world: &World, job: JobId, steps: Option<u64>) -> JobSnapshot {
    match steps {
        None => {
            world.drain().await;
        }
        Some(steps) => {
            for step in world
                .take_messages()
                .await
                .iter()
                .filter(|row| row.kind == MessageKind::Step)
                .take(steps as usize)
            {
                world.step(&decode_step(&step.body).expect("a step")).await;
            }
            let cancelled = world.store.cancel(job, EndedBy::Operator).await.expect("an answer");
            assert!(!matches!(cancelled, Cancelled::NotFound));
            world.drain().await;
        }
    }
    let job = world.job(job).await;
    assert!(job.state.is_terminal(), "{job:?}");
    job
}

async fn undo(world: &World, parent: JobId, unchecked: bool, steps: Option<u64>) -> Option<JobSnapshot> {
    let order =
        UndoOrder { parent, by: UndoBy::Operator { unchecked }, idempotency_key: None, traceparent: None };
    match world.store.undo(order, world.options.clone()).await.expect("an answer") {
        UndoOrdered::Accepted(job) => Some(work(world, job.job_id, steps).await),
        UndoOrdered::Refused(_) => None,
        other => panic!("{other:?}"),
    }
}

on_both_stores! {
    async fn the_lines_of_an_export_add_up_and_each_is_true_of_its_pair(kind: Kind) {
        let mut world = World::empty(kind).await;
        let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut results: BTreeMap<PairResult, usize> = BTreeMap::new();
        let mut rests = 0;
        for seed in SEEDS {
            let tables = ["jobs", "job_rejections", "job_secrets", "job_outcomes", "lanes", "claims", "outbox", "notices"];
            world.test.sql(&tables.map(|table| format!("DELETE FROM {table};")).concat()).await;
            let scenario = Scenario::new(seed);
            scenario.write(&world).await;
            world.set_chunks(if seed % 5 == 0 { 10_000 } else { 1 + seed % 7 });
            let mut ended = Vec::new();
            // Two shares of the same, so that the second one claims what the first one gave.
            for (at, steps) in [(0, (seed % 4 == 1).then_some(2)), (1, (seed % 4 == 2).then_some(0))] {
                let (asked, before) = (scenario.asked_by(1), rows(&world).await);
                world.begin(&asked).await;
                let job = work(&world, asked.job_id, steps).await;
                check(&world, &job, &before, &format!("seed {seed}, share {at}")).await;
                ended.push(job);
            }
            // What the first one rejected or never came to, some of which is mended.
            if seed % 2 == 1 {
                world.test.sql("UPDATE secrets SET disabled = false; UPDATE principals SET active = true").await;
                let before = rows(&world).await;
                let order =
                    RestOrder { parent: ended[0].job_id, by: None, reasons: BTreeSet::new(), idempotency_key: None, traceparent: None };
                let limits = RestLimits { allowance: Allowance::UNLIMITED, unfinished: 1_000 };
                let ordered = world.store.share_rest(order, world.options.clone(), limits).await.expect("an answer");
                if let RestOrdered::Accepted { job, .. } = ordered {
                    let job = work(&world, job.job_id, (seed % 8 == 3).then_some(1)).await;
                    check(&world, &job, &before, &format!("seed {seed}, rest")).await;
                    rests += 1;
                    ended.push(job);
                }
            }
            // The requester loses some secrets, and somebody takes a grant away by hand.
            world.test.sql("UPDATE secrets SET owner_id = 6 WHERE id % 5 = 1; DELETE FROM grants WHERE secret_id % 4 = 3 AND principal_id % 2 = 0").await;
            for (at, parent) in [ended[0].job_id, ended[1].job_id].into_iter().enumerate() {
                let before = rows(&world).await;
                let steps = (seed % 6 == 3 && at == 0).then_some(1);
                if let Some(job) = undo(&world, parent, seed % 2 == 0, steps).await {
                    check(&world, &job, &before, &format!("seed {seed}, undo {at}")).await;
                    ended.push(job);
                }
            }
            let before = rows(&world).await;
            let mut asked = scenario.asked_by(1);
            asked.request = ShareRequest::taking(asked.request.requested_by, asked.request.selection, asked.request.recipients);
            world.begin(&asked).await;
            let job = work(&world, asked.job_id, (seed % 8 == 7).then_some(1)).await;
            check(&world, &job, &before, &format!("seed {seed}, unshare")).await;
            ended.push(job);
            for job in ended {
                *seen.entry((job.kind.as_str(), job.state.as_str())).or_default() += 1;
                for (_, _, pair) in lines(&world, job.job_id, None).await {
                    *results.entry(pair.result).or_default() += 1;
                }
            }
        }
        // Every kind of job was seen in every state in which it can end, and every outcome. A random share is rarely
        // rejected in no part; the next test has one.
        for job in [JobKind::Share, JobKind::Undo, JobKind::Unshare] {
            for state in [JobState::Completed, JobState::CompletedWithRejections, JobState::Failed, JobState::Cancelled] {
                let rare = (job, state) == (JobKind::Share, JobState::Completed);
                assert!(rare || seen.contains_key(&(job.as_str(), state.as_str())), "{job:?} {state:?}: {seen:?}");
            }
        }
        assert!(rests > 5, "{rests}");
        assert_eq!(results.len(), PairResult::ALL.len() - 1, "{results:?}");
    }

    async fn a_job_that_has_not_ended_tells_how_far_it_has_come(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=106).await;
        let selection = Selection::Ids((101..=106).map(secret).collect());
        let asked = share_as(ANA, selection, vec![to(BRUNO, Permission::View), to(EVA, Permission::Edit)]);
        let counted = async || {
            let lines = lines(&world, asked.job_id, Some(ANA)).await;
            let of = |result: PairResult| lines.iter().filter(|line| line.2.result == result).count();
            (of(PairResult::Granted), of(PairResult::NotReached))
        };
        world.begin(&asked).await;
        assert_eq!(counted().await, (0, 12));
        let messages = world.take_messages().await;
        let steps = messages.iter().filter(|row| row.kind == MessageKind::Step);
        let steps: Vec<_> = steps.map(|row| decode_step(&row.body).expect("a step")).collect();
        assert_eq!(steps.len(), 2, "a step for each lane");
        world.step(&steps[0]).await;
        assert_eq!(counted().await, (4, 8));
        world.step(&steps[1]).await;
        world.drain().await;
        let job = world.job(asked.job_id).await;
        assert_eq!(job.state, JobState::Completed);
        check(&world, &job, &Rows::new(), "completed").await;
        assert_eq!(counted().await, (12, 0));
        // It is nobody else's.
        assert!(world.store.export(asked.job_id, Some(principal(BRUNO))).await.expect("an answer").is_none());
        assert!(world.store.export(JobId::generate(), None).await.expect("an answer").is_none());
    }

    async fn what_an_older_program_did_is_not_told_as_if_it_were_known(kind: Kind) {
        let world = World::with_chunks(kind, 4).await;
        world.secrets(ANA, 101..=106).await;
        let permission = Permission::View;
        let selection = Selection::Ids((101..=106).map(secret).collect());
        let asked = share_as(ANA, selection, vec![to(BRUNO, permission), to(EVA, permission)]);
        world.run(&asked).await;
        let undone = undo(&world, asked.job_id, false, None).await.expect("an undo");
        world.test.sql("UPDATE lanes SET recorded = 0; DELETE FROM job_outcomes").await;
        for job in [asked.job_id, undone.job_id] {
            let lines = lines(&world, job, None).await;
            assert_eq!(lines.len(), 12);
            assert!(lines.iter().all(|line| line.2.result == PairResult::NotRecorded), "{lines:?}");
        }
    }
}
