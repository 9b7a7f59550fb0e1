//! Starts a job that is worked on in lanes.

use std::ops::Range;

use diesel::prelude::*;

use crate::contract::Step;
use crate::db::{Conn, DbError};
use crate::domain::event::EventKind;
use crate::domain::job::Move;
use crate::domain::{JobKey, JobSnapshot};
use crate::store::clock;
use crate::store::job::lane_work::{LaneOptions, position};
use crate::store::job::row::JobRow;
use crate::store::job::{row, snapshot};
use crate::store::schema::lanes;
use crate::store::tx::Tx;

/// Starts a job that has its list of secrets: makes a lane for each part of the list, and puts the step that wakes each
/// lane into the outbox, with the event that the job is accepted. The caller has locked or inserted the job's row.
pub(in crate::store) fn start(
    tx: &mut Tx<'_>,
    row: &JobRow,
    parts: Vec<Range<usize>>,
    options: &LaneOptions,
) -> Result<JobSnapshot, DbError> {
    use crate::store::schema::jobs::dsl;
    let (state, _) = row.state.next(Move::Begin).map_err(|error| DbError::Corrupt(error.to_string()))?;
    // A job never starts before it was requested. The clock may say so after a failover, since another server's clock
    // is then in use.
    let started_at = tx.now()?.max(row.requested_at);
    diesel::update(dsl::jobs.filter(dsl::id.eq(row.key.get())))
        .set((
            dsl::state.eq(state.as_str()),
            dsl::started_at.eq(started_at),
            dsl::open_lanes.eq(i32::try_from(parts.len()).unwrap_or(1)),
            dsl::attempts.eq(0),
            dsl::not_before.eq(None::<i64>),
            dsl::due_at.eq(None::<i64>),
        ))
        .execute(tx.conn)?;
    for (lane, part) in (0_i32..).zip(parts) {
        insert(tx.conn, row.key, lane, part, options)?;
        let step = Step { job_id: row.job_id, run: row.run, lane, turn: 0 };
        tx.wake(row.key, &step, &row.traceparent);
    }
    let row = row::read(tx.conn, row.key)?;
    let snapshot = snapshot::snapshot(tx.conn, &row)?;
    tx.emit(EventKind::Accepted, row.key, &snapshot, "", &row.traceparent)?;
    Ok(snapshot)
}

/// Divides the positions from 0 up to `secrets` into at most `lanes` parts of about the same size.
pub(in crate::store) fn divide(secrets: usize, lanes: u32) -> Vec<Range<usize>> {
    let lanes = (lanes as usize).clamp(1, secrets.max(1));
    (0..lanes).map(|lane| secrets * lane / lanes..secrets * (lane + 1) / lanes).collect()
}

/// Inserts the row of a new lane, which works on the positions `part` of the job's list of secrets.
fn insert(
    conn: &mut Conn,
    job: JobKey,
    lane: i32,
    part: Range<usize>,
    options: &LaneOptions,
) -> Result<(), DbError> {
    let due_at = clock::now(conn)? + options.lease_ms();
    diesel::insert_into(lanes::table)
        .values((
            lanes::job.eq(job.get()),
            lanes::lane.eq(lane),
            lanes::turn.eq(0),
            lanes::position.eq(position(part.start)),
            lanes::end_position.eq(position(part.end)),
            lanes::open.eq(true),
            lanes::granted.eq(0),
            lanes::upgraded.eq(0),
            lanes::unchanged.eq(0),
            lanes::rejected.eq(0),
            lanes::attempts.eq(0),
            lanes::failures.eq(0),
            lanes::due_at.eq(due_at),
            lanes::lease_ms.eq(options.lease_ms()),
            lanes::progress_at.eq(0),
            lanes::recorded.eq(0),
        ))
        .execute(conn)?;
    Ok(())
}
