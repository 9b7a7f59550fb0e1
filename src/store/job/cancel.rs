//! Cancels a job: one transaction locks it, closes its lanes and ends it. There is no state in between.
//!
//! What the job has done so far stays. A chunk in hand is waited for and counted, or it finds its lane closed and does
//! nothing. The request of a job that has not begun finds later that the job has ended, and does nothing either.

use std::time::{Duration, Instant};

use diesel::prelude::*;

use crate::db::{DbError, Flow};
use crate::domain::job::Move;
use crate::domain::{Actor, EndedBy, JobId, JobSnapshot, JobState, PrincipalId};
use crate::store::audit::entry::Entry;
use crate::store::audit::write as audit;
use crate::store::job::row::JobRow;
use crate::store::job::snapshot::snapshot;
use crate::store::job::{ending, row};
use crate::store::schema::jobs;
use crate::store::transact::Store;
use crate::store::tx::Tx;

/// How long a cancel waits for the locks of the job and its lanes, all of them together. A chunk holds a lane for a
/// few hundredths of a second. Whoever holds a lock for longer is stuck, and the person is told so.
const LOCKS: Duration = Duration::from_secs(2);

/// How long each statement may take once all locks are held.
const STATEMENTS: Duration = Duration::from_secs(5);

/// What became of a cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// This call ended the job. Its terminal event is in the outbox.
    Done(JobSnapshot),
    /// The job was cancelled before. Nothing was changed.
    Already(JobSnapshot),
    /// The job has ended in another way, which its state tells. Nothing was changed.
    Ended(JobSnapshot),
    /// There is no such job, or this person did not ask for it. Nothing was changed.
    NotFound,
}

impl Store {
    /// Cancels a job for its requester or for the operator. What it did so far stays.
    ///
    /// # Errors
    /// An error of the database. Usually nothing was changed. [`DbError::is_busy`] says that somebody held the job or
    /// one of its lanes for 2 s. If the answer to the commit was lost, a repeated call finds out what became of it.
    pub async fn cancel(&self, job: JobId, by: EndedBy) -> Result<Cancelled, DbError> {
        self.transact_soon(LOCKS, move |tx| cancel(tx, job, by)).await
    }

    /// A page of the ids of a person's jobs that have not ended, newest first. `before` is the cursor that came with
    /// the page before. Returns the cursor of the next page, if there is one.
    pub async fn unfinished_ids(
        &self,
        requested_by: PrincipalId,
        before: Option<i64>,
        limit: i64,
    ) -> Result<(Vec<JobId>, Option<i64>), DbError> {
        self.db
            .read(move |conn| {
                let mut rows: Vec<(i64, String)> = jobs::table
                    .filter(jobs::requested_by.eq(requested_by.get()))
                    .filter(jobs::finished_at.is_null())
                    .filter(jobs::id.lt(before.unwrap_or(i64::MAX)))
                    .order(jobs::id.desc())
                    .limit(limit + 1)
                    .select((jobs::id, jobs::job_id))
                    .load(conn)?;
                let more = rows.len() > usize::try_from(limit).unwrap_or(0);
                rows.truncate(usize::try_from(limit).unwrap_or(0));
                let next = rows.last().map(|(id, _)| *id).filter(|_| more);
                let ids = rows.into_iter().map(|(id, text)| {
                    text.parse().map_err(|()| DbError::Corrupt(format!("jobs.job_id of the row {id}")))
                });
                Ok((ids.collect::<Result<_, _>>()?, next))
            })
            .await
    }
}

fn cancel(tx: &mut Tx<'_>, job: JobId, by: EndedBy) -> Result<Flow<Cancelled>, DbError> {
    let began = Instant::now();
    let found = row::lock_by_id(tx.conn, job)?;
    let Some(mut row) = found.filter(|row| may_cancel(row, by)) else {
        return Ok(Flow::Rollback(Cancelled::NotFound));
    };
    if row.state.is_terminal() {
        let ended = snapshot(tx.conn, &row)?;
        let is_cancelled = row.state == JobState::Cancelled;
        return Ok(Flow::Rollback(if is_cancelled {
            Cancelled::Already(ended)
        } else {
            Cancelled::Ended(ended)
        }));
    }
    // The limit for locks holds for each of them. The lanes are locked by one statement, so that its own limit holds
    // for all of them together.
    let left = LOCKS.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
    tx.conn.limit_statements(left)?;
    let done = ending::close_lanes(tx.conn, &row)?;
    tx.conn.limit_statements(STATEMENTS)?;
    let key = row.key;
    row.ended_by = Some(by);
    ending::end_one(tx, row, Move::Cancel, done)?;
    let by = match by {
        EndedBy::Person(person) => Actor::Person(person),
        EndedBy::Operator => Actor::Operator,
    };
    audit::write(tx.conn, &Entry::JobCancelled { job, by })?;
    // The row is read once more, so that whoever asks again is answered with the same.
    let row = row::read(tx.conn, key)?;
    Ok(Flow::Commit(Cancelled::Done(snapshot(tx.conn, &row)?)))
}

/// Whether this job is one that somebody may cancel.
fn may_cancel(row: &JobRow, by: EndedBy) -> bool {
    match by {
        EndedBy::Operator => true,
        EndedBy::Person(person) => row.requested_by == person,
    }
}
