//! Ends jobs: state, counts and terminal event of a job are written once, together, by the transaction that ends it.

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::event::{EventKind, REJECTIONS_IN_EVENT, Rejection};
use crate::domain::job::Move;
use crate::domain::{Counts, FailReason, JobKind, JobSnapshot, Taken};
use crate::store::codes::{stored, stored_ender};
use crate::store::job::row::JobRow;
use crate::store::job::snapshot::shown;
use crate::store::job::{lane_rows, rejections};
use crate::store::tx::Tx;
use crate::telemetry::metrics::Ended;

/// How a job ends.
pub(in crate::store) struct Ending {
    /// The job's row as it was read under its lock. If this transaction counts a failure, the caller has added the
    /// failure and its message to the row.
    pub(in crate::store) row: JobRow,
    /// The move that ends the job: it finishes or it fails.
    pub(in crate::store) step: Move,
    /// The counts of the whole job, those of its lanes included.
    pub(in crate::store) counts: Counts,
    /// What the whole job took away, if that is what it does.
    pub(in crate::store) taken: Taken,
    pub(in crate::store) report: Report,
    /// Whether the outcomes and claims of all done pairs are recorded.
    pub(in crate::store) ledger: bool,
    /// Whether the job begins in this transaction, too, so that its time of beginning is set as well.
    pub(in crate::store) begins: bool,
    /// Whether the row was inserted in the state in which the job ends, so that it needs no update
    /// (see [`crate::store::job::insert::NewJob::expected_end`]).
    pub(in crate::store) written: bool,
}

/// Where the lines of the job's report are, which say what was not shared.
pub(in crate::store) enum Report {
    /// The caller has all of the lines in memory.
    Whole(Vec<Rejection>),
    /// The lines are in the table of rejections, where the lanes have written them.
    Stored,
}

/// The fields of one job in the list that is bound to the update, with PostgreSQL's types.
const COLUMNS: [(&str, &str); 18] = [
    ("id", "bigint"),
    ("state", "text"),
    ("reason", "text"),
    ("granted", "bigint"),
    ("upgraded", "bigint"),
    ("unchanged", "bigint"),
    ("rejected", "bigint"),
    ("rejections_total", "bigint"),
    ("failures", "integer"),
    ("last_error", "text"),
    ("started_at", "bigint"),
    ("finished_at", "bigint"),
    ("revoked", "bigint"),
    ("lowered", "bigint"),
    ("kept", "bigint"),
    ("untouched", "bigint"),
    ("ended_by", "bigint"),
    ("ledger", "integer"),
];

/// Writes the ends of the jobs in `rows`, an expression with the columns [`COLUMNS`]. It is one statement for all
/// jobs, since a statement for each would cost a round trip for each.
fn end_statement(rows: &str) -> String {
    format!(
        "UPDATE jobs SET state = e.state, reason = e.reason, granted = e.granted, upgraded = e.upgraded, \
         unchanged = e.unchanged, rejected = e.rejected, rejections_total = e.rejections_total, \
         failures = e.failures, last_error = e.last_error, started_at = e.started_at, \
         finished_at = e.finished_at, revoked = e.revoked, lowered = e.lowered, kept = e.kept, \
         untouched = e.untouched, ended_by = e.ended_by, ledger = e.ledger = 1, attempts = 0, open_lanes = 0, not_before = NULL, due_at = NULL, \
         notice_due = true FROM ({rows}) AS e WHERE jobs.id = e.id"
    )
}

/// Ends jobs, with one statement for all of them. The caller has locked or inserted their rows and has closed their
/// lanes. The answers are in the order of the endings.
///
/// A move that the state of a job does not allow is an error, since it means that the caller read the row without its
/// lock. The transaction then fails, and the work is tried again.
pub(in crate::store) fn end(tx: &mut Tx<'_>, endings: Vec<Ending>) -> Result<Vec<JobSnapshot>, DbError> {
    let now = tx.now()?;
    let mut rows = Vec::new();
    let mut ended = Vec::with_capacity(endings.len());
    for Ending { row, step, counts, taken, report, ledger, begins, written } in endings {
        let (state, reason) = row.state.next(step).map_err(|error| DbError::Corrupt(error.to_string()))?;
        let (lines, total) = first_lines(tx.conn, &row, report)?;
        // A job never ends before it was requested or begun. The clock may say so after a failover, since another
        // server's clock is then in use.
        // A row that was inserted as ended has the time of the insert, also if a wait has made this transaction later.
        let finished_at = match written {
            true => row.requested_at,
            false => now.max(row.requested_at).max(row.started_at.unwrap_or(0)),
        };
        let started_at = if begins { Some(finished_at) } else { row.started_at };
        let row = JobRow {
            state,
            reason,
            counts,
            taken,
            rejections_total: Some(total),
            attempts: 0,
            not_before: None,
            started_at,
            finished_at: Some(finished_at),
            ..row
        };
        if !written {
            let took = |count: u64| (row.kind != JobKind::Share).then(|| stored(count));
            rows.push(json!([
                row.key.get(),
                state.as_str(),
                reason.map(FailReason::as_str),
                stored(counts.granted),
                stored(counts.upgraded),
                stored(counts.unchanged),
                stored(counts.rejected),
                total,
                row.failures,
                row.last_error,
                started_at,
                finished_at,
                took(taken.revoked),
                took(taken.lowered),
                took(taken.kept),
                took(taken.untouched),
                row.ended_by.map(stored_ender),
                i32::from(ledger),
            ]));
        }
        tx.tally.ended.push(Ended { state, reason, after_ms: finished_at - row.requested_at });
        let snapshot = JobSnapshot { rejections: lines, ..shown(&row, None, total) };
        if let Some(kind) = EventKind::terminal(state) {
            tx.emit(kind, row.key, &snapshot, "", &row.traceparent)?;
        }
        ended.push(snapshot);
    }
    if !rows.is_empty() {
        let sql = end_statement(&tx.conn.each_row("$1", &COLUMNS));
        statement(sql).bind::<Text, _>(Value::from(rows).to_string()).execute(tx.conn)?;
    }
    Ok(ended)
}

/// Ends one job, as [`end`] does. The job was begun by an earlier transaction, or it fails without ever beginning.
pub(in crate::store) fn end_one(
    tx: &mut Tx<'_>,
    row: JobRow,
    step: Move,
    Done { counts, taken, unrecorded }: Done,
) -> Result<JobSnapshot, DbError> {
    let job = row.job_id;
    let (report, ledger) = (Report::Stored, unrecorded == 0);
    let ending = Ending { row, step, counts, taken, report, ledger, begins: false, written: false };
    let ended = end(tx, vec![ending])?.pop();
    ended.ok_or_else(|| DbError::Corrupt(format!("job {job} was ended, and its end was not returned")))
}

/// The first lines of a job's report, as many as an event holds, and the number of all of its lines.
fn first_lines(conn: &mut Conn, row: &JobRow, report: Report) -> Result<(Vec<Rejection>, i64), DbError> {
    match report {
        Report::Whole(mut lines) => {
            let total = i64::try_from(lines.len()).unwrap_or(i64::MAX);
            lines.truncate(REJECTIONS_IN_EVENT);
            Ok((lines, total))
        }
        Report::Stored => {
            let total = rejections::total(conn, row.key)?;
            let limit = i64::try_from(REJECTIONS_IN_EVENT).unwrap_or(i64::MAX);
            let lines = if total > 0 { rejections::read(conn, row.key, 0, limit)? } else { Vec::new() };
            Ok((lines, total))
        }
    }
}

/// What a whole job has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store) struct Done {
    pub(in crate::store) counts: Counts,
    pub(in crate::store) taken: Taken,
    /// How many of its pairs have no record of their outcome, since an older program did them.
    pub(in crate::store) unrecorded: u64,
}

impl Done {
    /// The move that ends a job of this kind, all of whose pairs are done.
    pub(in crate::store) fn finish(&self, kind: JobKind) -> Move {
        match kind {
            JobKind::Share => Move::Finish(self.counts),
            JobKind::Undo | JobKind::Unshare => {
                Move::FinishTaking { kind, taken: self.taken, rejected: self.counts.rejected }
            }
        }
    }
}

/// Closes all lanes of a job and returns what the whole job has done. The caller holds the lock of the job.
pub(in crate::store) fn close_lanes(conn: &mut Conn, row: &JobRow) -> Result<Done, DbError> {
    lane_rows::close_all(conn, row.key)?;
    let lanes = lane_rows::totals(conn, &[row.key])?.remove(&row.key).unwrap_or_default();
    let (counts, taken) = (row.counts + lanes.counts, row.taken + lanes.taken);
    Ok(Done { counts, taken, unrecorded: lanes.unrecorded })
}
