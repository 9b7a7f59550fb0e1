//! Takes orders to share what a job left undone: one transaction makes a job of exactly these pairs, with its lanes and
//! their steps.
//!
//! The pairs are found by what is recorded of the job before, its parent, and "all" is not evaluated again. So nothing
//! comes back that the parent had shared and somebody has taken away since. The parent's row is locked first, so that
//! there is one such job at a time.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use crate::contract;
use crate::db::{Conn, DbError, Flow, statement};
use crate::domain::rest::Rest;
use crate::domain::share::OverLimit;
use crate::domain::{
    Actor, JobId, JobKey, JobKind, JobSnapshot, JobState, Limits, PrincipalId, RejectReason,
};
use crate::store::audit::entry::Entry;
use crate::store::audit::write as audit;
use crate::store::codes::{id, stored};
use crate::store::job::asked::Allowance;
use crate::store::job::begin::BeginOptions;
use crate::store::job::row::{JobColumns, JobRow};
use crate::store::job::submit::unfinished;
use crate::store::job::{left, parts, row, selection, snapshot, start, undo};
use crate::store::schema::jobs as table;
use crate::store::transact::{LOCKS_OF_WORK, Store};
use crate::store::tx::Tx;

/// An order to share what a job left undone.
#[derive(Debug, Clone)]
pub struct RestOrder {
    pub parent: JobId,
    /// The person who asks, and who may do so for their own jobs only. `None` is the operator, who may for every job: it
    /// is done with the rights of the job's requester all the same.
    pub by: Option<PrincipalId>,
    /// Of the rejected pairs only those with one of these reasons. If it is empty, all of them.
    pub reasons: BTreeSet<RejectReason>,
    /// As in [`crate::store::Submission`].
    pub idempotency_key: Option<String>,
    /// The W3C trace context of the caller. If there is none, a new trace is begun.
    pub traceparent: Option<String>,
}

/// How much may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct RestLimits {
    pub allowance: Allowance,
    /// The most jobs of a person that have not ended.
    pub unfinished: i64,
}

/// What became of such an order. Except for [`RestOrdered::Accepted`], nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestOrdered {
    /// The job was made and is running. `bytes` is what it counts for in the [`Allowance`].
    Accepted {
        job: JobSnapshot,
        bytes: u64,
    },
    /// The person ordered the same with the same key before, or the same job is still running. This is that job, as it
    /// is now.
    Repeated(JobSnapshot),
    /// The person used the same key before, for something else.
    KeyConflict,
    /// There is no such job, or it is the job of somebody else.
    UnknownJob,
    /// As in [`crate::store::Submitted`].
    TooManyUnfinished {
        limit: i64,
    },
    OverLimit(OverLimit),
    OverAllowance {
        what: &'static str,
    },
    Refused(NoRest),
}

/// Why what a job left undone is not shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRest {
    #[error("only a share has a rest that can be shared")]
    NotAShare,
    #[error("the job has not ended: it is {0}")]
    NotEnded(JobState),
    #[error("the job is undone: share again instead")]
    Undone,
    #[error("the job {0} shares another part of it and has not ended")]
    Running(JobId),
    #[error("{} jobs have shared what it left: share again instead", left::MOST_RESTS)]
    TooMany,
    /// It never came to know its secrets, or a program of an older release worked on it.
    #[error("it is not recorded which pairs the job left: share again instead")]
    NotRecorded,
    #[error("the job left nothing that could be shared now")]
    Nothing,
}

/// The values of the row of a new job.
struct NewRest<'a> {
    job_id: JobId,
    requested_by: PrincipalId,
    digest: String,
    idempotency_key: Option<&'a str>,
    traceparent: String,
}

impl Store {
    /// Makes a job of the pairs that a job left undone and starts it, in one transaction.
    ///
    /// # Errors
    /// An error of the database. No job was made, unless the answer to the commit was lost: whoever sends the same order
    /// again finds the job as long as it runs, and with an idempotency key always.
    pub async fn share_rest(
        &self,
        order: RestOrder,
        options: BeginOptions,
        limits: RestLimits,
    ) -> Result<RestOrdered, DbError> {
        self.transact_soon(LOCKS_OF_WORK, move |tx| share_rest(tx, &order, &options, limits)).await
    }
}

fn share_rest(
    tx: &mut Tx<'_>,
    order: &RestOrder,
    options: &BeginOptions,
    limits: RestLimits,
) -> Result<Flow<RestOrdered>, DbError> {
    let found = row::lock_by_id(tx.conn, order.parent)?;
    let Some(parent) = found.filter(|parent| order.by.is_none_or(|by| parent.requested_by == by)) else {
        return Ok(Flow::Rollback(RestOrdered::UnknownJob));
    };
    let new = NewRest {
        job_id: JobId::generate(),
        requested_by: parent.requested_by,
        digest: contract::rest_digest(parent.requested_by, parent.job_id, &order.reasons),
        idempotency_key: order.idempotency_key.as_deref(),
        traceparent: order.traceparent.clone().unwrap_or_else(contract::new_traceparent),
    };
    if let Some(found) = of_key(tx.conn, &new)? {
        return Ok(Flow::Rollback(found));
    }
    let rest = match find(tx.conn, &parent, &new.digest, &order.reasons)? {
        Ok(rest) => rest,
        Err(answer) => return Ok(Flow::Rollback(answer)),
    };
    let recipients = contract::rest_recipients(&rest.recipients);
    let bytes = recipients.len() as u64;
    if let Some(over) = over(&rest, bytes, &options.limits, limits.allowance) {
        return Ok(Flow::Rollback(over));
    }
    let Some(key) = insert(tx, &new, &parent, &rest, &recipients)? else {
        // The key was used for another job a moment ago. Without a key, the id of another job came twice.
        if new.idempotency_key.is_none() {
            return Err(DbError::Corrupt("the id of a new job is taken".to_owned()));
        }
        return Ok(Flow::Rollback(RestOrdered::KeyConflict));
    };
    let limit = limits.unfinished;
    if unfinished(tx.conn, new.requested_by)? > limit {
        return Ok(Flow::Rollback(RestOrdered::TooManyUnfinished { limit }));
    }
    let by = order.by.map_or(Actor::Operator, Actor::Person);
    audit::write(tx.conn, &Entry::RestShared { job: parent.job_id, rest: new.job_id, by })?;
    selection::write_snapshot(tx.conn, key, &rest.secrets)?;
    parts::write(tx.conn, key, &rest.parts)?;
    let chunks = rest.pairs.div_ceil(options.chunk_pairs.max(1)).max(1);
    let lanes = options.lanes.min(u32::try_from(chunks).unwrap_or(u32::MAX));
    let row = row::read(tx.conn, key)?;
    let job = start::start(tx, &row, start::divide(rest.secrets.len(), lanes), &options.lane)?;
    Ok(Flow::Commit(RestOrdered::Accepted { job, bytes }))
}

/// The answer to an order with a key that the person used before. `None` if the key is new, or if there is none.
fn of_key(conn: &mut Conn, new: &NewRest<'_>) -> Result<Option<RestOrdered>, DbError> {
    let Some(key) = new.idempotency_key else { return Ok(None) };
    let found: Option<JobColumns> = table::table
        .filter(table::requested_by.eq(new.requested_by.get()))
        .filter(table::idempotency_key.eq(key))
        .select(JobColumns::as_select())
        .first(conn)
        .optional()?;
    let Some(found) = found.map(JobRow::try_from).transpose()? else { return Ok(None) };
    Ok(Some(match found.digest.as_deref() == Some(&new.digest) {
        true => RestOrdered::Repeated(snapshot::snapshot(conn, &found)?),
        false => RestOrdered::KeyConflict,
    }))
}

/// The pairs that this job, which the caller has locked, left undone; or the answer that says why they are not shared.
fn find(
    conn: &mut Conn,
    parent: &JobRow,
    digest: &str,
    reasons: &BTreeSet<RejectReason>,
) -> Result<Result<Rest, RestOrdered>, DbError> {
    let refused = |why| Ok(Err(RestOrdered::Refused(why)));
    if parent.kind != JobKind::Share {
        return refused(NoRest::NotAShare);
    }
    if !parent.state.is_terminal() {
        return refused(NoRest::NotEnded(parent.state));
    }
    if undo::is_undone(conn, parent)? {
        return refused(NoRest::Undone);
    }
    let rests = left::rests(conn, parent.job_id)?;
    if let Some(running) = rests.iter().find(|job| !job.state.is_terminal()) {
        return match running.digest.as_deref() == Some(digest) {
            true => Ok(Err(RestOrdered::Repeated(snapshot::snapshot(conn, running)?))),
            false => refused(NoRest::Running(running.job_id)),
        };
    }
    if rests.len() > left::MOST_RESTS {
        return refused(NoRest::TooMany);
    }
    match left::left(conn, parent, reasons, &rests)? {
        None => refused(NoRest::NotRecorded),
        Some(rest) if rest.pairs == 0 => refused(NoRest::Nothing),
        Some(rest) => Ok(Ok(rest)),
    }
}

/// The limit that the pairs are over, if there is one: their job may have failed because it was too large.
fn over(rest: &Rest, bytes: u64, limits: &Limits, allowance: Allowance) -> Option<RestOrdered> {
    let sizes = [
        ("secrets", rest.secrets.len() as u64, limits.secrets as u64),
        ("recipients", rest.recipients.len() as u64, limits.recipients as u64),
        ("pairs", rest.pairs, limits.pairs),
    ];
    if let Some((what, count, limit)) = sizes.into_iter().find(|(_, count, limit)| count > limit) {
        return Some(RestOrdered::OverLimit(OverLimit { what, count, limit }));
    }
    let left = [("pairs", rest.pairs, allowance.pairs), ("bytes", bytes, allowance.bytes)];
    let (what, ..) = left.into_iter().find(|(_, count, left)| count > left)?;
    Some(RestOrdered::OverAllowance { what })
}

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Inserts the row of a new job. Its recipients are kept in a form that a program of the release before refuses to read,
/// since that would take the job for a rectangle. It has the note and the end of its parent. `None` if its id or its key
/// is taken.
const INSERT: &str = "INSERT INTO jobs (job_id, kind, parent, requested_by, recipients, digest, idempotency_key, \
    traceparent, secrets_total, recipients_total, pairs, state, asked_here, run, has_snapshot, open_lanes, granted, \
    upgraded, unchanged, rejected, attempts, failures, requested_at, notice_due, ledger, note, expires_at) \
    SELECT $1, 'share', job_id, requested_by, $2, $3, $4, $5, $6, $7, $8, \
    'queued', true, 1, false, 0, 0, 0, 0, 0, 0, 0, $9, false, false, note, expires_at FROM jobs WHERE id = $10 \
    ON CONFLICT DO NOTHING RETURNING id";

fn insert(
    tx: &mut Tx<'_>,
    new: &NewRest<'_>,
    parent: &JobRow,
    rest: &Rest,
    recipients: &str,
) -> Result<Option<JobKey>, DbError> {
    let now = tx.now()?;
    let total = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let inserted: Option<Key> = statement(INSERT)
        .bind::<Text, _>(new.job_id.to_string())
        .bind::<Text, _>(recipients)
        .bind::<Text, _>(&new.digest)
        .bind::<Nullable<Text>, _>(new.idempotency_key)
        .bind::<Text, _>(&new.traceparent)
        .bind::<Integer, _>(total(rest.secrets.len()))
        .bind::<Integer, _>(total(rest.recipients.len()))
        .bind::<BigInt, _>(stored(rest.pairs))
        .bind::<BigInt, _>(now)
        .bind::<BigInt, _>(parent.key.get())
        .get_result(tx.conn)
        .optional()?;
    inserted.map(|row| id(row.id)).transpose()
}
