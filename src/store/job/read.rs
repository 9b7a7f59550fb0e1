//! Reads jobs for people and operators: one job, or a page of them.

use diesel::prelude::*;

use crate::db::{Conn, DbError};
use crate::domain::{JobId, JobKey, JobSnapshot, PrincipalId};
use crate::store::job::lane_rows;
use crate::store::job::row::{JobColumns, JobRow, find};
use crate::store::job::snapshot::{rejections_total, shown, snapshot};
use crate::store::schema::jobs;
use crate::store::transact::Store;

impl Store {
    /// A job with the first lines of its report. `None` if there is no such job.
    pub async fn job(&self, job: JobId) -> Result<Option<JobSnapshot>, DbError> {
        self.db
            .read(move |conn| match find(conn, job)? {
                Some(row) => snapshot(conn, &row).map(Some),
                None => Ok(None),
            })
            .await
    }

    /// The jobs of a person that have not ended, newest first, without the lines of their reports.
    pub async fn unfinished_jobs(
        &self,
        requested_by: PrincipalId,
        limit: i64,
    ) -> Result<Vec<JobSnapshot>, DbError> {
        self.db
            .read(move |conn| {
                let rows = jobs::table
                    .filter(jobs::requested_by.eq(requested_by.get()))
                    .filter(jobs::finished_at.is_null())
                    .order(jobs::id.desc())
                    .limit(limit)
                    .select(JobColumns::as_select())
                    .load(conn)?;
                listed(conn, rows)
            })
            .await
    }

    /// A page of the jobs of one person or of everybody, newest first, without the lines of their reports. `before` is
    /// the cursor that came with the page before. Returns the cursor of the next page, if there is one.
    pub async fn jobs(
        &self,
        requested_by: Option<PrincipalId>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<(Vec<JobSnapshot>, Option<i64>), DbError> {
        self.db
            .read(move |conn| {
                let mut query = jobs::table.select(JobColumns::as_select()).into_boxed();
                if let Some(person) = requested_by {
                    query = query.filter(jobs::requested_by.eq(person.get()));
                }
                if let Some(before) = before {
                    query = query.filter(jobs::id.lt(before));
                }
                // One row more than the page needs shows whether there is a next page.
                let mut rows: Vec<JobColumns> = query.order(jobs::id.desc()).limit(limit + 1).load(conn)?;
                let more = rows.len() > usize::try_from(limit).unwrap_or(0);
                rows.truncate(usize::try_from(limit).unwrap_or(0));
                let next = rows.last().map(|row| row.id).filter(|_| more);
                Ok((listed(conn, rows)?, next))
            })
            .await
    }
}

/// These rows as listings show them, in their order.
fn listed(conn: &mut Conn, rows: Vec<JobColumns>) -> Result<Vec<JobSnapshot>, DbError> {
    let rows: Vec<JobRow> = rows.into_iter().map(JobRow::try_from).collect::<Result<_, _>>()?;
    let keys: Vec<JobKey> = rows.iter().map(|row| row.key).collect();
    let mut lanes = lane_rows::totals(conn, &keys)?;
    rows.iter()
        .map(|row| {
            let total = rejections_total(conn, row)?;
            Ok(shown(row, lanes.remove(&row.key), total))
        })
        .collect()
}
