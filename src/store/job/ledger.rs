//! Completes the ledger of jobs that an older program worked on.
//!
//! Such a program recorded neither outcomes nor claims. Before anything is undone, each of its jobs that found pairs
//! unchanged has to claim them, or their access would be taken back with the job that gave it. Nobody knows any more
//! which pairs these were, so the job claims all of its pairs as of its end.

use std::ops::Range;

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::{Conn, DbError, Flow, statement};
use crate::domain::{JobKey, SecretId, Selection};
use crate::store::codes::id;
use crate::store::job::row::JobRow;
use crate::store::job::{row, selection};
use crate::store::schema::jobs;
use crate::store::transact::Store;
use crate::store::vault::claims;

/// The most claims that one transaction writes.
const SECRETS: usize = 10_000;
/// The most jobs that one look completes.
const JOBS: i64 = 100;

/// The jobs whose ledger is not complete. The text is that of the index `jobs_without_ledger`.
const WITHOUT: &str = "NOT ledger AND unchanged > 0 AND finished_at IS NOT NULL";

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// What people are told as long as this is so.
pub const NOT_READY: &str = "the claims of older jobs are not written yet; try again in a minute";

/// Whether the claims of all ended jobs are written, so that access may be taken back.
pub(in crate::store) fn is_complete(conn: &mut Conn) -> Result<bool, DbError> {
    Ok(jobs_without(conn, 1)?.is_empty())
}

fn jobs_without(conn: &mut Conn, limit: i64) -> Result<Vec<JobKey>, DbError> {
    let sql = format!("SELECT id FROM jobs WHERE {WITHOUT} ORDER BY id LIMIT $1");
    let rows: Vec<Key> = statement(sql).bind::<BigInt, _>(limit).load(conn)?;
    rows.into_iter().map(|row| id(row.id)).collect()
}

impl Store {
    /// Whether the claims of all ended jobs are written, so that access may be taken back. It is false only for a while
    /// after an update from a release that did not record them.
    pub async fn ledger_complete(&self) -> Result<bool, DbError> {
        self.db.read(is_complete).await
    }

    /// Writes the claims of some jobs whose ledger is not complete. Returns how many jobs were completed.
    ///
    /// A job is completed in several transactions if it has many secrets. If the program stops between two of them, the
    /// job is begun anew: a claim that is there already stays.
    pub(in crate::store) async fn complete_ledgers(&self) -> Result<usize, DbError> {
        let found = self.db.read(|conn| jobs_without(conn, JOBS)).await?;
        let mut completed = 0;
        for key in found {
            match self.complete_ledger(key).await {
                Ok(()) => completed += 1,
                // The other jobs are not held up. As long as this one is left, nothing can be undone.
                Err(error @ DbError::Corrupt(_)) => {
                    tracing::error!(job = key.get(), %error, "the claims of a job cannot be written");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(completed)
    }

    async fn complete_ledger(&self, key: JobKey) -> Result<(), DbError> {
        let mut from = 0;
        loop {
            let part = from..from + SECRETS;
            let more = self.transact(move |tx| complete_part(tx.conn, key, part).map(Flow::Commit)).await?;
            if !more {
                return Ok(());
            }
            from += SECRETS;
        }
    }
}

/// Writes the claims of a job for this part of its secrets, and sets its ledger if there are no more. Returns whether
/// there are.
fn complete_part(conn: &mut Conn, key: JobKey, part: Range<usize>) -> Result<bool, DbError> {
    let row = row::lock(conn, key)?;
    // An operator may have replayed the job meanwhile. It is looked at again when it has ended again.
    let Some(finished_at) = row.finished_at else { return Ok(false) };
    let (secrets, more) = secrets(conn, &row, part)?;
    claims::write_all(conn, key, &secrets, finished_at.saturating_mul(1_000))?;
    if !more {
        diesel::update(jobs::table.filter(jobs::id.eq(key.get())))
            .set(jobs::ledger.eq(true))
            .execute(conn)?;
    }
    Ok(more)
}

/// This part of the secrets of a job, and whether there are more.
fn secrets(conn: &mut Conn, row: &JobRow, part: Range<usize>) -> Result<(Vec<SecretId>, bool), DbError> {
    if row.has_snapshot {
        let total = row.secrets_total.and_then(|total| usize::try_from(total).ok()).unwrap_or(0);
        let to = part.end.min(total);
        if part.start >= to {
            return Ok((Vec::new(), false));
        }
        return Ok((selection::read_snapshot(conn, row.key, part.start, to)?, to < total));
    }
    match selection::stored_request(conn, row)?.map(|request| request.selection) {
        Some(Selection::Ids(ids)) => {
            let of_part = ids.iter().copied().skip(part.start).take(part.len()).collect();
            Ok((of_part, part.end < ids.len()))
        }
        _ => Err(DbError::Corrupt(format!("the secrets of job {} are not known", row.job_id))),
    }
}
