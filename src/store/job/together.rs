//! Small requests together: many jobs in one transaction, each statement for all of them.
//!
//! The jobs of a call do not touch each other (`domain::groups` sees to that), so that each ends as it
//! would have one by one, in their order. What is out of the ordinary (another content, a job that
//! waits, one that somebody holds) is left to [`Store::begin`].

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Value, json};

use crate::contract;
use crate::contract::{JobRequested, StoredRequest};
use crate::db::{DbError, Flow, statement};
use crate::domain::job::Move;
use crate::domain::plan::{ChunkPlan, Plan, plan};
use crate::domain::{Counts, FailReason, JobId, JobKey, JobState, SecretId, Selection, ShareRequest};
use crate::store::codes::id;

use crate::store::job::begin::{BeginOptions, Begun, NO_LANE};
use crate::store::job::ending;
use crate::store::job::ending::Ending;
use crate::store::job::rejections;
use crate::store::job::rejections::Rejected;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::transact::{LOCKS_OF_MANY, LOCKS_OF_WORK, Store};
use crate::store::tx::Tx;
use crate::store::vault::facts;
use crate::store::vault::facts::Asked;
use crate::store::vault::grants;

impl Store {
    /// Begins and ends small jobs in one transaction. The answers are in their order; `None`: nothing was
    /// done about this one, which is [`Store::begin`]'s.
    ///
    /// # Errors
    /// As [`Store::begin`], for all of them.
    pub async fn begin_together(
        &self,
        mut asked: Vec<JobRequested>,
        options: BeginOptions,
    ) -> Result<Vec<Option<Begun>>, DbError> {
        for job in &mut asked {
            job.traceparent.get_or_insert_with(contract::new_traceparent);
        }
        let locks = if asked.len() > 1 { LOCKS_OF_MANY } else { LOCKS_OF_WORK };
        self.transact_soon(locks, move |tx| begin_together(tx, &asked, &options).map(Flow::Commit)).await
    }
}

/// What becomes of a job: the plan of its pairs, or why it fails.
type Decided = Result<ChunkPlan, FailReason>;

fn begin_together(
    tx: &mut Tx<'_>,
    asked: &[JobRequested],
    options: &BeginOptions,
) -> Result<Vec<Option<Begun>>, DbError> {
    let decided = decide(tx, asked, options)?;
    let requests: Vec<StoredRequest> = asked.iter().map(|job| StoredRequest::of(&job.request)).collect();
    let fresh = insert(tx, asked, &requests, &decided)?;
    let others = asked.iter().map(|job| job.job_id).filter(|id| !fresh.contains_key(id));
    let mut others = found(tx, others.collect())?;
    let now = tx.now()?;
    let mut answers: Vec<Option<Begun>> = asked.iter().map(|_| None).collect();
    let mut ours: Vec<(usize, JobRow, Decided)> = Vec::with_capacity(asked.len());
    for (place, ((asked, stored), decided)) in asked.iter().zip(requests).zip(decided).enumerate() {
        if let Some(key) = fresh.get(&asked.job_id) {
            ours.push((place, born(*key, asked, stored.digest, now), decided));
            continue;
        }
        let Some(row) = others.remove(&asked.job_id) else { continue };
        if row.digest.as_ref() != Some(&stored.digest) {
            continue;
        }
        if row.state != JobState::Queued {
            answers[place] = Some(Begun::AlreadyBegun);
        } else if row.run == 1 && row.not_before.is_none() {
            ours.push((place, row, decided));
        }
    }
    let mut applied = Vec::with_capacity(ours.len());
    for (_, row, decided) in &ours {
        applied.extend(decided.as_ref().ok().map(|plan| (row.key, plan)));
    }
    let mut counts = grants::apply_together(tx.conn, &applied, now)?.into_iter();
    let rejected =
        applied.iter().map(|(job, plan)| Rejected { job: *job, lane: NO_LANE, lines: &plan.rejections });
    rejections::add(tx.conn, &rejected.collect::<Vec<_>>())?;

    let mut places = Vec::with_capacity(ours.len());
    let mut endings = Vec::with_capacity(ours.len());
    for (place, row, decided) in ours {
        places.push(place);
        let expected = fresh.contains_key(&row.job_id).then(|| expected(&decided));
        let (step, counts, rejections) = match decided {
            Ok(plan) => {
                let counts = counts.next().unwrap_or_default();
                (Move::Finish(counts), counts, plan.rejections)
            }
            Err(reason) => (Move::Fail(reason), Counts::default(), Vec::new()),
        };
        tx.tally.pairs = tx.tally.pairs + counts;
        endings.push(Ending { written: expected == Some(counts), row, step, counts, rejections });
    }
    for (place, ended) in places.into_iter().zip(ending::end_together(tx, endings)?) {
        answers[place] = Some(Begun::Ended(ended));
    }
    Ok(answers)
}

/// Decides what becomes of each job.
fn decide(tx: &mut Tx<'_>, asked: &[JobRequested], options: &BeginOptions) -> Result<Vec<Decided>, DbError> {
    let about: Vec<Asked<'_>> = asked
        .iter()
        .map(|job| Asked {
            requester: job.request.requested_by,
            secrets: named(&job.request),
            recipients: &job.request.recipients,
        })
        .collect();
    let facts = facts::read_together(tx.conn, &about)?;
    let decide = |(job, facts): (&JobRequested, _)| {
        if job.request.check_limits(&options.limits, None).is_err() {
            return Err(FailReason::LimitExceeded);
        }
        match plan(named(&job.request), &job.request.recipients, facts) {
            Plan::Apply(chunk) => Ok(chunk),
            Plan::RequesterNotValid => Err(FailReason::RequesterNotValid),
        }
    };
    Ok(asked.iter().zip(&facts).map(decide).collect())
}

/// The secrets of a small job. "All" is never small.
fn named(request: &ShareRequest) -> &[SecretId] {
    match &request.selection {
        Selection::Ids(ids) => ids,
        Selection::All(_) => &[],
    }
}

/// The counts of a job none of whose pairs is there yet, as most are.
fn expected(decided: &Decided) -> Counts {
    decided.as_ref().map_or_else(
        |_| Counts::default(),
        |plan| Counts {
            granted: plan.pairs_to_apply(),
            upgraded: 0,
            unchanged: plan.owners.len() as u64,
            rejected: plan.rejected(),
        },
    )
}

/// Inserts jobs where their ids are not taken, as they will have ended if no pair is there yet: a row
/// that is written once costs half of one that is written and changed. Returns the keys of the new ones.
fn insert(
    tx: &mut Tx<'_>,
    asked: &[JobRequested],
    requests: &[StoredRequest],
    decided: &[Decided],
) -> Result<HashMap<JobId, JobKey>, DbError> {
    let row = |((job, stored), decided): ((&JobRequested, &StoredRequest), &Decided)| {
        let request = &job.request;
        let counts = expected(decided);
        let step = match decided {
            Ok(_) => Move::Finish(counts),
            Err(reason) => Move::Fail(*reason),
        };
        let (state, reason) =
            JobState::Queued.next(step).map_err(|error| DbError::Corrupt(error.to_string()))?;
        Ok(json!([
            job.job_id,
            request.requested_by,
            stored.selection,
            stored.recipients,
            stored.digest,
            job.traceparent,
            request.secrets_named(),
            request.recipients.len(),
            request.pairs(),
            state.as_str(),
            reason.map(FailReason::as_str),
            counts.granted,
            counts.unchanged,
            counts.rejected,
            decided.as_ref().map_or(0, |plan| plan.rejections.len()),
        ]))
    };
    let rows: Vec<Value> =
        asked.iter().zip(requests).zip(decided).map(row).collect::<Result<_, DbError>>()?;
    let columns = [
        ("job_id", "text"),
        ("requested_by", "bigint"),
        ("selection", "text"),
        ("recipients", "text"),
        ("digest", "text"),
        ("traceparent", "text"),
        ("secrets_total", "integer"),
        ("recipients_total", "integer"),
        ("pairs", "bigint"),
        ("state", "text"),
        ("reason", "text"),
        ("granted", "bigint"),
        ("unchanged", "bigint"),
        ("rejected", "bigint"),
        ("rejections_total", "bigint"),
    ];
    let names = columns.map(|(name, _)| name).join(", ");
    // In one order, so that two workers that got the same jobs do not wait for each other in a circle.
    let sql = format!(
        "INSERT INTO jobs ({names}, run, has_snapshot, open_lanes, upgraded, attempts, failures, requested_at, \
         started_at, finished_at, notice_due) \
         SELECT {names}, 1, false, 0, 0, 0, 0, now_ms(), now_ms(), now_ms(), true \
         FROM ({}) AS n WHERE true ORDER BY job_id ON CONFLICT DO NOTHING RETURNING id, job_id, requested_at",
        tx.conn.each_row("$1", &columns),
    );
    let rows = Value::from(rows).to_string();
    let new: Vec<New> = statement(sql).bind::<Text, _>(rows).load(tx.conn)?;
    if let Some(row) = new.first() {
        tx.now_is(row.requested_at);
    }
    let corrupt = || DbError::Corrupt("jobs.job_id of a new job".to_owned());
    new.into_iter().map(|row| Ok((row.job_id.parse().map_err(|()| corrupt())?, id(row.id)?))).collect()
}

#[derive(QueryableByName)]
struct New {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = BigInt)]
    requested_at: i64,
}

/// A new job before it has ended.
fn born(key: JobKey, asked: &JobRequested, digest: String, now: i64) -> JobRow {
    let request = &asked.request;
    JobRow {
        key,
        job_id: asked.job_id,
        run: 1,
        state: JobState::Queued,
        reason: None,
        requested_by: request.requested_by,
        digest: Some(digest),
        traceparent: asked.traceparent.clone().unwrap_or_default(),
        secrets_total: request.secrets_named().and_then(|count| i32::try_from(count).ok()),
        recipients_total: i32::try_from(request.recipients.len()).ok(),
        pairs: request.pairs(),
        has_snapshot: false,
        counts: Counts::default(),
        rejections_total: None,
        attempts: 0,
        failures: 0,
        not_before: None,
        last_error: None,
        requested_at: now,
        started_at: None,
        finished_at: None,
    }
}

/// The jobs that were there already and that nobody else holds, locked.
fn found(tx: &mut Tx<'_>, ids: Vec<JobId>) -> Result<HashMap<JobId, JobRow>, DbError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = row::lock_free(tx, ids)?;
    Ok(rows.into_iter().map(|row| (row.job_id, row)).collect())
}
