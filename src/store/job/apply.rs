//! Applies the plans of jobs and records what became of their pairs: the exact outcomes, and the claims.
//!
//! Pairs that are unchanged are told to their requester as shared, so their grants must still be there when the
//! transaction commits (see [`crate::store::vault::confirm`]). The secrets of such pairs are held, and the plan is
//! applied once more: what was deleted before they were held is inserted now, and counts as granted. Chunks of new
//! grants hold nothing and write nothing but grants.

use std::collections::BTreeSet;

use crate::db::{Conn, DbError};
use crate::domain::outcome::{Given, told};
use crate::domain::plan::ChunkPlan;
use crate::domain::rest::claims_of_job;
use crate::domain::{Counts, JobKey, PairOutcome, Recipient, SecretId};
use crate::store::clock;
use crate::store::job::outcomes;
use crate::store::job::outcomes::{Outcomes, Record};
use crate::store::tx::Tx;
use crate::store::vault::{claims, confirm, grants};

/// The part of a job that is applied by this transaction.
pub(in crate::store) struct Chunk<'a> {
    pub(in crate::store) job: JobKey,
    pub(in crate::store) plan: &'a ChunkPlan,
    /// The recipients of the chunk, in their stored order.
    pub(in crate::store) recipients: &'a [Recipient],
    /// The places of these recipients among those of the job, and how many the job has. `None`: they are all of them.
    pub(in crate::store) among: Option<(&'a [usize], usize)>,
    /// The position of the chunk's first secret in the job's list.
    pub(in crate::store) from: usize,
    /// Whether this is the whole job, which then has no lanes.
    pub(in crate::store) whole: bool,
}

/// What the caller expects. A guess only chooses the faster way: the result is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store) struct Guess {
    /// Most pairs are granted already.
    pub(in crate::store) repeats: bool,
    /// Some pairs are granted already. Their secrets are held before anything is applied, so that nothing has to be
    /// applied twice, and the transaction waits for whoever takes access away from them. It has no grants locked at
    /// that time, so that the two never wait for each other.
    pub(in crate::store) confirms: bool,
}

/// What became of the chunks.
pub(in crate::store) enum Applied {
    /// All were applied and recorded. These are their counts, in their order.
    Done(Vec<Counts>),
    /// Pairs of these secrets are granted already, and somebody takes access to them away now. The caller has to roll
    /// back: it may come again without the chunks of these secrets, or wait for that other transaction by guessing
    /// [`Guess::confirms`].
    Busy(Vec<SecretId>),
}

/// Applies these chunks and records what became of their pairs. No two of them may have a pair in common.
pub(in crate::store) fn apply(
    tx: &mut Tx<'_>,
    chunks: &[Chunk<'_>],
    guess: Guess,
) -> Result<Applied, DbError> {
    if guess.confirms {
        let secrets: BTreeSet<SecretId> =
            chunks.iter().flat_map(|chunk| &chunk.plan.secrets).copied().collect();
        if let Some(now) = confirm::hold(tx.conn, secrets)? {
            tx.later(now);
        }
    }
    let plans: Vec<(JobKey, &ChunkPlan)> = chunks.iter().map(|chunk| (chunk.job, chunk.plan)).collect();
    let now = tx.now_us()?;
    let mut counts = grants::apply(tx.conn, &plans, now, guess.repeats)?;
    if !guess.confirms
        && tx.conn.locks_rows()
        && let Some(busy) = confirm_unchanged(tx, &plans, &mut counts)?
    {
        return Ok(Applied::Busy(busy));
    }
    if counts.iter().any(|counts| counts.upgraded > 0) {
        // The time of an edit is read when its row is written, so it is after the time that this transaction has. A job
        // must not end before that.
        let now = clock::now_us(tx.conn)?;
        tx.later(now);
    }
    record(tx, chunks, &counts)?;
    Ok(Applied::Done(counts))
}

/// Holds the secrets of the plans that have unchanged pairs, and applies these plans once more. Returns the secrets to
/// which somebody takes access away now, if there are any: nothing was applied then.
fn confirm_unchanged(
    tx: &mut Tx<'_>,
    plans: &[(JobKey, &ChunkPlan)],
    counts: &mut [Counts],
) -> Result<Option<Vec<SecretId>>, DbError> {
    let confirming = |(place, (_, plan)): (usize, &(JobKey, &ChunkPlan))| {
        counts.get(place).is_some_and(|counts| plan.confirmed(counts) > 0).then_some(place)
    };
    let places: Vec<usize> = plans.iter().enumerate().filter_map(confirming).collect();
    if places.is_empty() {
        return Ok(None);
    }
    let plans: Vec<(JobKey, &ChunkPlan)> =
        places.iter().filter_map(|place| plans.get(*place)).copied().collect();
    let secrets: BTreeSet<SecretId> = plans.iter().flat_map(|(_, plan)| &plan.secrets).copied().collect();
    let secrets: Vec<SecretId> = secrets.into_iter().collect();
    let tried = confirm::hold_free(tx.conn, &secrets)?;
    if !tried.busy.is_empty() {
        return Ok(Some(tried.busy));
    }
    let now = match tried.now {
        Some(now) => tx.later(now),
        None => tx.now_us()?,
    };
    let again = grants::apply(tx.conn, &plans, now, true)?;
    for (place, again) in places.into_iter().zip(again) {
        if let Some(counts) = counts.get_mut(place) {
            counts.granted += again.granted;
            counts.upgraded += again.upgraded;
            counts.unchanged -= again.granted + again.upgraded;
        }
    }
    Ok(None)
}

/// Writes the outcomes and claims of these chunks, where they are more than what their counts say.
fn record(tx: &mut Tx<'_>, chunks: &[Chunk<'_>], counts: &[Counts]) -> Result<(), DbError> {
    let mut records = Vec::new();
    let mut claimed = Vec::new();
    for (chunk, counts, given) in given(tx.conn, chunks, counts)? {
        let (pairs, claims) = told(chunk.recipients, chunk.plan, &given);
        let outcomes = match counts.only() {
            None => Some(Outcomes::Packed(pairs)),
            Some(outcome) => (!chunk.whole).then_some(Outcomes::Alike(outcome.code())),
        };
        let to = chunk.from + chunk.plan.asked().len();
        records.extend(outcomes.map(|outcomes| Record { job: chunk.job, from: chunk.from, to, outcomes }));
        if !claims.is_empty() {
            let claims = match chunk.among {
                Some((places, recipients)) => claims_of_job(claims, places, recipients),
                None => claims,
            };
            claimed.push((chunk.job, claims));
        }
    }
    outcomes::write(tx.conn, &records)?;
    if !claimed.is_empty() {
        // A claim counts only for rows that are not younger than it. What this transaction found may have been granted
        // after it read its time, so the time is read again.
        let now = clock::now_us(tx.conn)?;
        let at = tx.later(now);
        claims::write(tx.conn, &claimed, at)?;
    }
    Ok(())
}

/// A chunk with something to record: its counts, and what became of the pairs that were applied.
type Told<'a> = (&'a Chunk<'a>, &'a Counts, Given);

/// Finds out what became of the pairs of the chunks that have something to record. Only if the applied pairs of a
/// chunk differ, the rows that they left are read: a row that names the job got its permission from it, since nobody
/// else can change the row before this transaction ends.
fn given<'a>(
    conn: &mut Conn,
    chunks: &'a [Chunk<'a>],
    counts: &'a [Counts],
) -> Result<Vec<Told<'a>>, DbError> {
    let mut told = Vec::new();
    let mut mixed = Vec::new();
    for (chunk, counts) in chunks.iter().zip(counts) {
        match counts.only() {
            Some(PairOutcome::Granted) => continue,
            None if counts.done() == 0 => continue,
            _ => {}
        }
        let unchanged = chunk.plan.confirmed(counts);
        let applied = Counts { unchanged, rejected: 0, ..*counts };
        match applied.only() {
            Some(outcome) => told.push((chunk, counts, Given::Alike(outcome))),
            // Nothing was applied, so no pair has this outcome.
            None if applied.done() == 0 => told.push((chunk, counts, Given::Alike(PairOutcome::Granted))),
            None => mixed.push((chunk, counts)),
        }
    }
    let plans: Vec<(JobKey, &ChunkPlan)> = mixed.iter().map(|(chunk, _)| (chunk.job, chunk.plan)).collect();
    let rows = grants::given_by(conn, &plans)?;
    told.extend(
        mixed.into_iter().zip(rows).map(|((chunk, counts), rows)| (chunk, counts, Given::These(rows))),
    );
    Ok(told)
}
