//! Works on the lanes of a large job: a lane is a part of its secrets that is worked on independently of the others.
//!
//! A worker that takes a step of a lane applies one chunk after the other for a slice of time, each in one
//! transaction, and then sends the next step. The order of locks is the same everywhere: the job, its lanes by
//! number, secrets by id, grants by key.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer};

use crate::db::{Conn, DbError, Flow, statement};
use crate::domain::event::{EventKind, Rejection};
use crate::domain::plan::{Plan, plan};
use crate::domain::{Counts, JobKind, JobSnapshot, SecretId};
use crate::store::clock::Now;
use crate::store::job::apply;
use crate::store::job::apply::{Applied, Chunk};
use crate::store::job::ending::Done;
use crate::store::job::lane_work::{LaneOptions, LaneWork, position};
use crate::store::job::parts;
use crate::store::job::parts::Section;
use crate::store::job::rejections::Rejected;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::job::selection;
use crate::store::job::snapshot;
use crate::store::job::taking::{TakenChunk, ToTakeBack, TookBack};
use crate::store::job::{ending, lane_rows, rejections, taking, unshare};
use crate::store::schema::jobs as jobs_table;
use crate::store::transact::{LOCKS_OF_WORK, Store};
use crate::store::tx::Tx;
use crate::store::vault::facts;
use crate::store::vault::facts::Asked;

/// The least time between two progress events of one lane. The contract promises at most a few a second for a job.
const PROGRESS_EVERY_MS: i64 = 500;

/// What became of a chunk.
#[derive(Debug, Clone)]
pub enum ChunkDone {
    /// The chunk was applied, and the lane has more to do, from the position in `next`. If `stepped`, the outbox has
    /// the lane's next step, and whoever takes that step goes on. Otherwise the caller goes on with `next`.
    Moved { next: Box<LaneWork>, stepped: bool },
    /// The chunk was applied, and it was the last one of this lane. Other lanes of the job still have work to do.
    LaneEnded,
    /// The chunk was applied, and it was the last one of the last open lane, so the job has ended. Its terminal event
    /// is in the outbox.
    JobEnded(JobSnapshot),
    /// The lane's position has changed since we read it: another worker is working on it. Nothing was done.
    SomebodyElse,
    /// The requester may not act any more, so nothing was done. The caller has to fail the job
    /// ([`Store::requester_lost`]).
    RequesterNotValid,
}

impl Store {
    /// Works on one chunk in one transaction: moves the lane on, checks what the requester may share, applies the
    /// grants and counts them. If this was the last chunk of the lane or of the job, it ends the lane or the job.
    ///
    /// `last` says that the caller's slice of time is over. The transaction then sends the next step of the lane.
    ///
    /// # Errors
    /// An error of the database. Nothing of the chunk was done, unless the answer to the commit was lost: then a
    /// repeated call finds that the lane's position has changed, and a new delivery of the step reads the lane again.
    pub async fn chunk(
        &self,
        work: LaneWork,
        last: bool,
        options: LaneOptions,
    ) -> Result<ChunkDone, DbError> {
        let mut work = work;
        loop {
            let tried = work.clone();
            let run = move |tx: &mut Tx<'_>| run_chunk(tx, tried, last, &options);
            match self.transact_soon(LOCKS_OF_WORK, run).await? {
                Some(done) => return Ok(done),
                // Somebody takes access to secrets of this chunk away, and it is waited for before the chunk begins. Or
                // the pairs of an undo have to be told apart.
                None => work.confirms = true,
            }
        }
    }
}

/// Works on one chunk. `None`: nothing was done, and the caller comes again in the other way (see
/// [`LaneWork::confirms`]).
fn run_chunk(
    tx: &mut Tx<'_>,
    mut work: LaneWork,
    last: bool,
    options: &LaneOptions,
) -> Result<Flow<Option<ChunkDone>>, DbError> {
    let from = work.position;
    let section = parts::section(tx.conn, work.parts, &work.recipients, from)?;
    let secrets = work.chunk_pairs / (section.recipients.len() as u64).max(1);
    let secrets = usize::try_from(secrets).unwrap_or(usize::MAX).max(1);
    let to = from.saturating_add(secrets).min(section.to).min(work.end);
    let ends_lane = to == work.end;
    // The last chunk of a lane may end the job, so it locks the job before it locks the lane. All other chunks leave
    // the job's row alone, so that the lanes of a job do not wait for each other.
    let locked = if ends_lane { Some(row::lock(tx.conn, work.job.key)?) } else { None };
    let stepped = last && !ends_lane;
    let Some(now) = move_on(tx.conn, &work, to, ends_lane, stepped, options)? else {
        return Ok(Flow::Rollback(Some(ChunkDone::SomebodyElse)));
    };
    let secrets = selection::read_snapshot(tx.conn, work.list, from, to)?;
    let worked = match work.job.kind {
        JobKind::Share => {
            tx.now_is(now);
            share(tx, &work, &section, from, &secrets)?
        }
        // Its time is that after the wait for the locks of its secrets.
        JobKind::Undo | JobKind::Unshare => take(tx.conn, &work, &section, from, &secrets)?,
    };
    let (done, lines, confirms) = match worked {
        Worked::Done { done, lines, confirms } => (done, lines, confirms),
        Worked::Again => return Ok(Flow::Rollback(None)),
        Worked::RequesterNotValid => return Ok(Flow::Rollback(Some(ChunkDone::RequesterNotValid))),
    };
    let rejected = Rejected { job: work.job.key, lane: work.lane, lines: &lines };
    rejections::add(tx.conn, &[rejected])?;
    tx.tally.pairs = done.counts;
    let now = tx.now()?;
    let progress = (work.lane == 0 && work.progress_at == 0) || now - work.progress_at >= PROGRESS_EVERY_MS;
    if progress {
        work.progress_at = now;
    }
    lane_rows::add(tx.conn, &work.stand(), work.progress_at, done.counts, done.taken)?;
    if progress {
        let snapshot = snapshot::snapshot(tx.conn, &work.job)?;
        let part = format!("{}/{to}", work.lane);
        tx.emit(EventKind::Progress, work.job.key, &snapshot, &part, &work.job.traceparent)?;
    }
    if let Some(job) = locked {
        return end_lane(tx, job).map(|done| Flow::Commit(Some(done)));
    }
    work.position = to;
    work.attempts = 0;
    work.repeats = done.counts.unchanged > done.counts.done() / 2;
    work.confirms = confirms;
    if stepped {
        work.turn += 1;
        tx.wake(work.job.key, &work.step(work.turn), &work.job.traceparent);
    }
    Ok(Flow::Commit(Some(ChunkDone::Moved { next: Box::new(work), stepped })))
}

/// What became of the pairs of a chunk.
enum Worked {
    /// They are done. `lines` says what was rejected and why. `confirms` is for the next chunk.
    Done { done: Done, lines: Vec<Rejection>, confirms: bool },
    /// The chunk has to be done in the other way (see [`LaneWork::confirms`]): somebody takes access to some of the
    /// secrets away at the moment, or the pairs of an undo have to be told apart.
    Again,
    /// The requester may not act any more.
    RequesterNotValid,
}

/// Shares a chunk, which begins at the position `from`.
fn share(
    tx: &mut Tx<'_>,
    work: &LaneWork,
    Section { recipients, places, .. }: &Section,
    from: usize,
    secrets: &[SecretId],
) -> Result<Worked, DbError> {
    let about = Asked { requester: work.job.requested_by, secrets, recipients };
    let facts = facts::read(tx.conn, &[about])?.pop().unwrap_or_default();
    let Plan::Apply(chunk) = plan(secrets, recipients, &facts) else {
        return Ok(Worked::RequesterNotValid);
    };
    let among = places.as_deref().map(|places| (places, work.recipients.len()));
    let part = Chunk { job: work.job.key, plan: &chunk, recipients, among, from, whole: false };
    let counts: Counts = match apply::apply(tx, &[part], work.guess())? {
        Applied::Done(counts) => counts.into_iter().sum(),
        Applied::Busy(_) => return Ok(Worked::Again),
    };
    let confirms = chunk.confirmed(&counts) > 0;
    let done = Done { counts, ..Done::default() };
    Ok(Worked::Done { done, lines: chunk.rejections, confirms })
}

/// Takes access away on a chunk, which begins at the position `from`.
fn take(
    conn: &mut Conn,
    work: &LaneWork,
    Section { recipients, .. }: &Section,
    from: usize,
    secrets: &[SecretId],
) -> Result<Worked, DbError> {
    let (chunk, differ) = if work.job.kind == JobKind::Unshare {
        let chunk = unshare::take_away(conn, &work.job, from, secrets, recipients)?;
        let Some(chunk) = chunk else { return Ok(Worked::RequesterNotValid) };
        (chunk, false)
    } else {
        let corrupt = || DbError::Corrupt(format!("parent of job {}", work.job.job_id));
        let of = ToTakeBack {
            undo: &work.job,
            parent: work.parent.ok_or_else(corrupt)?,
            from,
            secrets,
            recipients,
            telling: work.confirms,
        };
        match taking::take_back(conn, &of)? {
            TookBack::Done { chunk, differ } => (chunk, differ),
            TookBack::NotTold => return Ok(Worked::Again),
            TookBack::RequesterNotValid => return Ok(Worked::RequesterNotValid),
        }
    };
    let TakenChunk { taken, rejections: lines } = chunk;
    let counts = Counts { rejected: lines.iter().map(|line| line.pairs).sum(), ..Counts::default() };
    Ok(Worked::Done { done: Done { counts, taken, ..Done::default() }, lines, confirms: differ })
}

/// Moves a lane on and gives it a new lease, only if it is still at the turn and position that were read. The
/// condition is in the update itself, so that of two workers with the same chunk only one applies it. A chunk that
/// comes this far ends the lane's series of failed attempts.
const MOVE_LANE: &str = "UPDATE lanes SET position = $1, open = $2, turn = turn + $3, attempts = 0, not_before = NULL, \
    lease_ms = $4, due_at = now_ms() + $5 \
    WHERE job = $6 AND lane = $7 AND turn = $8 AND position = $9 AND open \
    RETURNING now_us() AS now";

/// Moves the lane on to the position `to`, and returns the database's time in microseconds. `None` if the lane is not at
/// the turn and position that were read: another worker has moved it on.
fn move_on(
    conn: &mut Conn,
    work: &LaneWork,
    to: usize,
    ends: bool,
    stepped: bool,
    options: &LaneOptions,
) -> Result<Option<i64>, DbError> {
    let moved: Option<Now> = statement(MOVE_LANE)
        .bind::<Integer, _>(position(to))
        .bind::<Bool, _>(!ends)
        .bind::<Integer, _>(i32::from(stepped))
        .bind::<BigInt, _>(options.lease_ms())
        .bind::<BigInt, _>(options.lease_ms())
        .bind::<BigInt, _>(work.job.key.get())
        .bind::<Integer, _>(work.lane)
        .bind::<Integer, _>(work.turn)
        .bind::<Integer, _>(position(work.position))
        .get_result(conn)
        .optional()?;
    Ok(moved.map(|moved| moved.now))
}

/// Counts one open lane less for the job, and ends the job if no lane is left open. The caller has locked the job.
fn end_lane(tx: &mut Tx<'_>, job: JobRow) -> Result<ChunkDone, DbError> {
    let open: i32 = diesel::update(jobs_table::table.filter(jobs_table::id.eq(job.key.get())))
        .set(jobs_table::open_lanes.eq(jobs_table::open_lanes - 1))
        .returning(jobs_table::open_lanes)
        .get_result(tx.conn)?;
    if open > 0 {
        return Ok(ChunkDone::LaneEnded);
    }
    let done = ending::close_lanes(tx.conn, &job)?;
    let finish = done.finish(job.kind);
    ending::end_one(tx, job, finish, done).map(ChunkDone::JobEnded)
}
