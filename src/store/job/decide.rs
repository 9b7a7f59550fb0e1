//! Decides what a request leads to: its pairs are applied at once, it fails, or it is divided into lanes.
//!
//! The decision itself is made in `domain`. This file reads the facts for it, for all small requests of a call
//! together.

use crate::contract::JobRequested;
use crate::db::{Conn, DbError};
use crate::domain::job::Move;
use crate::domain::plan::{ChunkPlan, Plan, plan};
use crate::domain::share::pairs_of;
use crate::domain::{Counts, FailReason, JobKind, JobState, Limits, SecretId, Selection, ShareRequest};
use crate::store::job::insert::ExpectedEnd;
use crate::store::job::row::JobRow;
use crate::store::job::selection;
use crate::store::tx::Tx;
use crate::store::vault::facts::Asked;
use crate::store::vault::{facts, secrets};

/// What a request leads to, once the facts about it are known.
pub(in crate::store) enum Decided {
    /// The job fits one chunk: its pairs are applied in this transaction, and then it ends.
    Apply(ChunkPlan),
    /// The job ends as failed in this transaction, because a limit is exceeded or its requester may not act.
    Fail(FailReason),
    /// The job is too large for one chunk: its lanes divide these secrets among them.
    Lanes(Vec<SecretId>),
}

impl Decided {
    /// How the job ends if none of its pairs is granted yet, as is so for most jobs. `None` if it does not end here.
    pub(in crate::store) fn expected(&self) -> Result<Option<ExpectedEnd>, DbError> {
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

/// Decides about the shares that name so few pairs that they fit one chunk. The answer is `None` for the others.
/// Those are decided after their row is locked ([`decide_with_row`]): reading their facts costs more, which a second
/// delivery need not pay, and the row may have the list of secrets that "all" was resolved to earlier.
pub(in crate::store) fn decide_small(
    conn: &mut Conn,
    asked: &[JobRequested],
    limits: &Limits,
    chunk_pairs: u64,
) -> Result<Vec<Option<Decided>>, DbError> {
    let small = |job: &&JobRequested| {
        job.request.kind == JobKind::Share && job.request.pairs().is_some_and(|pairs| pairs <= chunk_pairs)
    };
    let about: Vec<Asked<'_>> =
        asked.iter().filter(small).map(|job| about(&job.request, named(&job.request))).collect();
    let mut facts = facts::read(conn, &about)?.into_iter();
    let decide = |job: &JobRequested| {
        let facts = if small(&job) { facts.next()? } else { return None };
        if job.request.check_limits(limits, None).is_err() {
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

/// The secrets that a request names. The list is empty for a request about all secrets that match a filter.
fn named(request: &ShareRequest) -> &[SecretId] {
    match &request.selection {
        Selection::Ids(ids) => ids,
        Selection::All(_) => &[],
    }
}

/// Decides about a request whose text does not show that it is small: it names many pairs, or it is about all secrets
/// that match a filter, whose number is not known yet.
pub(in crate::store) fn decide_with_row(
    tx: &mut Tx<'_>,
    mut row: JobRow,
    request: &ShareRequest,
    limits: &Limits,
    chunk_pairs: u64,
) -> Result<(JobRow, Decided), DbError> {
    if request.check_limits(limits, None).is_err() {
        return Ok((row, Decided::Fail(FailReason::LimitExceeded)));
    }
    if !facts::requester_valid(tx.conn, request.requested_by)? {
        return Ok((row, Decided::Fail(FailReason::RequesterNotValid)));
    }
    let within = |secrets: &Vec<SecretId>| request.check_limits(limits, Some(secrets.len())).is_ok();
    let Some(secrets) = resolve(tx, &mut row, request, limits)?.filter(within) else {
        return Ok((row, Decided::Fail(FailReason::LimitExceeded)));
    };
    if request.kind == JobKind::Unshare {
        // A job that takes away always has lanes, however small it is: there is one way in which access is taken.
        let decided = match secrets.is_empty() {
            true => Decided::Fail(FailReason::NothingToUnshare),
            false => Decided::Lanes(secrets),
        };
        return Ok((row, decided));
    }
    if secrets.is_empty() {
        return Ok((row, Decided::Apply(ChunkPlan::default())));
    }
    if pairs_of(secrets.len(), request.recipients.len()) > chunk_pairs {
        return Ok((row, Decided::Lanes(secrets)));
    }
    let facts = facts::read(tx.conn, &[about(request, &secrets)])?.pop().unwrap_or_default();
    Ok((row, planned(plan(&secrets, &request.recipients, &facts))))
}

/// The secrets of the job: those that the request names, or those that match its filter. What matches is resolved only
/// once and kept with the job, so that a later attempt is about the same secrets. `None` if what matches exceeds a limit.
fn resolve(
    tx: &mut Tx<'_>,
    row: &mut JobRow,
    request: &ShareRequest,
    limits: &Limits,
) -> Result<Option<Vec<SecretId>>, DbError> {
    match &request.selection {
        Selection::Ids(ids) => Ok(Some(ids.clone())),
        Selection::All(_) if row.has_snapshot => {
            let total = row.secrets_total.and_then(|total| usize::try_from(total).ok()).unwrap_or(0);
            selection::read_snapshot(tx.conn, row.key, 0, total).map(Some)
        }
        Selection::All(filter) => {
            let found = secrets::shareable(tx.conn, request.requested_by, filter, limits.secrets)?;
            selection::set_totals(tx.conn, row.key, found.count, request.recipients.len())?;
            row.secrets_total = i32::try_from(found.count).ok();
            row.pairs = Some(pairs_of(found.count, request.recipients.len()));
            // A job that exceeds a limit fails at once, and nobody would read its list.
            if request.check_limits(limits, Some(found.count)).is_err() {
                return Ok(None);
            }
            selection::write_snapshot(tx.conn, row.key, &found.ids)?;
            Ok(Some(found.ids))
        }
    }
}
