//! Small requests together: many jobs in one transaction, each statement for all of them.
//!
//! The jobs of a call name no secret twice (`domain::together` sees to that), so that each ends as it
//! would have one by one, in their order. What is out of the ordinary (another content, a job that
//! waits, one that somebody holds) is left to [`Store::begin`].

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Value, json};

use crate::db::{DbError, Flow, statement};
use crate::domain::job::Move;
use crate::domain::plan::{ChunkPlan, Plan, plan};
use crate::domain::{Counts, FailReason, JobId, JobState, SecretId, Selection};
use crate::wire::{self, JobRequested, StoredRequest};

use super::begin::{BeginOptions, Begun, NO_LANE};
use super::ending::{self, Ending};
use super::facts::{self, Asked};
use super::jobs::{self, FIRST_LOOK_MS, JobRow};
use super::rejections::{self, Rejected};
use super::tx::Tx;
use super::{Store, grants};

impl Store {
    /// Begins and ends small jobs in one transaction. The answers are in their order; `None`: nothing was
    /// done about this one, which is [`Store::begin`]'s.
    ///
    /// # Errors
    /// As [`Store::begin`], for all of them.
    pub async fn begin_together(
        &self,
        asked: Vec<JobRequested>,
        options: BeginOptions,
    ) -> Result<Vec<Option<Begun>>, DbError> {
        self.transact(move |tx| begin_together(tx, &asked, &options).map(Flow::Commit)).await
    }
}

/// A job that ends here, and what it asked for.
struct Ours<'a> {
    /// Which of those that were asked for.
    place: usize,
    asked: &'a JobRequested,
    secrets: &'a [SecretId],
    row: JobRow,
}

fn begin_together(
    tx: &mut Tx<'_>,
    asked: &[JobRequested],
    options: &BeginOptions,
) -> Result<Vec<Option<Begun>>, DbError> {
    let requests: Vec<StoredRequest> = asked.iter().map(|job| StoredRequest::of(&job.request)).collect();
    insert(tx, asked, &requests)?;
    let rows = jobs::lock_free(tx.conn, asked.iter().map(|job| job.job_id))?;
    let mut rows: HashMap<JobId, JobRow> = rows.into_iter().map(|row| (row.job_id, row)).collect();
    let mut answers: Vec<Option<Begun>> = asked.iter().map(|_| None).collect();
    let mut ours: Vec<Ours<'_>> = Vec::with_capacity(asked.len());
    for (place, (asked, stored)) in asked.iter().zip(&requests).enumerate() {
        let Selection::Ids(secrets) = &asked.request.selection else { continue };
        let Some(row) = rows.remove(&asked.job_id) else { continue };
        if row.digest.as_ref() != Some(&stored.digest) {
            continue;
        }
        if row.state != JobState::Queued {
            answers[place] = Some(Begun::AlreadyBegun);
        } else if row.run == 1 && row.not_before.is_none() {
            ours.push(Ours { place, asked, secrets, row });
        }
    }
    let plans = plans(tx, &ours, options)?;
    let applied: Vec<_> =
        ours.iter().zip(&plans).filter_map(|(job, plan)| Some((job.row.key, plan.as_ref().ok()?))).collect();
    let mut counts = grants::apply_together(tx.conn, &applied, tx.now)?.into_iter();
    let rejected =
        applied.iter().map(|(job, plan)| Rejected { job: *job, lane: NO_LANE, lines: &plan.rejections });
    rejections::add(tx.conn, &rejected.collect::<Vec<_>>())?;

    let mut places = Vec::with_capacity(ours.len());
    let mut endings = Vec::with_capacity(ours.len());
    for (job, plan) in ours.into_iter().zip(plans) {
        places.push(job.place);
        let (step, counts, rejections) = match plan {
            Ok(plan) => {
                let counts = counts.next().unwrap_or_default();
                (Move::Finish(counts), counts, plan.rejections)
            }
            Err(reason) => (Move::Fail(reason), Counts::default(), Vec::new()),
        };
        tx.tally.pairs = tx.tally.pairs + counts;
        endings.push(Ending { row: job.row, step, counts, rejections });
    }
    for (place, ended) in places.into_iter().zip(ending::end_together(tx, endings)?) {
        answers[place] = Some(Begun::Ended(ended));
    }
    Ok(answers)
}

/// What is to be done for each job, or why it fails.
fn plans(
    tx: &mut Tx<'_>,
    jobs: &[Ours<'_>],
    options: &BeginOptions,
) -> Result<Vec<Result<ChunkPlan, FailReason>>, DbError> {
    let about: Vec<Asked<'_>> = jobs
        .iter()
        .map(|job| Asked {
            requester: job.asked.request.requested_by,
            secrets: job.secrets,
            recipients: &job.asked.request.recipients,
        })
        .collect();
    let facts = facts::read_together(tx.conn, &about)?;
    let decide = |(job, facts): (&Ours<'_>, _)| {
        let request = &job.asked.request;
        if request.check_limits(&options.limits, None).is_err() {
            return Err(FailReason::LimitExceeded);
        }
        match plan(job.secrets, &request.recipients, facts) {
            Plan::Apply(chunk) => Ok(chunk),
            Plan::RequesterNotValid => Err(FailReason::RequesterNotValid),
        }
    };
    Ok(jobs.iter().zip(&facts).map(decide).collect())
}

/// Inserts queued jobs where their ids are not taken.
fn insert(tx: &mut Tx<'_>, asked: &[JobRequested], requests: &[StoredRequest]) -> Result<(), DbError> {
    let row = |(job, stored): (&JobRequested, &StoredRequest)| {
        let (request, trace) = (&job.request, job.traceparent.clone());
        json!([
            job.job_id,
            request.requested_by,
            stored.selection,
            stored.recipients,
            stored.digest,
            trace.unwrap_or_else(wire::new_traceparent),
            request.secrets_named(),
            request.recipients.len(),
            request.pairs(),
        ])
    };
    let rows: Vec<Value> = asked.iter().zip(requests).map(row).collect();
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
    ];
    let names = columns.map(|(name, _)| name).join(", ");
    // In one order, so that two workers that got the same jobs do not wait for each other in a circle.
    let sql = format!(
        "INSERT INTO jobs ({names}, run, state, has_snapshot, open_lanes, granted, upgraded, unchanged, \
         rejected, attempts, failures, requested_at, due_at, notice_due) \
         SELECT {names}, 1, 'queued', false, 0, 0, 0, 0, 0, 0, 0, $2, now_ms() + {FIRST_LOOK_MS}, false \
         FROM ({}) AS n WHERE true ORDER BY job_id ON CONFLICT DO NOTHING",
        tx.conn.each_row("$1", &columns),
    );
    let rows = Value::from(rows).to_string();
    statement(sql).bind::<Text, _>(rows).bind::<BigInt, _>(tx.now).execute(tx.conn)?;
    Ok(())
}
