//! Takes requests that come over HTTP or from the command line: one transaction writes the job's row and its message.

use diesel::prelude::*;

use crate::contract;
use crate::contract::StoredRequest;
use crate::db::{Conn, DbError, Flow};
use crate::domain::share::OverLimit;
use crate::domain::{JobId, JobKind, JobSnapshot, Limits, PrincipalId, Selection, ShareRequest};
use crate::store::job::asked::Allowance;
use crate::store::job::insert;
use crate::store::job::insert::NewJob;
use crate::store::job::ledger;
use crate::store::job::row;
use crate::store::job::row::{JobColumns, JobRow};
use crate::store::job::selection;
use crate::store::job::snapshot;
use crate::store::schema::jobs as table;
use crate::store::transact::Store;
use crate::store::vault::secrets;
use crate::store::vault::secrets::Shareable;

/// A request that came over HTTP or from the command line.
#[derive(Debug, Clone)]
pub struct Submission {
    pub request: ShareRequest,
    /// A key that the client chose, unique for the person. A request that is sent again with the same key finds the
    /// first job and makes no second one.
    pub idempotency_key: Option<String>,
    /// The W3C trace context of the caller. If there is none, a new trace is begun.
    pub traceparent: Option<String>,
}

/// What became of a submission. Except for [`Submitted::Accepted`], the transaction was rolled back and no job was
/// made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The job was made, and its request is in the outbox. The job is queued until a worker takes that message.
    Accepted(JobSnapshot),
    /// The person sent the same request with the same key before. This is the job of that request, as it is now.
    Repeated(JobSnapshot),
    /// The person used the same key before, for a request with other content.
    KeyConflict,
    /// The person has `limit` jobs that were requested over HTTP or from the command line and have not ended.
    TooManyUnfinished { limit: i64 },
    /// The request is about all secrets that match its filter, and no secret that the person may share matches.
    NothingMatches,
    /// The request, or the message that it becomes, is larger than the configuration allows.
    OverLimit(OverLimit),
    /// The request needs more `pairs` or `bytes` than the person has left for now (see [`Allowance`]).
    OverAllowance { what: &'static str },
    /// It is an unshare, and claims of older jobs are not written yet, so nothing can be taken away for now.
    NotReady,
}

impl Store {
    /// Makes a job and puts its request into the outbox, in one transaction.
    ///
    /// # Errors
    /// An error of the database. No job was made, unless the answer to the commit was lost: with an idempotency key
    /// the caller can send the same request again, and then finds the job or makes it.
    pub async fn submit(
        &self,
        submission: Submission,
        limits: Limits,
        max_unfinished: i64,
    ) -> Result<Submitted, DbError> {
        self.submit_within(Allowance::UNLIMITED, submission, limits, max_unfinished)
            .await
            .map(|(done, _)| done)
    }

    /// Does what [`Store::submit`] does for a person who has only this allowance left. Also returns the size of the
    /// request's message in bytes, or 0 if no job was made.
    ///
    /// # Errors
    /// The errors are those of [`Store::submit`].
    pub async fn submit_within(
        &self,
        allowance: Allowance,
        submission: Submission,
        limits: Limits,
        max_unfinished: i64,
    ) -> Result<(Submitted, u64), DbError> {
        let nothing = |why: Submitted| Flow::Rollback((why, 0));
        if let Err(over) = submission.request.check_limits(&limits, None) {
            return Ok((Submitted::OverLimit(over), 0));
        }
        let all = self.matching(&submission, limits.secrets).await?;
        self.transact(move |tx| {
            let Submission { request, idempotency_key, traceparent } = submission;
            let trace = traceparent.unwrap_or_else(contract::new_traceparent);
            let job_id = JobId::generate();
            let kept = StoredRequest::of(&request);
            let key = idempotency_key.as_deref();
            let job = NewJob {
                job_id,
                requested_by: request.requested_by,
                request: Some((&request, &kept)),
                idempotency_key: key,
                traceparent: &trace,
                asked_here: true,
                expected_end: None,
            };
            // The row is inserted first, because the same request may be sent twice at the same time: the second one
            // then waits here until the first one has committed, and finds its job.
            let Some(key) = insert::insert_one(tx, job)? else {
                return repeated(tx.conn, &request, key).map(nothing);
            };
            if request.kind == JobKind::Unshare && !ledger::is_complete(tx.conn)? {
                return Ok(nothing(Submitted::NotReady));
            }
            if unfinished(tx.conn, request.requested_by)? > max_unfinished {
                return Ok(nothing(Submitted::TooManyUnfinished { limit: max_unfinished }));
            }
            if let Some(Shareable { ids, count }) = all {
                if count == 0 {
                    return Ok(nothing(Submitted::NothingMatches));
                }
                if let Err(over) = request.check_limits(&limits, Some(count)) {
                    return Ok(nothing(Submitted::OverLimit(over)));
                }
                selection::set_totals(tx.conn, key, count, request.recipients.len())?;
                selection::write_snapshot(tx.conn, key, &ids)?;
            }
            let bytes = tx.request(key, job_id, &request, &trace)?;
            if let Err(over) = limits.check_message(bytes) {
                return Ok(nothing(Submitted::OverLimit(over)));
            }
            let row = row::lock(tx.conn, key)?;
            if row.pairs.unwrap_or(0) > allowance.pairs {
                return Ok(nothing(Submitted::OverAllowance { what: "pairs" }));
            }
            if bytes as u64 > allowance.bytes {
                return Ok(nothing(Submitted::OverAllowance { what: "bytes" }));
            }
            Ok(Flow::Commit((Submitted::Accepted(snapshot::shown(&row, None, 0)), bytes as u64)))
        })
        .await
    }
}

impl Store {
    /// The secrets that a request for all means now. `None` for a request that names its secrets, and for one whose key
    /// was used before: it is answered with the job of the first one.
    ///
    /// This is a read of its own, before the transaction, since it looks at all secrets that the person can reach. So it
    /// has the time limit of a read, and on SQLite it does not keep everybody else from writing.
    async fn matching(&self, submission: &Submission, most: usize) -> Result<Option<Shareable>, DbError> {
        let Selection::All(filter) = &submission.request.selection else { return Ok(None) };
        let (filter, person) = (filter.clone(), submission.request.requested_by);
        let key = submission.idempotency_key.clone();
        self.db
            .read(move |conn| {
                if key.is_some() && of_key(conn, person, key.as_deref())?.is_some() {
                    return Ok(None);
                }
                secrets::shareable(conn, person, &filter, most).map(Some)
            })
            .await
    }
}

/// The job that this person has asked for with this key.
fn of_key(conn: &mut Conn, person: PrincipalId, key: Option<&str>) -> Result<Option<JobColumns>, DbError> {
    Ok(table::table
        .filter(table::requested_by.eq(person.get()))
        .filter(table::idempotency_key.eq(key))
        .select(JobColumns::as_select())
        .first(conn)
        .optional()?)
}

/// The answer to a submission whose idempotency key (or generated id) is taken.
fn repeated(conn: &mut Conn, request: &ShareRequest, key: Option<&str>) -> Result<Submitted, DbError> {
    let row = of_key(conn, request.requested_by, key)?;
    let row = JobRow::try_from(row.ok_or_else(|| DbError::Corrupt("a new job's id is taken".to_owned()))?)?;
    if row.digest == Some(StoredRequest::of(request).digest) {
        Ok(Submitted::Repeated(snapshot::snapshot(conn, &row)?))
    } else {
        Ok(Submitted::KeyConflict)
    }
}

/// Counts the person's jobs that have not ended and were requested over HTTP or from the command line. Jobs that came
/// by message are not counted: whoever publishes a message can name any person in it, and must not be able to keep
/// that person from making requests.
pub(in crate::store) fn unfinished(conn: &mut Conn, person: PrincipalId) -> Result<i64, DbError> {
    let mine = table::table
        .filter(table::requested_by.eq(person.get()))
        .filter(table::finished_at.is_null())
        .filter(table::asked_here.eq(true));
    Ok(mine.count().get_result(conn)?)
}
