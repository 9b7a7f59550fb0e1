//! Finds out which pairs a job left undone: by what is recorded of each pair, and by how far its lanes came.

use std::collections::{BTreeSet, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::rest::{Rest, none_of, places, put, rest};
use crate::domain::{
    JobId, JobKey, PairOutcome, PrincipalId, PrincipalKind, Recipient, RejectReason, SecretId,
};
use crate::store::codes::id;
use crate::store::job::row::JobRow;
use crate::store::job::{about, outcomes, parts, rejections, row, undo};

/// How many pairs are in memory at once, at a byte each.
const PART: usize = 1_000_000;
/// The most jobs that may have shared what one job left undone.
pub(in crate::store) const MOST_RESTS: usize = 100;

/// The jobs that share what this job left undone, and what those left undone in turn, by their keys. If there are more
/// than [`MOST_RESTS`], one more than these is returned.
pub(in crate::store) fn rests(conn: &mut Conn, job: JobId) -> Result<Vec<JobRow>, DbError> {
    #[derive(QueryableByName)]
    struct Key {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let sql = format!(
        "WITH RECURSIVE r AS (SELECT id, job_id FROM jobs WHERE parent = $1 AND kind = 'share' \
         UNION SELECT j.id, j.job_id FROM jobs j JOIN r ON j.parent = r.job_id WHERE j.kind = 'share') \
         SELECT id FROM r ORDER BY id LIMIT {}",
        MOST_RESTS + 1
    );
    let keys: Vec<Key> = statement(sql).bind::<Text, _>(job.to_string()).load(conn)?;
    keys.into_iter().map(|key| row::read(conn, id::<JobKey>(key.id)?)).collect()
}

/// The pairs that this job, which has ended, left undone: those that it never came to, and those that it rejected, or
/// only those rejected for one of these `reasons` if there are any. What one of the `rests` has done is not among them,
/// unless that was taken back with it. `None` if nobody knows which pairs they are.
pub(in crate::store) fn left(
    conn: &mut Conn,
    job: &JobRow,
    reasons: &BTreeSet<RejectReason>,
    rests: &[JobRow],
) -> Result<Option<Rest>, DbError> {
    let recipients = about::recipients(conn, job)?;
    let secrets = about::secrets(conn, job, 0, usize::MAX)?;
    if recipients.is_empty() || (secrets.is_empty() && !job.has_snapshot) {
        return Ok(None);
    }
    let why = if reasons.is_empty() { None } else { Some(Reasons::read(conn, job)?) };
    let everybody: Vec<usize> = places(None, recipients.len());
    let mut left: Vec<(SecretId, Vec<u8>)> = Vec::with_capacity(secrets.len());
    let step = (PART / recipients.len()).max(1);
    for (from, some) in (0..).step_by(step).zip(secrets.chunks(step)) {
        let to = from + some.len();
        let Some(outcomes) = outcomes::read(conn, job, from, to)? else { return Ok(None) };
        let parts = match job.has_parts() {
            true => parts::read(conn, job.key, recipients.len(), from, to)?,
            false => Vec::new(),
        };
        let mut parts = parts.iter().peekable();
        for ((position, secret), of_secret) in (from..).zip(some).zip(outcomes.chunks(recipients.len())) {
            while parts.next_if(|part| part.to <= position).is_some() {}
            let places = parts.peek().map_or(&everybody, |part| &part.places);
            let mut bits = none_of(recipients.len());
            for &place in places {
                let is_left = match of_secret.get(place).copied().flatten() {
                    None => true,
                    Some(PairOutcome::Rejected) => why.as_ref().is_none_or(|why| {
                        let reason = recipients.get(place).and_then(|to| why.of(position, *secret, to));
                        reason.is_some_and(|reason| reasons.contains(&reason))
                    }),
                    Some(_) => false,
                };
                put(&mut bits, place, is_left);
            }
            left.push((*secret, bits));
        }
    }
    for done in rests {
        if !undo::is_undone(conn, done)? {
            leave_out(conn, done, &mut left, &recipients)?;
        }
    }
    Ok(Some(rest(left, &recipients)))
}

/// Leaves out the pairs that this rest has done.
fn leave_out(
    conn: &mut Conn,
    done: &JobRow,
    left: &mut [(SecretId, Vec<u8>)],
    recipients: &[Recipient],
) -> Result<(), DbError> {
    let by_id: HashMap<(PrincipalKind, PrincipalId), usize> =
        recipients.iter().map(|to| (to.kind, to.id)).zip(0..).collect();
    let mut by_secret: HashMap<SecretId, &mut Vec<u8>> =
        left.iter_mut().map(|(secret, bits)| (*secret, bits)).collect();
    let its: Vec<Option<usize>> =
        about::recipients(conn, done)?.iter().map(|to| by_id.get(&(to.kind, to.id)).copied()).collect();
    let secrets = about::secrets(conn, done, 0, usize::MAX)?;
    let step = (PART / its.len().max(1)).max(1);
    for (from, some) in (0..).step_by(step).zip(secrets.chunks(step)) {
        let unrecorded = || DbError::Corrupt(format!("outcomes of job {}", done.job_id));
        let outcomes = outcomes::read(conn, done, from, from + some.len())?.ok_or_else(unrecorded)?;
        for (secret, of_secret) in some.iter().zip(outcomes.chunks(its.len().max(1))) {
            let Some(bits) = by_secret.get_mut(secret) else { continue };
            for (place, outcome) in its.iter().zip(of_secret) {
                if let (
                    Some(place),
                    Some(PairOutcome::Granted | PairOutcome::Upgraded | PairOutcome::Unchanged),
                ) = (place, outcome)
                {
                    put(bits, *place, false);
                }
            }
        }
    }
    Ok(())
}

/// Why pairs of a job were rejected.
struct Reasons {
    secrets: HashMap<SecretId, RejectReason>,
    /// By the lane and the recipient. Each lane has a reason of its own, the first that it came upon.
    recipients: HashMap<(i32, PrincipalKind, PrincipalId), RejectReason>,
    /// The number of each lane and the position at which it ends, in their order. A small job has none.
    lanes: Vec<(i32, usize)>,
}

impl Reasons {
    fn read(conn: &mut Conn, job: &JobRow) -> Result<Self, DbError> {
        let (secrets, recipients) = rejections::reasons(conn, job.key)?;
        Ok(Self { secrets, recipients, lanes: outcomes::lane_ends(conn, job.key)? })
    }

    /// Why this pair, which was rejected, was. A secret that was rejected was so for everybody.
    fn of(&self, position: usize, secret: SecretId, to: &Recipient) -> Option<RejectReason> {
        if let Some(reason) = self.secrets.get(&secret) {
            return Some(*reason);
        }
        let lane = self.lanes.iter().find(|(_, end)| position < *end).map_or(0, |(lane, _)| *lane);
        self.recipients.get(&(lane, to.kind, to.id)).copied()
    }
}
