//! How a job is asked for over HTTP or from the command line: a row and a message, in one transaction.

use diesel::prelude::*;

use crate::contract;
use crate::contract::StoredRequest;
use crate::db::{Conn, DbError, Flow};
use crate::domain::share::OverLimit;
use crate::domain::{JobId, JobSnapshot, Limits, Selection, ShareRequest};
use crate::store::job::asked::Allowance;
use crate::store::job::insert;
use crate::store::job::insert::NewJob;
use crate::store::job::row;
use crate::store::job::row::{JobColumns, JobRow};
use crate::store::job::selection;
use crate::store::job::snapshot;
use crate::store::schema::jobs as table;
use crate::store::transact::Store;
use crate::store::vault::secrets;

/// A request that came over HTTP or from the command line.
#[derive(Debug, Clone)]
pub struct Submission {
    pub request: ShareRequest,
    /// Makes a repeat harmless: unique per person, kept with the job.
    pub idempotency_key: Option<String>,
    /// W3C trace; a new one where there is none.
    pub traceparent: Option<String>,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The job is there and its request is on its way.
    Accepted(JobSnapshot),
    /// The same was asked with the same key before: that job, as it is now.
    Repeated(JobSnapshot),
    /// The key was used for something else.
    KeyConflict,
    /// The person has asked here for that many jobs that have not ended.
    TooManyUnfinished {
        limit: i64,
    },
    /// "All" matches nothing.
    NothingMatches,
    OverLimit(OverLimit),
    /// The person may not ask for so many `pairs` or `bytes` any more.
    OverAllowance {
        what: &'static str,
    },
}

impl Store {
    /// Makes a job and puts its request into the outbox, in one transaction.
    ///
    /// # Errors
    /// Where the database fails; nothing was made then.
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

    /// The same for somebody who may not ask for everything. Also says how many bytes it has become, 0 where
    /// nothing was made.
    ///
    /// # Errors
    /// As [`Store::submit`].
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
            // The row first: a repeat in flight waits here for the first one's commit.
            let Some(key) = insert::insert_one(tx, job)? else {
                return repeated(tx.conn, &request, key).map(nothing);
            };
            if unfinished(tx.conn, request.requested_by)? > max_unfinished {
                return Ok(nothing(Submitted::TooManyUnfinished { limit: max_unfinished }));
            }
            if let Selection::All(filter) = &request.selection {
                let ids = secrets::shareable_ids(tx.conn, request.requested_by, filter)?;
                if ids.is_empty() {
                    return Ok(nothing(Submitted::NothingMatches));
                }
                if let Err(over) = request.check_limits(&limits, Some(ids.len())) {
                    return Ok(nothing(Submitted::OverLimit(over)));
                }
                selection::set_totals(tx.conn, key, ids.len(), request.recipients.len())?;
                selection::write_snapshot(tx.conn, key, &ids)?;
            }
            let bytes = tx.request(key, job_id, &request, &trace)?;
            if bytes > limits.message_bytes {
                // The worker would not read it.
                let (count, limit) = (bytes as u64, limits.message_bytes as u64);
                return Ok(nothing(Submitted::OverLimit(OverLimit { what: "bytes", count, limit })));
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

/// What to answer to a submission whose key (or id) is taken.
fn repeated(conn: &mut Conn, request: &ShareRequest, key: Option<&str>) -> Result<Submitted, DbError> {
    let row: Option<JobColumns> = table::table
        .filter(table::requested_by.eq(request.requested_by.get()))
        .filter(table::idempotency_key.eq(key))
        .select(JobColumns::as_select())
        .first(conn)
        .optional()?;
    let row = JobRow::try_from(row.ok_or_else(|| DbError::Corrupt("a new job's id is taken".to_owned()))?)?;
    if row.digest == Some(StoredRequest::of(request).digest) {
        Ok(Submitted::Repeated(snapshot::snapshot(conn, &row)?))
    } else {
        Ok(Submitted::KeyConflict)
    }
}

/// What came by message is not counted: whoever publishes chooses in whose name, and is not to keep that person from
/// asking.
fn unfinished(conn: &mut Conn, person: crate::domain::PrincipalId) -> Result<i64, DbError> {
    let mine = table::table
        .filter(table::requested_by.eq(person.get()))
        .filter(table::finished_at.is_null())
        .filter(table::asked_here.eq(true));
    Ok(mine.count().get_result(conn)?)
}
