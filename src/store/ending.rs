//! The end of a job: state, sums and terminal event, written once, in the transaction that ends it.

use diesel::prelude::*;

use crate::db::{Conn, DbError};
use crate::domain::event::EventKind;
use crate::domain::job::Move;
use crate::domain::{Counts, JobSnapshot};

use super::jobs::{self, JobRow, stored};
use super::schema::jobs::dsl;
use super::tx::Tx;
use super::{lane_rows, rejections};

/// Ends a job with these counts. The caller holds the job's lock and has closed its lanes.
///
/// An illegal move means that the caller read an old row: the transaction fails and is tried anew.
pub(super) fn end(tx: &mut Tx<'_>, row: &JobRow, step: Move, counts: Counts) -> Result<JobSnapshot, DbError> {
    let (state, reason) = row.state.next(step).map_err(|error| DbError::Corrupt(error.to_string()))?;
    let finished_at = tx.now;
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
    let row = jobs::lock(tx.conn, row.key)?;
    let snapshot = jobs::snapshot(tx.conn, &row)?;
    if let Some(kind) = EventKind::terminal(state) {
        tx.emit(kind, row.key, &snapshot, "", &row.traceparent);
    }
    Ok(snapshot)
}

/// Closes every lane of a job, in the order of locks, and sums them up.
pub(super) fn close_lanes(conn: &mut Conn, row: &JobRow) -> Result<Counts, DbError> {
    lane_rows::close_all(conn, row.key)?;
    let lanes = lane_rows::totals(conn, &[row.key])?.remove(&row.key).unwrap_or_default();
    Ok(row.counts + lanes.counts)
}
