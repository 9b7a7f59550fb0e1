//! Reads and changes the rows of a job's lanes: sums them up, locks them, closes them, and opens them for another run.

use std::collections::HashMap;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer};

use crate::contract::Step;
use crate::db::{Conn, DbError, statement};
use crate::domain::{Counts, JobKey, Taken};
use crate::store::codes::{counts, id, millis, stored, taken};
use crate::store::schema::{jobs as jobs_table, lanes};

/// The sum of all lanes of a job.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Totals {
    pub(in crate::store) counts: Counts,
    pub(in crate::store) taken: Taken,
    /// How many of the done pairs have no record of their outcome, since an older program did them.
    pub(in crate::store) unrecorded: u64,
    pub(in crate::store) failures: i32,
    /// The most consecutive failures that an open lane has. `last_error` and `not_before`, the time of the next
    /// attempt, are those of the same lane.
    pub(in crate::store) attempts: i32,
    pub(in crate::store) last_error: Option<String>,
    pub(in crate::store) not_before: Option<i64>,
}

/// Sums up the lanes of each of these jobs. A job that has no lanes is left out of the answer.
pub(in crate::store) fn totals(conn: &mut Conn, jobs: &[JobKey]) -> Result<HashMap<JobKey, Totals>, DbError> {
    type Four = (i64, i64, i64, i64);
    type LaneColumns = (i64, bool, Four, Four, i64, i32, i32, Option<String>, Option<i64>);
    let rows: Vec<LaneColumns> = lanes::table
        .filter(lanes::job.eq_any(jobs.iter().map(|job| job.get()).collect::<Vec<_>>()))
        .order((lanes::job, lanes::lane))
        .select((
            lanes::job,
            lanes::open,
            (lanes::granted, lanes::upgraded, lanes::unchanged, lanes::rejected),
            (lanes::revoked, lanes::lowered, lanes::kept, lanes::untouched),
            lanes::recorded,
            lanes::attempts,
            lanes::failures,
            lanes::last_error,
            lanes::not_before,
        ))
        .load(conn)?;
    let mut all: HashMap<JobKey, Totals> = HashMap::new();
    for (job, open, given, took, recorded, attempts, failures, last_error, not_before) in rows {
        let (granted, upgraded, unchanged, rejected) = given;
        let (revoked, lowered, kept, untouched) = took;
        let sum = all.entry(id(job)?).or_default();
        let counts = counts(granted, upgraded, unchanged, rejected);
        let taken = taken(Some(revoked), Some(lowered), Some(kept), Some(untouched));
        sum.counts = sum.counts + counts;
        sum.taken = sum.taken + taken;
        let done = counts.done() + taken.done();
        sum.unrecorded += done.saturating_sub(u64::try_from(recorded).unwrap_or(0));
        sum.failures += failures;
        if open && attempts > sum.attempts {
            (sum.attempts, sum.last_error, sum.not_before) = (attempts, last_error, not_before);
        }
    }
    Ok(all)
}

/// Locks all lanes of a job, by number. The caller holds the lock of the job.
pub(in crate::store) fn lock_all(conn: &mut Conn, job: JobKey) -> Result<(), DbError> {
    if conn.locks_rows() {
        let sql = "SELECT lane FROM lanes WHERE job = $1 ORDER BY lane FOR UPDATE";
        statement(sql).bind::<BigInt, _>(job.get()).execute(conn)?;
    }
    Ok(())
}

/// Locks all lanes of a job and closes them, so that no step finds work any more. The caller holds the lock of the
/// job.
pub(in crate::store) fn close_all(conn: &mut Conn, job: JobKey) -> Result<(), DbError> {
    lock_all(conn, job)?;
    diesel::update(lanes::table.filter(lanes::job.eq(job.get()))).set(lanes::open.eq(false)).execute(conn)?;
    Ok(())
}

/// The place where a lane stood when it was read. A failure is recorded only if the lane still stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct LaneStand {
    pub(in crate::store) job: JobKey,
    pub(in crate::store) run: i32,
    pub(in crate::store) lane: i32,
    pub(in crate::store) turn: i32,
    pub(in crate::store) position: i32,
    pub(in crate::store) attempts: i32,
}

/// The place where the lane of a step stands. `None` if the lane has ended, or if the step is of another run or turn.
pub(in crate::store) fn stand(conn: &mut Conn, step: &Step) -> Result<Option<LaneStand>, DbError> {
    let row: Option<(i64, i32, i32)> = lanes::table
        .inner_join(jobs_table::table.on(jobs_table::id.eq(lanes::job)))
        .filter(jobs_table::job_id.eq(step.job_id.to_string()))
        .filter(jobs_table::run.eq(step.run))
        .filter(lanes::lane.eq(step.lane))
        .filter(lanes::turn.eq(step.turn))
        .filter(lanes::open.eq(true))
        .select((lanes::job, lanes::position, lanes::attempts))
        .first(conn)
        .optional()?;
    let Some((job, position, attempts)) = row else { return Ok(None) };
    let (run, lane, turn) = (step.run, step.lane, step.turn);
    Ok(Some(LaneStand { job: id(job)?, run, lane, turn, position, attempts }))
}

/// Whether a lane still stands where it was read. It stays there until the transaction ends, since its row is locked.
/// The caller holds the lock of the job.
pub(in crate::store) fn still_stands(conn: &mut Conn, stand: &LaneStand) -> Result<bool, DbError> {
    lock_all(conn, stand.job)?;
    let same = lanes::table
        .filter(lanes::job.eq(stand.job.get()))
        .filter(lanes::lane.eq(stand.lane))
        .filter(lanes::turn.eq(stand.turn))
        .filter(lanes::position.eq(stand.position))
        .filter(lanes::attempts.eq(stand.attempts))
        .filter(lanes::open.eq(true));
    Ok(same.count().get_result::<i64>(conn)? == 1)
}

/// Adds the counts of a chunk, whose outcomes are recorded, to the row of its lane, which was locked when it was moved
/// on.
pub(in crate::store) fn add(
    conn: &mut Conn,
    stand: &LaneStand,
    progress_at: i64,
    counts: Counts,
    taken: Taken,
) -> Result<(), DbError> {
    let sql = "UPDATE lanes SET granted = granted + $1, upgraded = upgraded + $2, unchanged = unchanged + $3, \
               rejected = rejected + $4, revoked = revoked + $5, lowered = lowered + $6, kept = kept + $7, \
               untouched = untouched + $8, progress_at = $9, recorded = recorded + $10 WHERE job = $11 AND lane = $12";
    statement(sql)
        .bind::<BigInt, _>(stored(counts.granted))
        .bind::<BigInt, _>(stored(counts.upgraded))
        .bind::<BigInt, _>(stored(counts.unchanged))
        .bind::<BigInt, _>(stored(counts.rejected))
        .bind::<BigInt, _>(stored(taken.revoked))
        .bind::<BigInt, _>(stored(taken.lowered))
        .bind::<BigInt, _>(stored(taken.kept))
        .bind::<BigInt, _>(stored(taken.untouched))
        .bind::<BigInt, _>(progress_at)
        .bind::<BigInt, _>(stored(counts.done() + taken.done()))
        .bind::<BigInt, _>(stand.job.get())
        .bind::<Integer, _>(stand.lane)
        .execute(conn)?;
    Ok(())
}

/// A lane of a job that was reopened.
#[derive(QueryableByName)]
pub(in crate::store) struct Reopened {
    #[diesel(sql_type = Integer)]
    pub(in crate::store) lane: i32,
    /// The turn of the new run, which is one more than the last turn of the older run. A worker that still holds a
    /// step of the older run finds that the lane is in another turn, and does nothing.
    #[diesel(sql_type = Integer)]
    pub(in crate::store) turn: i32,
    /// Whether the older run had not come to the end of the lane, so that the lane has work to do.
    #[diesel(sql_type = Bool)]
    pub(in crate::store) open: bool,
}

/// Opens the lanes that had not come to their end. The turn of every lane grows, so that a step of the older run finds
/// nothing to do.
const REOPEN_LANES: &str = "UPDATE lanes SET open = position < end_position, turn = turn + 1, attempts = 0, failures = 0, \
    not_before = NULL, last_error = NULL, lease_ms = $1, due_at = now_ms() + $2 \
    WHERE job = $3 RETURNING lane, turn, open";

/// Makes the lanes of a job ready for another run, and returns them by number. Lanes that had not come to their end
/// are open again. Positions and counts stay as they are, since what was granted stays granted. Failures are counted
/// anew, since they belong to a run. The caller holds the lock of the job.
pub(in crate::store) fn reopen_all(
    conn: &mut Conn,
    job: JobKey,
    lease: Duration,
) -> Result<Vec<Reopened>, DbError> {
    lock_all(conn, job)?;
    let lease = millis(lease);
    let mut lanes: Vec<Reopened> = statement(REOPEN_LANES)
        .bind::<BigInt, _>(lease)
        .bind::<BigInt, _>(lease)
        .bind::<BigInt, _>(job.get())
        .load(conn)?;
    lanes.sort_by_key(|lane| lane.lane);
    Ok(lanes)
}
