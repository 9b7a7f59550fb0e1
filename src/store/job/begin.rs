//! Requests arrive: one transaction makes or finds the rows of their jobs and begins them.
//!
//! What fits one chunk is planned, applied and ended here, each statement for all jobs of the call: one job is a batch
//! of one. What is larger gets the list of its secrets and its lanes, with a step for each in the outbox.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::contract;
use crate::contract::{JobRequested, Step, StoredRequest};
use crate::db::{Conn, DbError, Flow};
use crate::domain::event::EventKind;
use crate::domain::job::Move;
use crate::domain::plan::{ChunkPlan, Plan, plan};
use crate::domain::share::pairs_of;
use crate::domain::{
    Counts, FailReason, JobId, JobKey, JobSnapshot, JobState, Limits, SecretId, Selection, ShareRequest,
};
use crate::store::job::ending::{Ending, Report};
use crate::store::job::insert::{ExpectedEnd, NewJob};
use crate::store::job::lanes::LaneOptions;
use crate::store::job::rejections::Rejected;
use crate::store::job::row::JobRow;
use crate::store::job::{ending, insert, lanes, rejections, row, selection, snapshot};
use crate::store::transact::{LOCKS_OF_MANY, LOCKS_OF_WORK, Store};
use crate::store::tx::Tx;
use crate::store::vault::facts::Asked;
use crate::store::vault::{facts, grants, secrets};

/// What begin needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct BeginOptions {
    pub limits: Limits,
    /// Pairs applied in one transaction.
    pub chunk_pairs: u64,
    /// Lanes of a large job.
    pub lanes: u32,
    pub lane: LaneOptions,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It was small: it has ended.
    Ended(JobSnapshot),
    /// It is large: its lanes were woken.
    Started(JobSnapshot),
    /// It had begun or ended before: a second delivery, nothing to do.
    AlreadyBegun,
    /// It waits for another try, which due work will ask for.
    Waiting,
    /// The job of that id was asked for with other content. It is not touched.
    Conflict,
}

impl Store {
    /// Makes or finds the jobs of these requests and begins them, in one transaction. A second delivery does nothing.
    /// No two of them may touch each other ([`crate::domain::together`]), so that each ends as it would have by
    /// itself, in their order.
    ///
    /// The answers are in the order of the requests. Of several, `None` is one whose row somebody else holds: nothing
    /// was done about it, and it is to be begun by itself. A single one waits for whoever holds its row.
    ///
    /// # Errors
    /// Where the database fails, for all of them. Nothing was done, or, if a commit's answer was lost, all of it: the
    /// next delivery finds out.
    pub async fn begin(
        &self,
        mut asked: Vec<JobRequested>,
        options: BeginOptions,
    ) -> Result<Vec<Option<Begun>>, DbError> {
        for request in &mut asked {
            request.traceparent.get_or_insert_with(contract::new_traceparent);
        }
        let locks = if asked.len() > 1 { LOCKS_OF_MANY } else { LOCKS_OF_WORK };
        self.transact_soon(locks, move |tx| begin(tx, &asked, &options).map(Flow::Commit)).await
    }

    /// The same for a single request, which always has an answer.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn begin_one(&self, asked: JobRequested, options: BeginOptions) -> Result<Begun, DbError> {
        let job = asked.job_id;
        let begun = self.begin(vec![asked], options).await?.pop().flatten();
        begun.ok_or_else(|| DbError::Corrupt(format!("job {job} was not found")))
    }
}

fn begin(
    tx: &mut Tx<'_>,
    asked: &[JobRequested],
    options: &BeginOptions,
) -> Result<Vec<Option<Begun>>, DbError> {
    let decided = decide_small(tx.conn, asked, options)?;
    let found = find(tx, asked, &decided)?;
    let mut answers: Vec<Option<Begun>> = asked.iter().map(|_| None).collect();
    let mut ready = Vec::with_capacity(asked.len());
    for (place, ((found, decided), asked)) in found.into_iter().zip(decided).zip(asked).enumerate() {
        let (row, expected) = match found {
            Found::Job { row, expected } => (row, expected),
            Found::Nothing(why) => {
                answers[place] = Some(why);
                continue;
            }
            Found::Held => continue,
        };
        let (row, decided) = match decided {
            Some(decided) => (row, decided),
            None => decide_with_row(tx, row, &asked.request, options)?,
        };
        match decided {
            Decided::Lanes(secrets) => {
                answers[place] = Some(Begun::Started(start_lanes(tx, row, asked, &secrets, options)?));
            }
            Decided::Apply(plan) => ready.push((place, Ready { row, outcome: Ok(plan), expected })),
            Decided::Fail(reason) => ready.push((place, Ready { row, outcome: Err(reason), expected })),
        }
    }
    let (places, ready): (Vec<usize>, Vec<Ready>) = ready.into_iter().unzip();
    for (place, ended) in places.into_iter().zip(apply_and_end(tx, ready)?) {
        answers[place] = Some(Begun::Ended(ended));
    }
    Ok(answers)
}

/// What becomes of a job.
enum Decided {
    /// It is small enough: its pairs are applied now.
    Apply(ChunkPlan),
    Fail(FailReason),
    /// It is divided into lanes, over these secrets.
    Lanes(Vec<SecretId>),
}

impl Decided {
    /// How the job will have ended if none of its pairs is there yet, as of most.
    fn expected(&self) -> Result<Option<ExpectedEnd>, DbError> {
        let (counts, rejections_total, step) = match self {
            Self::Apply(plan) => {
                let counts = Counts {
                    granted: plan.pairs_to_apply(),
                    upgraded: 0,
                    unchanged: plan.owners.len() as u64,
                    rejected: plan.rejected(),
                };
                (counts, plan.rejections.len(), Move::Finish(counts))
            }
            Self::Fail(reason) => (Counts::default(), 0, Move::Fail(*reason)),
            Self::Lanes(_) => return Ok(None),
        };
        let (state, reason) =
            JobState::Queued.next(step).map_err(|error| DbError::Corrupt(error.to_string()))?;
        Ok(Some(ExpectedEnd { state, reason, counts, rejections_total }))
    }
}

/// Decides what becomes of the requests that name so few pairs that they fit one chunk. `None` for the others: what
/// they are about is not looked up before their row is there, since it costs more, and "all" may be resolved already.
fn decide_small(
    conn: &mut Conn,
    asked: &[JobRequested],
    options: &BeginOptions,
) -> Result<Vec<Option<Decided>>, DbError> {
    let small = |job: &&JobRequested| job.request.pairs().is_some_and(|pairs| pairs <= options.chunk_pairs);
    let about: Vec<Asked<'_>> =
        asked.iter().filter(small).map(|job| about(&job.request, named(&job.request))).collect();
    let mut facts = facts::read(conn, &about)?.into_iter();
    let decide = |job: &JobRequested| {
        let facts = if small(&job) { facts.next()? } else { return None };
        if job.request.check_limits(&options.limits, None).is_err() {
            return Some(Decided::Fail(FailReason::LimitExceeded));
        }
        Some(planned(plan(named(&job.request), &job.request.recipients, &facts)))
    };
    Ok(asked.iter().map(decide).collect())
}

fn planned(plan: Plan) -> Decided {
    match plan {
        Plan::Apply(chunk) => Decided::Apply(chunk),
        Plan::RequesterNotValid => Decided::Fail(FailReason::RequesterNotValid),
    }
}

fn about<'a>(request: &'a ShareRequest, secrets: &'a [SecretId]) -> Asked<'a> {
    Asked { requester: request.requested_by, secrets, recipients: &request.recipients }
}

/// The secrets that a request names. None where it is about all that match.
fn named(request: &ShareRequest) -> &[SecretId] {
    match &request.selection {
        Selection::Ids(ids) => ids,
        Selection::All(_) => &[],
    }
}

/// What a request leads to.
enum Found {
    /// The job is to begin now. Its row is locked, or was made here and says already that the job ended as expected.
    Job {
        row: JobRow,
        expected: Option<ExpectedEnd>,
    },
    Nothing(Begun),
    /// Somebody else holds its row.
    Held,
}

/// Makes the rows of jobs that are new, and finds and locks the others.
fn find(tx: &mut Tx<'_>, asked: &[JobRequested], decided: &[Option<Decided>]) -> Result<Vec<Found>, DbError> {
    let kept: Vec<StoredRequest> = asked.iter().map(|asked| StoredRequest::of(&asked.request)).collect();
    let mut new = Vec::with_capacity(asked.len());
    for ((asked, kept), decided) in asked.iter().zip(&kept).zip(decided) {
        let expected_end = decided.as_ref().map_or(Ok(None), Decided::expected)?;
        new.push(NewJob {
            job_id: asked.job_id,
            requested_by: asked.request.requested_by,
            request: Some((&asked.request, kept)),
            idempotency_key: None,
            traceparent: asked.traceparent.as_deref().unwrap_or_default(),
            asked_here: false,
            expected_end,
        });
    }
    let keys = insert::insert(tx, &new)?;
    let mut others = lock_others(tx, asked, &keys)?;
    let expected: Vec<Option<ExpectedEnd>> = new.into_iter().map(|job| job.expected_end).collect();
    let now = tx.now()?;
    let mut found = Vec::with_capacity(asked.len());
    for ((asked, kept), expected) in asked.iter().zip(&kept).zip(expected) {
        found.push(match (keys.get(&asked.job_id), others.remove(&asked.job_id)) {
            (Some(key), _) => Found::Job { row: JobRow::queued(*key, asked, &kept.digest, now), expected },
            (None, Some(row)) => to_begin(tx.conn, row, asked, &kept.digest, now)?,
            (None, None) => Found::Held,
        });
    }
    Ok(found)
}

/// Locks the jobs that were there already. Of several, those that somebody holds are left out; a single one is waited
/// for.
fn lock_others(
    tx: &mut Tx<'_>,
    asked: &[JobRequested],
    new: &HashMap<JobId, JobKey>,
) -> Result<HashMap<JobId, JobRow>, DbError> {
    let others: Vec<JobId> =
        asked.iter().map(|asked| asked.job_id).filter(|id| !new.contains_key(id)).collect();
    let rows = match (others.as_slice(), asked) {
        ([], _) => Vec::new(),
        ([job], [_]) => {
            // It was there a moment ago, and rows of jobs are not deleted while they run.
            let gone = || DbError::Corrupt(format!("job {job} came and went"));
            vec![row::lock_by_id(tx.conn, *job)?.ok_or_else(gone)?]
        }
        _ => row::lock_free(tx, others)?,
    };
    Ok(rows.into_iter().map(|row| (row.job_id, row)).collect())
}

/// Whether a job that was there is to begin now. Its row is locked.
fn to_begin(
    conn: &mut Conn,
    row: JobRow,
    asked: &JobRequested,
    digest: &str,
    now: i64,
) -> Result<Found, DbError> {
    let row = insert::fill(conn, row, &asked.request)?;
    Ok(if row.digest.as_deref() != Some(digest) {
        Found::Nothing(Begun::Conflict)
    } else if row.state != JobState::Queued {
        Found::Nothing(Begun::AlreadyBegun)
    } else if row.not_before.is_some_and(|not_before| not_before > now) {
        Found::Nothing(Begun::Waiting)
    } else {
        Found::Job { row, expected: None }
    })
}

/// The row of a job that is to begin, locked and made where it is missing: what a failure to begin is recorded on.
/// The answer to give where it is not to begin.
pub(in crate::store) fn make_or_find(
    tx: &mut Tx<'_>,
    asked: &JobRequested,
) -> Result<Result<JobRow, Begun>, DbError> {
    match find(tx, std::slice::from_ref(asked), &[None])?.pop() {
        Some(Found::Job { row, .. }) => Ok(Ok(row)),
        Some(Found::Nothing(why)) => Ok(Err(why)),
        // A single one is waited for.
        Some(Found::Held) | None => Err(DbError::Corrupt(format!("job {} was not found", asked.job_id))),
    }
}

/// Decides about a request that is not small by its words: it names many pairs, or it is about all that match.
fn decide_with_row(
    tx: &mut Tx<'_>,
    mut row: JobRow,
    request: &ShareRequest,
    options: &BeginOptions,
) -> Result<(JobRow, Decided), DbError> {
    if request.check_limits(&options.limits, None).is_err() {
        return Ok((row, Decided::Fail(FailReason::LimitExceeded)));
    }
    if !facts::requester_valid(tx.conn, request.requested_by)? {
        return Ok((row, Decided::Fail(FailReason::RequesterNotValid)));
    }
    let secrets = resolve(tx, &mut row, request, &options.limits)?;
    if request.check_limits(&options.limits, Some(secrets.len())).is_err() {
        return Ok((row, Decided::Fail(FailReason::LimitExceeded)));
    }
    if secrets.is_empty() {
        return Ok((row, Decided::Apply(ChunkPlan::default())));
    }
    if pairs_of(secrets.len(), request.recipients.len()) > options.chunk_pairs {
        return Ok((row, Decided::Lanes(secrets)));
    }
    let facts = facts::read(tx.conn, &[about(request, &secrets)])?.pop().unwrap_or_default();
    Ok((row, planned(plan(&secrets, &request.recipients, &facts))))
}

/// The job's secrets: as named, or what "all" stands for, resolved now if it has not been.
fn resolve(
    tx: &mut Tx<'_>,
    row: &mut JobRow,
    request: &ShareRequest,
    limits: &Limits,
) -> Result<Vec<SecretId>, DbError> {
    match &request.selection {
        Selection::Ids(ids) => Ok(ids.clone()),
        Selection::All(_) if row.has_snapshot => {
            let total = row.secrets_total.and_then(|total| usize::try_from(total).ok()).unwrap_or(0);
            selection::read_snapshot(tx.conn, row.key, 0, total)
        }
        Selection::All(filter) => {
            let ids = secrets::shareable_ids(tx.conn, request.requested_by, filter)?;
            selection::set_totals(tx.conn, row.key, ids.len(), request.recipients.len())?;
            row.secrets_total = i32::try_from(ids.len()).ok();
            row.pairs = Some(pairs_of(ids.len(), request.recipients.len()));
            // Over a limit the job fails, and nobody reads the list.
            if request.check_limits(limits, Some(ids.len())).is_ok() {
                selection::write_snapshot(tx.conn, row.key, &ids)?;
            }
            Ok(ids)
        }
    }
}

/// A job that ends in this transaction.
struct Ready {
    row: JobRow,
    outcome: Result<ChunkPlan, FailReason>,
    /// How its row says already that it ended.
    expected: Option<ExpectedEnd>,
}

/// The lane number under which a job of one chunk keeps its rejections.
const NO_LANE: i32 = 0;

/// Applies the plans and ends the jobs. The answers are in their order.
fn apply_and_end(tx: &mut Tx<'_>, ready: Vec<Ready>) -> Result<Vec<JobSnapshot>, DbError> {
    let plans: Vec<(JobKey, &ChunkPlan)> =
        ready.iter().filter_map(|job| Some((job.row.key, job.outcome.as_ref().ok()?))).collect();
    let now = tx.now()?;
    let mut counts = grants::apply(tx.conn, &plans, now, false)?.into_iter();
    let rejected: Vec<Rejected<'_>> = plans
        .iter()
        .map(|(job, plan)| Rejected { job: *job, lane: NO_LANE, lines: &plan.rejections })
        .collect();
    rejections::add(tx.conn, &rejected)?;
    let mut endings = Vec::with_capacity(ready.len());
    for Ready { row, outcome, expected } in ready {
        let (step, counts, lines) = match outcome {
            Ok(plan) => {
                let counts = counts.next().unwrap_or_default();
                (Move::Finish(counts), counts, plan.rejections)
            }
            Err(reason) => (Move::Fail(reason), Counts::default(), Vec::new()),
        };
        tx.tally.pairs = tx.tally.pairs + counts;
        let written = expected.is_some_and(|expected| expected.counts == counts);
        endings.push(Ending { row, step, counts, report: Report::Whole(lines), begins: true, written });
    }
    ending::end(tx, endings)
}

/// Starts a large job: its list of secrets, its lanes, and what wakes them.
fn start_lanes(
    tx: &mut Tx<'_>,
    row: JobRow,
    asked: &JobRequested,
    secrets: &[SecretId],
    options: &BeginOptions,
) -> Result<JobSnapshot, DbError> {
    use crate::store::schema::jobs::dsl;
    if !matches!(asked.request.selection, Selection::All(_)) {
        selection::write_snapshot(tx.conn, row.key, secrets)?;
    }
    let (state, _) = row.state.next(Move::Begin).map_err(|error| DbError::Corrupt(error.to_string()))?;
    let parts = lanes::divide(secrets.len(), options.lanes);
    // Never before it was asked for: after a failover, the clock is another server's.
    let started_at = tx.now()?.max(row.requested_at);
    diesel::update(dsl::jobs.filter(dsl::id.eq(row.key.get())))
        .set((
            dsl::state.eq(state.as_str()),
            dsl::started_at.eq(started_at),
            dsl::open_lanes.eq(i32::try_from(parts.len()).unwrap_or(1)),
            dsl::attempts.eq(0),
            dsl::not_before.eq(None::<i64>),
            dsl::due_at.eq(None::<i64>),
        ))
        .execute(tx.conn)?;
    for (lane, part) in (0_i32..).zip(parts) {
        lanes::insert(tx.conn, row.key, lane, part, &options.lane)?;
        let step = Step { job_id: row.job_id, run: row.run, lane, turn: 0 };
        tx.wake(row.key, &step, &row.traceparent);
    }
    let row = row::read(tx.conn, row.key)?;
    let snapshot = snapshot::snapshot(tx.conn, &row)?;
    tx.emit(EventKind::Accepted, row.key, &snapshot, "", &row.traceparent)?;
    Ok(snapshot)
}
