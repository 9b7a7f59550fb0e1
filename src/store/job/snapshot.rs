//! Puts together a job as people see it: its row, and what its lanes have done so far.

use crate::db::{Conn, DbError};
use crate::domain::event::{REJECTIONS_IN_EVENT, Retry};
use crate::domain::{JobSnapshot, JobState};
use crate::store::job::row::JobRow;
use crate::store::job::{lane_rows, rejections};

/// The job as people see it, with the first lines of its report.
pub(in crate::store) fn snapshot(conn: &mut Conn, row: &JobRow) -> Result<JobSnapshot, DbError> {
    let lanes = lane_rows::totals(conn, &[row.key])?.remove(&row.key);
    let total = rejections_total(conn, row)?;
    let limit = i64::try_from(REJECTIONS_IN_EVENT).unwrap_or(100);
    let rejections = if total > 0 { rejections::read(conn, row.key, 0, limit)? } else { Vec::new() };
    Ok(JobSnapshot { rejections, ..shown(row, lanes, total) })
}

/// The number of lines in the job's report. The row of an ended job has it; while the job runs, the lines are counted.
pub(in crate::store) fn rejections_total(conn: &mut Conn, row: &JobRow) -> Result<i64, DbError> {
    row.rejections_total.map_or_else(|| rejections::total(conn, row.key), Ok)
}

/// The job as people see it, without the lines of its report. `lanes` is the sum of its lanes, if it has any.
///
/// A job is shown as retrying while it, or one of its open lanes, waits for another attempt. That state is never
/// stored.
pub(in crate::store) fn shown(
    row: &JobRow,
    lanes: Option<lane_rows::Totals>,
    rejections_total: i64,
) -> JobSnapshot {
    let lanes = lanes.unwrap_or_default();
    let ended = row.state.is_terminal();
    let (waits, error, next) = if row.attempts > 0 {
        (true, row.last_error.clone(), row.not_before)
    } else {
        (lanes.attempts > 0, lanes.last_error, lanes.not_before)
    };
    let retry = (waits && !ended)
        .then(|| Retry { last_error: error.unwrap_or_else(|| "unknown".to_owned()), next_attempt_at: next });
    JobSnapshot {
        job_id: row.job_id,
        run: row.run,
        kind: row.kind,
        parent: row.parent,
        undone_by: row.undone_by,
        ended_by: row.ended_by,
        requested_by: row.requested_by,
        note: row.note.clone(),
        state: if retry.is_some() { JobState::Retrying } else { row.state },
        reason: row.reason,
        secrets: row.secrets_total.and_then(|total| u64::try_from(total).ok()),
        recipients: row.recipients_total.and_then(|total| u64::try_from(total).ok()),
        pairs: row.pairs,
        // When a job ends, its row gets the sum of its lanes. Until then the lanes have their counts.
        counts: if ended { row.counts } else { row.counts + lanes.counts },
        taken: if ended { row.taken } else { row.taken + lanes.taken },
        rejections: Vec::new(),
        rejections_total: u64::try_from(rejections_total).unwrap_or(0),
        attempts: u32::try_from(row.failures + lanes.failures).unwrap_or(0),
        requested_at: row.requested_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        retry,
    }
}
