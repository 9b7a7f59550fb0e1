//! Lists what a job is about: its recipients and its secrets, a page at a time.

use std::ops::Range;

use diesel::prelude::*;

use crate::contract;
use crate::db::{Conn, DbError};
use crate::domain::{Counts, JobId, JobKind, PairOutcome, Recipient, SecretId, Selection};
use crate::store::job::outcomes;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::job::selection::{read_snapshot, stored_request};
use crate::store::schema::jobs;
use crate::store::transact::Store;

/// How many pairs are in memory at once.
const PART: usize = 1_000_000;

impl Store {
    /// The recipients of a job from this place on, in the job's order, each with what became of its pairs so far. The
    /// list is empty if there is no such job, or if its request could not be read.
    ///
    /// All outcomes of the job are read for it, in parts: 10 million pairs are 2.5 MB at the most.
    pub async fn job_recipients(
        &self,
        job: JobId,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<(Recipient, Option<Counts>)>, DbError> {
        self.db
            .read(move |conn| {
                let Some((row, asked)) = asked(conn, job)? else { return Ok(Vec::new()) };
                let all = recipients(conn, &asked)?;
                let page: Vec<Recipient> = all.iter().copied().skip(offset).take(limit).collect();
                if page.is_empty() {
                    return Ok(Vec::new());
                }
                let counts = counts_of_recipients(conn, &row, all.len(), offset..offset + page.len())?;
                Ok(with_counts(page, counts))
            })
            .await
    }

    /// The secrets of a job from this place on, in the job's order, each with what became of its pairs so far. The list
    /// is empty if there is no such job, if its request could not be read, or as long as it is not known which secrets
    /// "all" are.
    pub async fn job_secrets(
        &self,
        job: JobId,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<(SecretId, Option<Counts>)>, DbError> {
        self.db
            .read(move |conn| {
                let Some((row, asked)) = asked(conn, job)? else { return Ok(Vec::new()) };
                let page = secrets(conn, &asked, offset, limit)?;
                let recipients = places(asked.recipients_total);
                let outcomes = outcomes::read(conn, &row, offset, offset.saturating_add(page.len()))?;
                let counts = outcomes.filter(|_| recipients > 0).map(|outcomes| {
                    outcomes.chunks(recipients).map(|pairs| counted(pairs.iter().copied())).collect()
                });
                Ok(with_counts(page, counts))
            })
            .await
    }
}

/// The job's row, and the row that has what the job is about: its own or, of an undo, that of the job that it takes
/// back.
pub(in crate::store) fn asked(conn: &mut Conn, job: JobId) -> Result<Option<(JobRow, JobRow)>, DbError> {
    let Some(row) = row::find(conn, job)? else { return Ok(None) };
    match row.parent.filter(|_| row.kind == JobKind::Undo) {
        Some(parent) => Ok(row::find(conn, parent)?.map(|parent| (row, parent))),
        None => Ok(Some((row.clone(), row))),
    }
}

pub(in crate::store) fn places(total: Option<i32>) -> usize {
    total.and_then(|total| usize::try_from(total).ok()).unwrap_or(0)
}

/// The page with the counts of each of its items. `None` where it is not recorded what became of each pair.
fn with_counts<T>(page: Vec<T>, counts: Option<Vec<Counts>>) -> Vec<(T, Option<Counts>)> {
    let mut counts = counts.map(Vec::into_iter);
    page.into_iter().map(|item| (item, counts.as_mut().and_then(Iterator::next))).collect()
}

/// How many of these pairs had each outcome. Pairs that the job has not come to are not counted.
fn counted(pairs: impl IntoIterator<Item = Option<PairOutcome>>) -> Counts {
    pairs.into_iter().flatten().fold(Counts::default(), |sum, outcome| sum + Counts::of(outcome))
}

/// What became of the pairs of each recipient at these places, among so many recipients of the job.
fn counts_of_recipients(
    conn: &mut Conn,
    job: &JobRow,
    recipients: usize,
    wanted: Range<usize>,
) -> Result<Option<Vec<Counts>>, DbError> {
    let mut counts = vec![Counts::default(); wanted.len()];
    let secrets = places(job.secrets_total);
    let part = (PART / recipients).max(1);
    for from in (0..secrets).step_by(part) {
        let Some(outcomes) = outcomes::read(conn, job, from, from + part)? else { return Ok(None) };
        for of_secret in outcomes.chunks(recipients) {
            for (sum, outcome) in counts.iter_mut().zip(of_secret.iter().skip(wanted.start)) {
                *sum = *sum + counted([*outcome]);
            }
        }
    }
    // Of a job that has no list of secrets yet, nothing is done.
    Ok((job.kind == JobKind::Share).then_some(counts))
}

/// The recipients of a job, in its order. Nobody if its request could not be read.
pub(in crate::store) fn recipients(conn: &mut Conn, row: &JobRow) -> Result<Vec<Recipient>, DbError> {
    let stored: Option<String> =
        jobs::table.filter(jobs::id.eq(row.key.get())).select(jobs::recipients).first(conn)?;
    let corrupt = |error: contract::Invalid| DbError::Corrupt(format!("job {}: {error}", row.job_id));
    stored.map_or(Ok(Vec::new()), |stored| contract::recipients_from_json(&stored).map_err(corrupt))
}

/// The secrets of a job from this place on, in its order. None as long as it is not known which these are.
pub(in crate::store) fn secrets(
    conn: &mut Conn,
    row: &JobRow,
    offset: usize,
    limit: usize,
) -> Result<Vec<SecretId>, DbError> {
    if row.has_snapshot {
        let end = offset.saturating_add(limit).min(places(row.secrets_total));
        return if offset < end { read_snapshot(conn, row.key, offset, end) } else { Ok(Vec::new()) };
    }
    Ok(match stored_request(conn, row)?.map(|request| request.selection) {
        Some(Selection::Ids(ids)) => ids.into_iter().skip(offset).take(limit).collect(),
        Some(Selection::All(_)) | None => Vec::new(),
    })
}
