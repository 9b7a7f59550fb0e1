//! The end of a job: state, sums and terminal event, written once, in the transaction that ends it.

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::event::{EventKind, REJECTIONS_IN_EVENT, Rejection};
use crate::domain::job::Move;
use crate::domain::{Counts, FailReason, JobSnapshot};
use crate::telemetry::metrics::Ended;

use crate::store::codes::stored;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::job::snapshot;
use crate::store::job::{lane_rows, rejections};
use crate::store::schema::jobs::dsl;
use crate::store::tx::Tx;

/// Ends a job with these counts. The caller holds the job's lock and has closed its lanes.
///
/// An illegal move means that the caller read an old row: the transaction fails and is tried anew.
pub(in crate::store) fn end(
    tx: &mut Tx<'_>,
    row: &JobRow,
    step: Move,
    counts: Counts,
) -> Result<JobSnapshot, DbError> {
    let (state, reason) = row.state.next(step).map_err(|error| DbError::Corrupt(error.to_string()))?;
    let finished_at = tx.now()?.max(row.requested_at).max(row.started_at.unwrap_or(0));
    let total = rejections::total(tx.conn, row.key)?;
    diesel::update(dsl::jobs.filter(dsl::id.eq(row.key.get())))
        .set((
            dsl::state.eq(state.as_str()),
            dsl::reason.eq(reason.map(|reason| reason.as_str())),
            dsl::open_lanes.eq(0),
            dsl::granted.eq(stored(counts.granted)),
            dsl::upgraded.eq(stored(counts.upgraded)),
            dsl::unchanged.eq(stored(counts.unchanged)),
            dsl::rejected.eq(stored(counts.rejected)),
            dsl::rejections_total.eq(total),
            dsl::not_before.eq(None::<i64>),
            dsl::due_at.eq(None::<i64>),
            dsl::finished_at.eq(finished_at),
            dsl::notice_due.eq(true),
        ))
        .execute(tx.conn)?;
    tx.tally.ended.push(Ended { state, reason, after_ms: finished_at - row.requested_at });
    let row = row::lock(tx.conn, row.key)?;
    let snapshot = snapshot::snapshot(tx.conn, &row)?;
    if let Some(kind) = EventKind::terminal(state) {
        tx.emit(kind, row.key, &snapshot, "", &row.traceparent)?;
    }
    Ok(snapshot)
}

/// How a job ends that had no lanes.
pub(in crate::store) struct Ending {
    pub(in crate::store) row: JobRow,
    /// The row says so already.
    pub(in crate::store) written: bool,
    pub(in crate::store) step: Move,
    pub(in crate::store) counts: Counts,
    /// Every line of its report.
    pub(in crate::store) rejections: Vec<Rejection>,
}

/// Begins and ends jobs that the caller has locked or made, in one statement for all.
pub(in crate::store) fn end_together(
    tx: &mut Tx<'_>,
    endings: Vec<Ending>,
) -> Result<Vec<JobSnapshot>, DbError> {
    let now = tx.now()?;
    let mut rows = Vec::new();
    let mut ended = Vec::with_capacity(endings.len());
    for Ending { row, written, step, counts, mut rejections } in endings {
        let (state, reason) = row.state.next(step).map_err(|error| DbError::Corrupt(error.to_string()))?;
        let total = i64::try_from(rejections.len()).unwrap_or(i64::MAX);
        // Never before it was asked for: after a failover, the clock is another server's.
        let now = now.max(row.requested_at);
        if !written {
            rows.push(json!([
                row.key.get(),
                state.as_str(),
                reason.map(FailReason::as_str),
                counts.granted,
                counts.upgraded,
                counts.unchanged,
                counts.rejected,
                total,
                now,
            ]));
        }
        tx.tally.ended.push(Ended { state, reason, after_ms: now - row.requested_at });
        let row = JobRow {
            state,
            reason,
            counts,
            attempts: 0,
            not_before: None,
            started_at: Some(now),
            finished_at: Some(now),
            ..row
        };
        rejections.truncate(REJECTIONS_IN_EVENT);
        let snapshot = JobSnapshot { rejections, ..snapshot::shown(&row, None, total) };
        if let Some(kind) = EventKind::terminal(state) {
            tx.emit(kind, row.key, &snapshot, "", &row.traceparent)?;
        }
        ended.push(snapshot);
    }
    if rows.is_empty() {
        return Ok(ended);
    }
    let columns = [
        ("id", "bigint"),
        ("state", "text"),
        ("reason", "text"),
        ("granted", "bigint"),
        ("upgraded", "bigint"),
        ("unchanged", "bigint"),
        ("rejected", "bigint"),
        ("total", "bigint"),
        ("now", "bigint"),
    ];
    let sql = format!(
        "UPDATE jobs SET state = e.state, reason = e.reason, granted = e.granted, upgraded = e.upgraded, \
         unchanged = e.unchanged, rejected = e.rejected, rejections_total = e.total, open_lanes = 0, attempts = 0, \
         not_before = NULL, due_at = NULL, started_at = e.now, finished_at = e.now, notice_due = true \
         FROM ({}) AS e WHERE jobs.id = e.id",
        tx.conn.each_row("$1", &columns),
    );
    statement(sql).bind::<Text, _>(Value::from(rows).to_string()).execute(tx.conn)?;
    Ok(ended)
}

/// Closes every lane of a job, in the order of locks, and sums them up.
pub(in crate::store) fn close_lanes(conn: &mut Conn, row: &JobRow) -> Result<Counts, DbError> {
    lane_rows::close_all(conn, row.key)?;
    let lanes = lane_rows::totals(conn, &[row.key])?.remove(&row.key).unwrap_or_default();
    Ok(row.counts + lanes.counts)
}
