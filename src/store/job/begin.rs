//! A request arrives: one transaction makes or finds the job's row, and begins it where it is time.
//!
//! What fits one chunk is planned, applied and finished here. What is larger gets its snapshot and
//! its lanes, with a step for each in the outbox.

use diesel::prelude::*;

use crate::contract;
use crate::contract::{JobRequested, Step, StoredRequest};
use crate::db::{DbError, Flow};
use crate::domain::event::EventKind;
use crate::domain::job::Move;
use crate::domain::plan::{Plan, plan};
use crate::domain::share::pairs_of;
use crate::domain::{Counts, FailReason, JobSnapshot, JobState, Limits, SecretId, Selection, ShareRequest};
use crate::store::clock;

use crate::store::job::insert;
use crate::store::job::insert::Fresh;
use crate::store::job::lanes::LaneOptions;
use crate::store::job::rejections::Rejected;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::job::selection;
use crate::store::job::snapshot;
use crate::store::job::{ending, lanes, rejections};
use crate::store::transact::{LOCKS_OF_WORK, Store};
use crate::store::tx::Tx;
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
    /// Makes or finds the job and begins it. A second delivery does nothing.
    ///
    /// # Errors
    /// Where the database fails. Nothing was done, or, if a commit's answer was lost, all of it:
    /// the next delivery finds out.
    pub async fn begin(&self, asked: JobRequested, options: BeginOptions) -> Result<Begun, DbError> {
        self.transact_soon(LOCKS_OF_WORK, move |tx| {
            let row = match make_or_find(tx, &asked)? {
                Found::Job(row) => row,
                Found::Nothing(why) => return Ok(Flow::Rollback(why)),
            };
            begin_row(tx, &row, &asked.request, &options).map(Flow::Commit)
        })
        .await
    }
}

/// What a request leads to.
pub(in crate::store) enum Found {
    Job(JobRow),
    Nothing(Begun),
}

/// The row of a job that is to begin now, locked.
pub(in crate::store) fn make_or_find(tx: &mut Tx<'_>, asked: &JobRequested) -> Result<Found, DbError> {
    let trace = asked.traceparent.clone().unwrap_or_else(contract::new_traceparent);
    let fresh = Fresh::by_message(asked, &trace);
    if let Some(key) = insert::insert(tx, &fresh)? {
        return row::lock(tx.conn, key).map(Found::Job);
    }
    let Some(row) = row::lock_by_id(tx.conn, asked.job_id)? else {
        // It was there a moment ago, and rows of jobs are not deleted while they run.
        return Err(DbError::Corrupt(format!("job {} came and went", asked.job_id)));
    };
    let row = insert::fill(tx.conn, row, &asked.request)?;
    if row.digest != Some(StoredRequest::of(&asked.request).digest) {
        return Ok(Found::Nothing(Begun::Conflict));
    }
    if row.state != JobState::Queued {
        return Ok(Found::Nothing(Begun::AlreadyBegun));
    }
    if let Some(not_before) = row.not_before
        && not_before > clock::now(tx.conn)?
    {
        return Ok(Found::Nothing(Begun::Waiting));
    }
    Ok(Found::Job(row))
}

fn begin_row(
    tx: &mut Tx<'_>,
    row: &JobRow,
    request: &ShareRequest,
    options: &BeginOptions,
) -> Result<Begun, DbError> {
    let nothing = Counts::default();
    let fail = |tx: &mut Tx<'_>, reason| ending::end(tx, row, Move::Fail(reason), nothing).map(Begun::Ended);
    set_started(tx, row)?;
    if request.check_limits(&options.limits, None).is_err() {
        return fail(tx, FailReason::LimitExceeded);
    }
    if !facts::requester_valid(tx.conn, request.requested_by)? {
        return fail(tx, FailReason::RequesterNotValid);
    }
    let secrets = resolve(tx, row, request, &options.limits)?;
    if request.check_limits(&options.limits, Some(secrets.len())).is_err() {
        return fail(tx, FailReason::LimitExceeded);
    }
    if secrets.is_empty() {
        return ending::end(tx, row, Move::Finish(nothing), nothing).map(Begun::Ended);
    }
    if pairs_of(secrets.len(), request.recipients.len()) <= options.chunk_pairs {
        begin_small(tx, row, request, &secrets)
    } else {
        begin_large(tx, row, request, &secrets, options)
    }
}

fn set_started(tx: &mut Tx<'_>, row: &JobRow) -> Result<(), DbError> {
    use crate::store::schema::jobs::dsl;
    // Never before it was asked for: after a failover, the clock is another server's.
    let now = tx.now()?.max(row.requested_at);
    diesel::update(dsl::jobs.filter(dsl::id.eq(row.key.get())))
        .set((dsl::started_at.eq(now), dsl::attempts.eq(0), dsl::not_before.eq(None::<i64>)))
        .execute(tx.conn)?;
    Ok(())
}

/// The job's secrets: as named, or what "all" stands for, resolved now if it has not been.
fn resolve(
    tx: &mut Tx<'_>,
    row: &JobRow,
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
            // Over a limit the job fails, and nobody reads the snapshot.
            if request.check_limits(limits, Some(ids.len())).is_ok() {
                selection::write_snapshot(tx.conn, row.key, &ids)?;
            }
            Ok(ids)
        }
    }
}

/// The lane number under which a job of one chunk keeps its rejections.
pub(in crate::store) const NO_LANE: i32 = 0;

fn begin_small(
    tx: &mut Tx<'_>,
    row: &JobRow,
    request: &ShareRequest,
    secrets: &[SecretId],
) -> Result<Begun, DbError> {
    let facts = facts::read(tx.conn, request.requested_by, secrets, &request.recipients)?;
    let chunk = match plan(secrets, &request.recipients, &facts) {
        Plan::Apply(chunk) => chunk,
        Plan::RequesterNotValid => {
            let step = Move::Fail(FailReason::RequesterNotValid);
            return ending::end(tx, row, step, Counts::default()).map(Begun::Ended);
        }
    };
    let now = tx.now()?;
    let counts = grants::apply(tx.conn, row.key, &chunk, now, false)?;
    let rejected = Rejected { job: row.key, lane: NO_LANE, lines: &chunk.rejections };
    rejections::add(tx.conn, &[rejected])?;
    tx.tally.pairs = counts;
    ending::end(tx, row, Move::Finish(counts), counts).map(Begun::Ended)
}

fn begin_large(
    tx: &mut Tx<'_>,
    row: &JobRow,
    request: &ShareRequest,
    secrets: &[SecretId],
    options: &BeginOptions,
) -> Result<Begun, DbError> {
    use crate::store::schema::jobs::dsl;
    if !matches!(request.selection, Selection::All(_)) {
        selection::write_snapshot(tx.conn, row.key, secrets)?;
    }
    let (state, _) = row.state.next(Move::Begin).map_err(|error| DbError::Corrupt(error.to_string()))?;
    let parts = lanes::divide(secrets.len(), options.lanes);
    diesel::update(dsl::jobs.filter(dsl::id.eq(row.key.get())))
        .set((
            dsl::state.eq(state.as_str()),
            dsl::open_lanes.eq(i32::try_from(parts.len()).unwrap_or(1)),
            dsl::due_at.eq(None::<i64>),
        ))
        .execute(tx.conn)?;
    for (lane, part) in (0_i32..).zip(parts) {
        lanes::insert(tx.conn, row.key, lane, part, &options.lane)?;
        let step = Step { job_id: row.job_id, run: row.run, lane, turn: 0 };
        tx.wake(row.key, &step, &row.traceparent);
    }
    let row = row::lock(tx.conn, row.key)?;
    let snapshot = snapshot::snapshot(tx.conn, &row)?;
    tx.emit(EventKind::Accepted, row.key, &snapshot, "", &row.traceparent)?;
    Ok(Begun::Started(snapshot))
}
