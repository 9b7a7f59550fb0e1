//! Takes orders to undo a job: one transaction makes a job of the kind undo, with its lanes and their steps.
//!
//! An undo never waits behind the queue of requests: it is written with its lanes, as a large share is when it begins. It
//! is about the list of secrets and the recipients of the job that it takes back, its parent, so that "all" is not
//! evaluated again. The parent's row is locked first, so a job has one undo at a time.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::contract;
use crate::db::{Conn, DbError, Flow, statement};
use crate::domain::job::Move;
use crate::domain::{
    Actor, FailReason, JobId, JobKey, JobKind, JobSnapshot, JobState, PrincipalId, Selection,
};
use crate::store::audit::entry::Entry;
use crate::store::audit::write as audit;
use crate::store::codes::id;
use crate::store::job::begin::BeginOptions;
use crate::store::job::ending::Done;
use crate::store::job::row::{JobColumns, JobRow};
use crate::store::job::{ending, ledger, row, selection, snapshot, start};
use crate::store::schema::jobs as table;
use crate::store::transact::{LOCKS_OF_WORK, Store};
use crate::store::tx::Tx;
use crate::store::vault::claims::NOT_UNDONE;

/// An order to undo a job, over HTTP or from the command line.
#[derive(Debug, Clone)]
pub struct UndoOrder {
    /// The job to undo.
    pub parent: JobId,
    pub by: UndoBy,
    /// As in [`crate::store::Submission`].
    pub idempotency_key: Option<String>,
    /// The W3C trace context of the caller. If there is none, a new trace is begun.
    pub traceparent: Option<String>,
}

/// Who orders an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoBy {
    /// A person, who may undo their own jobs only.
    Person(PrincipalId),
    /// The operator, who may undo every job. It is done with the rights of the job's requester, or, if `unchecked`,
    /// without looking at any right.
    Operator { unchecked: bool },
}

/// What became of an order to undo a job. Except for [`UndoOrdered::Accepted`], nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoOrdered {
    /// The undo was made and is running.
    Accepted(JobSnapshot),
    /// The person ordered the same undo with the same key before. This is that undo, as it is now.
    Repeated(JobSnapshot),
    /// The person used the same key before, for something else.
    KeyConflict,
    /// There is no such job, or it is the job of somebody else.
    UnknownJob,
    Refused(NotUndone),
}

/// Why a job is not undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotUndone {
    #[error("the job has not ended: it is {0}")]
    NotEnded(JobState),
    #[error("the job gave nothing, and nobody was told that it did")]
    Nothing,
    #[error("only a share can be undone")]
    NotUndoable,
    #[error("the job {0} undoes it, or has undone it")]
    Already(JobId),
    /// Claims of jobs that the release before worked on are still to be written.
    #[error("{}", ledger::NOT_READY)]
    NotReady,
}

impl NotUndone {
    /// The reason with which an undo that came by message fails. `None` if the message is to be tried again later.
    fn fails(self) -> Option<FailReason> {
        match self {
            Self::NotEnded(_) => Some(FailReason::JobNotEnded),
            Self::Nothing => Some(FailReason::NothingToUndo),
            Self::NotUndoable => Some(FailReason::NotUndoable),
            Self::Already(_) => Some(FailReason::AlreadyUndone),
            Self::NotReady => None,
        }
    }
}

/// What became of an order to undo a job that came by message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ordered {
    /// There is a job for this order: it runs, or it has failed at once because the job cannot be undone. A second
    /// delivery of the order finds the job and changes nothing.
    Done,
    /// The job to undo is not there, or is the job of somebody else. It may still be on its way, so the caller tries
    /// again later.
    UnknownJob,
    /// A job with the id of this order exists, and it was requested with other content. Nothing was done. The caller
    /// makes a dead letter of the order.
    Conflict,
    /// Nothing can be undone yet, for the reason of [`NotUndone::NotReady`]. The caller tries again later.
    NotReady,
}

/// The values of the row of a new undo.
struct NewUndo<'a> {
    job_id: JobId,
    requested_by: PrincipalId,
    as_operator: bool,
    idempotency_key: Option<&'a str>,
    traceparent: &'a str,
}

impl Store {
    /// Makes the undo of a job and starts it, in one transaction.
    ///
    /// # Errors
    /// An error of the database. No undo was made, unless the answer to the commit was lost: with an idempotency key
    /// the caller can send the same order again, and then finds the undo or makes it.
    pub async fn undo(&self, order: UndoOrder, options: BeginOptions) -> Result<UndoOrdered, DbError> {
        self.transact_soon(LOCKS_OF_WORK, move |tx| {
            let UndoOrder { parent, by, idempotency_key, traceparent } = order;
            let Some(parent) = row::lock_by_id(tx.conn, parent)?.filter(|parent| may_order(parent, by))
            else {
                return Ok(Flow::Rollback(UndoOrdered::UnknownJob));
            };
            let traceparent = traceparent.unwrap_or_else(contract::new_traceparent);
            let new = NewUndo {
                job_id: JobId::generate(),
                requested_by: parent.requested_by,
                as_operator: by == UndoBy::Operator { unchecked: true },
                idempotency_key: idempotency_key.as_deref(),
                traceparent: &traceparent,
            };
            if let Some(found) = of_key(tx.conn, &new, &parent)? {
                return Ok(Flow::Rollback(found));
            }
            if let Some(why) = refusal(tx.conn, &parent)? {
                return Ok(Flow::Rollback(UndoOrdered::Refused(why)));
            }
            let Some(key) = insert(tx, &new, &parent)? else {
                // The key was used for another job a moment ago. Without a key, the id of another job came twice.
                if new.idempotency_key.is_none() {
                    return Err(DbError::Corrupt("the id of a new undo is taken".to_owned()));
                }
                return Ok(Flow::Rollback(UndoOrdered::KeyConflict));
            };
            let actor = match by {
                UndoBy::Person(person) => Actor::Person(person),
                UndoBy::Operator { .. } => Actor::Operator,
            };
            Ok(Flow::Commit(UndoOrdered::Accepted(begin(tx, key, &parent, actor, &options)?)))
        })
        .await
    }

    /// Does what [`Store::undo`] does for an order that came by message and whose id is that of the undo. If the job
    /// cannot be undone, the undo is made all the same and fails at once, so that its requester is told.
    pub async fn order_undo(
        &self,
        undo: JobId,
        parent: JobId,
        requested_by: PrincipalId,
        traceparent: Option<String>,
        options: BeginOptions,
    ) -> Result<Ordered, DbError> {
        self.transact_soon(LOCKS_OF_WORK, move |tx| {
            let by = UndoBy::Person(requested_by);
            let Some(parent) = row::lock_by_id(tx.conn, parent)?.filter(|parent| may_order(parent, by))
            else {
                return Ok(Flow::Rollback(Ordered::UnknownJob));
            };
            let traceparent = traceparent.unwrap_or_else(contract::new_traceparent);
            let new = NewUndo {
                job_id: undo,
                requested_by,
                as_operator: false,
                idempotency_key: None,
                traceparent: &traceparent,
            };
            if let Some(found) = row::find(tx.conn, undo)? {
                return Ok(Flow::Rollback(same(&found, &new, &parent)));
            }
            let refused = refusal(tx.conn, &parent)?;
            if refused == Some(NotUndone::NotReady) {
                return Ok(Flow::Rollback(Ordered::NotReady));
            }
            let Some(key) = insert(tx, &new, &parent)? else { return Ok(Flow::Rollback(Ordered::Conflict)) };
            match refused.and_then(NotUndone::fails) {
                None => {
                    begin(tx, key, &parent, Actor::Person(requested_by), &options)?;
                }
                Some(reason) => {
                    let row = row::read(tx.conn, key)?;
                    ending::end_one(tx, row, Move::Fail(reason), Done::default())?;
                }
            }
            Ok(Flow::Commit(Ordered::Done))
        })
        .await
    }
}

/// Whether this is a job that they may undo.
pub(in crate::store) fn may_order(parent: &JobRow, by: UndoBy) -> bool {
    match by {
        UndoBy::Person(person) => parent.requested_by == person,
        UndoBy::Operator { .. } => true,
    }
}

/// Whether a job that was found by the id of an order is the undo that it asks for.
fn same(found: &JobRow, new: &NewUndo<'_>, parent: &JobRow) -> Ordered {
    let digest = contract::undo_digest(new.requested_by, parent.job_id);
    if found.digest == Some(digest) { Ordered::Done } else { Ordered::Conflict }
}

/// The answer to an order with a key that the person used before. `None` if the key is new, or if there is none.
fn of_key(conn: &mut Conn, new: &NewUndo<'_>, parent: &JobRow) -> Result<Option<UndoOrdered>, DbError> {
    let Some(key) = new.idempotency_key else { return Ok(None) };
    let found: Option<JobColumns> = table::table
        .filter(table::requested_by.eq(new.requested_by.get()))
        .filter(table::idempotency_key.eq(key))
        .select(JobColumns::as_select())
        .first(conn)
        .optional()?;
    let Some(found) = found.map(JobRow::try_from).transpose()? else { return Ok(None) };
    Ok(Some(match same(&found, new, parent) {
        Ordered::Done => UndoOrdered::Repeated(snapshot::snapshot(conn, &found)?),
        _ => UndoOrdered::KeyConflict,
    }))
}

/// Why this job cannot be undone now. Whoever acts on the answer has locked the job.
pub(in crate::store) fn refusal(conn: &mut Conn, parent: &JobRow) -> Result<Option<NotUndone>, DbError> {
    if parent.kind != JobKind::Share {
        return Ok(Some(NotUndone::NotUndoable));
    }
    if !parent.state.is_terminal() {
        return Ok(Some(NotUndone::NotEnded(parent.state)));
    }
    // The undo of a job that gave nothing and only found access there withdraws its claims.
    if parent.counts.shared() == 0 {
        return Ok(Some(NotUndone::Nothing));
    }
    if let Some(undo) = parent.undone_by.map(|undo| row::find(conn, undo)).transpose()?.flatten()
        && !may_follow(undo.state)
    {
        return Ok(Some(NotUndone::Already(undo.job_id)));
    }
    Ok(if ledger::is_complete(conn)? { None } else { Some(NotUndone::NotReady) })
}

/// Whether another undo may follow one in this state: there may still be something that the job gave.
fn may_follow(undo: JobState) -> bool {
    matches!(undo, JobState::Failed | JobState::Cancelled | JobState::CompletedWithRejections)
}

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Whether this job is undone: whether an undo of it was asked for that has neither failed nor been cancelled.
pub(in crate::store) fn is_undone(conn: &mut Conn, job: &JobRow) -> Result<bool, DbError> {
    let sql = format!("SELECT k.id FROM jobs k WHERE k.id = $1 AND NOT {NOT_UNDONE}");
    let found: Option<Key> = statement(sql).bind::<BigInt, _>(job.key.get()).get_result(conn).optional()?;
    Ok(found.is_some_and(|key| key.id > 0))
}

/// Inserts the row of a new undo, which is about as many pairs as its parent. The row has no recipients, since its lanes
/// read those of the parent: so a worker that knows no undo cannot take it for a share. It does not count against the
/// unfinished jobs of a person, since taking access back must always be possible. `None` if its id or its key is taken.
const INSERT: &str = "INSERT INTO jobs (job_id, kind, parent, requested_by, as_operator, digest, idempotency_key, \
    traceparent, secrets_total, recipients_total, pairs, state, asked_here, run, has_snapshot, open_lanes, granted, \
    upgraded, unchanged, rejected, attempts, failures, requested_at, notice_due, ledger) \
    SELECT $1, 'undo', job_id, $2, CASE $3 WHEN 1 THEN true ELSE false END, $4, $5, $6, secrets_total, recipients_total, pairs, \
    'queued', false, 1, false, 0, 0, 0, 0, 0, 0, 0, $7, false, true FROM jobs WHERE id = $8 \
    ON CONFLICT DO NOTHING RETURNING id";

fn insert(tx: &mut Tx<'_>, new: &NewUndo<'_>, parent: &JobRow) -> Result<Option<JobKey>, DbError> {
    let now = tx.now()?;
    let inserted: Option<Key> = statement(INSERT)
        .bind::<Text, _>(new.job_id.to_string())
        .bind::<BigInt, _>(new.requested_by.get())
        .bind::<BigInt, _>(i64::from(new.as_operator))
        .bind::<Text, _>(contract::undo_digest(new.requested_by, parent.job_id))
        .bind::<Nullable<Text>, _>(new.idempotency_key)
        .bind::<Text, _>(new.traceparent)
        .bind::<BigInt, _>(now)
        .bind::<BigInt, _>(parent.key.get())
        .get_result(tx.conn)
        .optional()?;
    inserted.map(|row| id(row.id)).transpose()
}

/// Starts an undo whose row was just inserted, notes in the parent's row that it is undone, and records it.
fn begin(
    tx: &mut Tx<'_>,
    key: JobKey,
    parent: &JobRow,
    by: Actor,
    options: &BeginOptions,
) -> Result<JobSnapshot, DbError> {
    let row = row::read(tx.conn, key)?;
    diesel::update(table::table.filter(table::id.eq(parent.key.get())))
        .set(table::undone_by.eq(row.job_id.to_string()))
        .execute(tx.conn)?;
    let (job, undo, as_operator) = (parent.job_id, row.job_id, row.as_operator);
    audit::write(tx.conn, &Entry::JobUndone { job, undo, by, as_operator })?;
    let corrupt = || DbError::Corrupt(format!("what job {} is about", parent.job_id));
    if !parent.has_snapshot {
        // The parent fitted one chunk, so only its request has the list.
        let request = selection::stored_request(tx.conn, parent)?.ok_or_else(corrupt)?;
        let Selection::Ids(secrets) = request.selection else { return Err(corrupt()) };
        selection::write_snapshot(tx.conn, key, &secrets)?;
    }
    let secrets = row.secrets_total.and_then(|total| usize::try_from(total).ok()).ok_or_else(corrupt)?;
    // More lanes than chunks would only be more messages.
    let chunks = row.pairs.unwrap_or(0).div_ceil(options.chunk_pairs.max(1)).max(1);
    let lanes = options.lanes.min(u32::try_from(chunks).unwrap_or(u32::MAX));
    start::start(tx, &row, start::divide(secrets, lanes), &options.lane)
}
