//! Begins jobs: one transaction makes or finds the row of each requested job and starts its work.
//!
//! A job that fits one chunk is planned, applied and ended here. Each statement does this for all such jobs of the
//! call, so that a single job is a batch of one and there is only one path. A larger job gets the list of its secrets
//! and its lanes, and the outbox gets one step message for each lane.

use std::collections::HashMap;
use std::sync::Arc;

use crate::contract;
use crate::contract::{JobRequested, StoredRequest};
use crate::db::{Conn, DbError, Flow};
use crate::domain::job::Move;
use crate::domain::plan::ChunkPlan;
use crate::domain::share::pairs_of;
use crate::domain::{
    Counts, FailReason, JobId, JobKey, JobKind, JobSnapshot, JobState, Limits, SecretId, Selection, Taken,
};
use crate::store::job::apply;
use crate::store::job::apply::{Applied, Chunk, Guess};
use crate::store::job::decide::{Decided, decide_small, decide_with_row};
use crate::store::job::ending::{Ending, Report};
use crate::store::job::insert::{ExpectedEnd, NewJob};
use crate::store::job::lane_work::LaneOptions;
use crate::store::job::rejections::Rejected;
use crate::store::job::row::JobRow;
use crate::store::job::{ending, insert, ledger, rejections, row, selection, start, unshare};
use crate::store::transact::{LOCKS_OF_MANY, LOCKS_OF_WORK, Store};
use crate::store::tx::Tx;

/// The part of the configuration that beginning a job depends on.
#[derive(Debug, Clone)]
pub struct BeginOptions {
    pub limits: Limits,
    /// The most pairs that one transaction applies. A job with more pairs is divided into lanes.
    pub chunk_pairs: u64,
    /// The most lanes that a large job is divided into.
    pub lanes: u32,
    pub lane: LaneOptions,
}

/// What became of a request that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The job was queued and fitted one chunk, so it was begun and ended in this transaction. Its terminal event is
    /// in the outbox.
    Ended(JobSnapshot),
    /// The job was queued and is too large for one chunk. It is running now: its lanes exist, and the outbox has a
    /// step for each of them. It ends when its last lane ends, or when the attempts of a lane are used up.
    Started(JobSnapshot),
    /// The job was begun earlier, and may have ended since, or it was cancelled before it began. Nothing was done.
    AlreadyBegun,
    /// An earlier attempt failed and the time of the next attempt has not come. Nothing was done: due work sends the
    /// request again at that time.
    Waiting,
    /// A job with this id exists, and it was requested with other content. Nothing was done to that job. The caller
    /// makes a dead letter of the request.
    Conflict,
}

impl Store {
    /// Makes or finds the jobs of these requests and begins them, in one transaction. A request that is delivered a
    /// second time changes nothing. The caller makes sure that the requests are independent of each other
    /// ([`crate::domain::groups`]), so that each job ends as if the requests had been begun one after the other.
    ///
    /// The answers are in the order of the requests. If there are several requests, an answer of `None` means that
    /// another transaction holds the row of that job: nothing was done about it, and the caller has to begin it by
    /// itself. A single request waits for that other transaction instead, so its answer is never `None`.
    ///
    /// # Errors
    /// An error of the database concerns all of the requests, since they share one transaction. Usually nothing was
    /// done. If the answer to the commit was lost, everything was done or nothing, and the next delivery of each
    /// request finds out which.
    pub async fn begin(
        &self,
        mut asked: Vec<JobRequested>,
        options: BeginOptions,
    ) -> Result<Vec<Option<Begun>>, DbError> {
        for request in &mut asked {
            request.traceparent.get_or_insert_with(contract::new_traceparent);
        }
        let locks = if asked.len() > 1 { LOCKS_OF_MANY } else { LOCKS_OF_WORK };
        let alone = asked.len() == 1;
        let mut answers: Vec<Option<Begun>> = asked.iter().map(|_| None).collect();
        let mut places: Vec<usize> = (0..asked.len()).collect();
        let mut guess = Guess::default();
        let mut asked = Arc::new(asked);
        loop {
            let (tried, options) = (Arc::clone(&asked), options.clone());
            let begin = move |tx: &mut Tx<'_>| begin(tx, &tried, &options, guess);
            match self.transact_soon(locks, begin).await? {
                Tried::Begun(begun) => {
                    for (place, begun) in places.into_iter().zip(begun) {
                        if let Some(answer) = answers.get_mut(place) {
                            *answer = begun;
                        }
                    }
                    return Ok(answers);
                }
                // Somebody takes access away from secrets that these jobs share, and the transaction was rolled back. A
                // single job comes again and waits. Of several, these are left to be begun by themselves.
                Tried::Busy(_) if alone => guess.confirms = true,
                Tried::Busy(busy) => {
                    let is_busy = |place: usize| busy.contains(&place);
                    let free = (0..asked.len()).filter(|place| !is_busy(*place));
                    places = free.clone().filter_map(|place| places.get(place).copied()).collect();
                    asked = Arc::new(free.filter_map(|place| asked.get(place).cloned()).collect());
                    if asked.is_empty() || busy.is_empty() {
                        return Ok(answers);
                    }
                }
            }
        }
    }

    /// Does what [`Store::begin`] does for a single request, which always has an answer.
    ///
    /// # Errors
    /// The errors are those of [`Store::begin`].
    pub async fn begin_one(&self, asked: JobRequested, options: BeginOptions) -> Result<Begun, DbError> {
        let job = asked.job_id;
        let begun = self.begin(vec![asked], options).await?.pop().flatten();
        begun.ok_or_else(|| DbError::Corrupt(format!("job {job} was not found")))
    }
}

/// What became of a transaction that begins jobs.
enum Tried {
    /// The answers, in the order of the requests.
    Begun(Vec<Option<Begun>>),
    /// The jobs at these places found access granted already that somebody takes away at the moment. Nothing was done.
    Busy(Vec<usize>),
}

fn begin(
    tx: &mut Tx<'_>,
    asked: &[JobRequested],
    options: &BeginOptions,
    guess: Guess,
) -> Result<Flow<Tried>, DbError> {
    let decided = decide_small(tx.conn, asked, &options.limits, options.chunk_pairs)?;
    let found = find(tx, asked, &decided)?;
    let mut answers: Vec<Option<Begun>> = asked.iter().map(|_| None).collect();
    let mut ready = Vec::with_capacity(asked.len());
    for (place, ((found, decided), asked)) in found.into_iter().zip(decided).zip(asked).enumerate() {
        let (row, expected) = match found {
            Found::Job { row, expected } => (row, expected),
            Found::Nothing(why) => {
                answers[place] = Some(why);
                continue;
            }
            Found::Held => continue,
        };
        if row.kind == JobKind::Unshare && !ledger::is_complete(tx.conn)? {
            unshare::put_off(tx.conn, &row)?;
            answers[place] = Some(Begun::Waiting);
            continue;
        }
        let (row, decided) = match decided {
            Some(decided) => (row, decided),
            None => decide_with_row(tx, row, &asked.request, &options.limits, options.chunk_pairs)?,
        };
        match decided {
            Decided::Lanes(secrets) => {
                answers[place] = Some(Begun::Started(start_lanes(tx, row, asked, &secrets, options)?));
            }
            Decided::Apply(plan) => ready.push((place, Ready { row, asked, outcome: Ok(plan), expected })),
            Decided::Fail(reason) => {
                ready.push((place, Ready { row, asked, outcome: Err(reason), expected }))
            }
        }
    }
    let (places, ready): (Vec<usize>, Vec<Ready>) = ready.into_iter().unzip();
    match apply_and_end(tx, ready, guess)? {
        Ok(ended) => {
            for (place, ended) in places.into_iter().zip(ended) {
                answers[place] = Some(Begun::Ended(ended));
            }
            Ok(Flow::Commit(Tried::Begun(answers)))
        }
        Err(busy) => {
            let busy = busy.into_iter().filter_map(|ready| places.get(ready).copied()).collect();
            Ok(Flow::Rollback(Tried::Busy(busy)))
        }
    }
}

/// What was found in the table of jobs for a request.
enum Found {
    /// The job is to begin now, and this transaction has its row locked. `expected` is set if this transaction has
    /// inserted the row as one that has ended already (see [`NewJob::expected_end`]).
    Job { row: JobRow, expected: Option<ExpectedEnd> },
    /// The job is not to begin now. This is the answer that says why.
    Nothing(Begun),
    /// Another transaction holds the row of the job.
    Held,
}

/// Inserts a row for each job that is new. Finds the rows of the other jobs and locks them.
fn find(tx: &mut Tx<'_>, asked: &[JobRequested], decided: &[Option<Decided>]) -> Result<Vec<Found>, DbError> {
    let kept: Vec<StoredRequest> = asked.iter().map(|asked| StoredRequest::of(&asked.request)).collect();
    let mut new = Vec::with_capacity(asked.len());
    for ((asked, kept), decided) in asked.iter().zip(&kept).zip(decided) {
        let expected_end = decided.as_ref().map_or(Ok(None), Decided::expected)?;
        new.push(NewJob {
            job_id: asked.job_id,
            requested_by: asked.request.requested_by,
            request: Some((&asked.request, kept)),
            idempotency_key: None,
            traceparent: asked.traceparent.as_deref().unwrap_or_default(),
            asked_here: false,
            expected_end,
        });
    }
    let keys = insert::insert(tx, &new)?;
    let mut others = lock_others(tx, asked, &keys)?;
    let expected: Vec<Option<ExpectedEnd>> = new.into_iter().map(|job| job.expected_end).collect();
    let now = tx.now()?;
    let mut found = Vec::with_capacity(asked.len());
    for ((asked, kept), expected) in asked.iter().zip(&kept).zip(expected) {
        found.push(match (keys.get(&asked.job_id), others.remove(&asked.job_id)) {
            (Some(key), _) => Found::Job { row: JobRow::queued(*key, asked, &kept.digest, now), expected },
            (None, Some(row)) => to_begin(tx.conn, row, asked, &kept.digest, now)?,
            (None, None) => Found::Held,
        });
    }
    Ok(found)
}

/// Locks the jobs that existed before this call. If several requests were given, the jobs that another transaction
/// holds are left out of the answer. If there is only one, this waits for its lock.
fn lock_others(
    tx: &mut Tx<'_>,
    asked: &[JobRequested],
    new: &HashMap<JobId, JobKey>,
) -> Result<HashMap<JobId, JobRow>, DbError> {
    let others: Vec<JobId> =
        asked.iter().map(|asked| asked.job_id).filter(|id| !new.contains_key(id)).collect();
    let rows = match (others.as_slice(), asked) {
        ([], _) => Vec::new(),
        ([job], [_]) => {
            // The insert found this id taken, and rows of jobs are never deleted, so the row must be there.
            let gone = || DbError::Corrupt(format!("job {job} came and went"));
            vec![row::lock_by_id(tx.conn, *job)?.ok_or_else(gone)?]
        }
        _ => row::lock_free(tx, others)?,
    };
    Ok(rows.into_iter().map(|row| (row.job_id, row)).collect())
}

/// Decides whether a job that existed before is to begin now. The caller has locked its row.
fn to_begin(
    conn: &mut Conn,
    row: JobRow,
    asked: &JobRequested,
    digest: &str,
    now: i64,
) -> Result<Found, DbError> {
    let row = insert::fill(conn, row, &asked.request)?;
    // It waited for the body of its request when it was cancelled. Now that the body comes, nothing is done with it.
    let was_waiting = row.digest.is_none()
        && row.state == JobState::Cancelled
        && row.requested_by == asked.request.requested_by;
    Ok(if was_waiting {
        Found::Nothing(Begun::AlreadyBegun)
    } else if row.digest.as_deref() != Some(digest) {
        Found::Nothing(Begun::Conflict)
    } else if row.state != JobState::Queued {
        Found::Nothing(Begun::AlreadyBegun)
    } else if row.not_before.is_some_and(|not_before| not_before > now) {
        Found::Nothing(Begun::Waiting)
    } else {
        Found::Job { row, expected: None }
    })
}

/// Finds the row of a job that is to begin, or inserts it if it is missing, and locks it. A failure to begin the job
/// is recorded in this row. If the job is not to begin now, the inner error is the answer that says why.
pub(in crate::store) fn make_or_find(
    tx: &mut Tx<'_>,
    asked: &JobRequested,
) -> Result<Result<JobRow, Begun>, DbError> {
    match find(tx, std::slice::from_ref(asked), &[None])?.pop() {
        Some(Found::Job { row, .. }) => Ok(Ok(row)),
        Some(Found::Nothing(why)) => Ok(Err(why)),
        // For a single request `find` waits for the lock, so its row is never held by others here.
        Some(Found::Held) | None => Err(DbError::Corrupt(format!("job {} was not found", asked.job_id))),
    }
}

/// A job that is decided and ends in this transaction.
struct Ready<'a> {
    row: JobRow,
    asked: &'a JobRequested,
    /// The pairs to apply, or the reason why the job fails.
    outcome: Result<ChunkPlan, FailReason>,
    /// The end that the row was inserted with, if it was (see [`NewJob::expected_end`]).
    expected: Option<ExpectedEnd>,
}

/// A job of one chunk has no lanes. It keeps its rejections under this lane number.
const NO_LANE: i32 = 0;

/// Applies the plans of these jobs and ends the jobs. The answers are in the order of the jobs. The inner error has the
/// places of the jobs that somebody keeps from being applied now (see [`Tried::Busy`]); the caller rolls back then.
fn apply_and_end(
    tx: &mut Tx<'_>,
    ready: Vec<Ready<'_>>,
    guess: Guess,
) -> Result<Result<Vec<JobSnapshot>, Vec<usize>>, DbError> {
    let chunks: Vec<Chunk<'_>> = ready
        .iter()
        .filter_map(|Ready { row, asked, outcome, .. }| {
            let (job, recipients) = (row.key, &asked.request.recipients[..]);
            Some(Chunk { job, plan: outcome.as_ref().ok()?, recipients, among: None, from: 0, whole: true })
        })
        .collect();
    let mut counts = match apply::apply(tx, &chunks, guess)? {
        Applied::Done(counts) => counts.into_iter(),
        Applied::Busy(secrets) => {
            let needs = |job: &Ready<'_>| {
                job.outcome.as_ref().is_ok_and(|plan| secrets.iter().any(|id| plan.secrets.contains(id)))
            };
            let busy = (0..).zip(&ready).filter(|(_, job)| needs(job)).map(|(place, _)| place).collect();
            return Ok(Err(busy));
        }
    };
    let rejected: Vec<Rejected<'_>> = chunks
        .iter()
        .map(|chunk| Rejected { job: chunk.job, lane: NO_LANE, lines: &chunk.plan.rejections })
        .collect();
    rejections::add(tx.conn, &rejected)?;
    let mut endings = Vec::with_capacity(ready.len());
    for Ready { row, outcome, expected, .. } in ready {
        let (step, counts, lines) = match outcome {
            Ok(plan) => {
                let counts = counts.next().unwrap_or_default();
                (Move::Finish(counts), counts, plan.rejections)
            }
            Err(reason) => (Move::Fail(reason), Counts::default(), Vec::new()),
        };
        tx.tally.pairs = tx.tally.pairs + counts;
        let written = expected.is_some_and(|expected| expected.counts == counts);
        endings.push(Ending {
            row,
            step,
            counts,
            taken: Taken::default(),
            report: Report::Whole(lines),
            ledger: true,
            begins: true,
            written,
        });
    }
    ending::end(tx, endings).map(Ok)
}

/// Starts a large job: writes the list of its secrets, and starts its lanes over it.
fn start_lanes(
    tx: &mut Tx<'_>,
    row: JobRow,
    asked: &JobRequested,
    secrets: &[SecretId],
    options: &BeginOptions,
) -> Result<JobSnapshot, DbError> {
    if !matches!(asked.request.selection, Selection::All(_)) {
        selection::write_snapshot(tx.conn, row.key, secrets)?;
    }
    let lanes = match row.kind {
        JobKind::Share => options.lanes,
        // A small job that takes away has lanes, too. More lanes than chunks would only be more messages.
        JobKind::Undo | JobKind::Unshare => {
            let pairs = pairs_of(secrets.len(), asked.request.recipients.len());
            let chunks = pairs.div_ceil(options.chunk_pairs.max(1)).max(1);
            options.lanes.min(u32::try_from(chunks).unwrap_or(u32::MAX))
        }
    };
    start::start(tx, &row, start::divide(secrets.len(), lanes), &options.lane)
}
