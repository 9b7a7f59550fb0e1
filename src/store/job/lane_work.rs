//! Finds the lane that a step wakes, with everything that its next chunk needs.

use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};

use crate::contract;
use crate::contract::Step;
use crate::db::{Conn, DbError, statement};
use crate::domain::{JobKey, JobState, Recipient};
use crate::store::codes::{id, millis};
use crate::store::job::apply::Guess;
use crate::store::job::lane_rows::LaneStand;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::transact::Store;

/// The part of the configuration that working on lanes depends on.
#[derive(Debug, Clone, Copy)]
pub struct LaneOptions {
    /// The most pairs that one chunk applies. A chunk has at least one secret, even if its recipients are more than
    /// this.
    pub chunk_pairs: u64,
    /// If a lane makes no progress for this long, its step is taken for lost, and due work sends it again.
    pub lease: Duration,
}

impl LaneOptions {
    pub(in crate::store) fn lease_ms(&self) -> i64 {
        millis(self.lease)
    }
}

/// A position as the database keeps it. It always fits, since a job has at most 100,000 secrets.
pub(in crate::store) fn position(of: usize) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

/// A lane to work on, with everything that its next chunk needs. The values are those that were read or written last:
/// [`Store::chunk`] does nothing if the lane's row has changed since.
#[derive(Debug, Clone)]
pub struct LaneWork {
    pub(in crate::store) job: JobRow,
    /// The job whose list of secrets the positions are in: this one, or the one that it takes back.
    pub(in crate::store) list: JobKey,
    /// The job that this one takes back.
    pub(in crate::store) parent: Option<JobKey>,
    /// The job in whose parts these pairs are: this one or the one that it takes back, if that shares what another left
    /// undone. All other jobs are one rectangle.
    pub(in crate::store) parts: Option<JobKey>,
    pub(in crate::store) recipients: Arc<[Recipient]>,
    pub(in crate::store) lane: i32,
    pub(in crate::store) turn: i32,
    pub(in crate::store) position: usize,
    pub(in crate::store) end: usize,
    pub(in crate::store) attempts: i32,
    pub(in crate::store) progress_at: i64,
    /// The most pairs of a chunk.
    pub(in crate::store) chunk_pairs: u64,
    /// Whether most pairs of the lane so far had been granted before. The next chunk guesses that this goes on, and
    /// takes the way that is faster then.
    pub(in crate::store) repeats: bool,
    /// Of a share, whether some pairs of the chunk before had been granted before. The next chunk then holds its secrets
    /// before it applies anything. Of an undo, whether the pairs of the chunk before came out differently. The next
    /// chunk then tells them apart from the beginning.
    pub(in crate::store) confirms: bool,
}

/// What a step message found when it was delivered.
#[derive(Debug, Clone)]
pub enum LaneFound {
    /// The lane is open and waits for exactly this step, so there is a chunk to work on.
    Work(Box<LaneWork>),
    /// There is nothing to do for this step: the job runs no more or is in another run, the lane has ended or is in
    /// another turn, or the lane waits for the time of its next attempt. The step can be acknowledged: if the lane has
    /// work left, another step wakes it, or due work does.
    Stale,
}

#[derive(QueryableByName)]
struct LaneRow {
    #[diesel(sql_type = Integer)]
    turn: i32,
    #[diesel(sql_type = Integer)]
    position: i32,
    #[diesel(sql_type = Integer)]
    end_position: i32,
    #[diesel(sql_type = Bool)]
    open: bool,
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = BigInt)]
    progress_at: i64,
    #[diesel(sql_type = Bool)]
    early: bool,
    #[diesel(sql_type = Bool)]
    repeats: bool,
    #[diesel(sql_type = Bool)]
    confirms: bool,
    #[diesel(sql_type = Nullable<Text>)]
    recipients: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    parent: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    parts: Option<i64>,
}

impl LaneWork {
    /// The id of the job that the lane is part of.
    #[must_use]
    pub fn job_id(&self) -> crate::domain::JobId {
        self.job.job_id
    }

    pub(in crate::store) fn stand(&self) -> LaneStand {
        LaneStand {
            job: self.job.key,
            run: self.job.run,
            lane: self.lane,
            turn: self.turn,
            position: position(self.position),
            attempts: self.attempts,
        }
    }

    pub(in crate::store) fn guess(&self) -> Guess {
        Guess { repeats: self.repeats, confirms: self.confirms || self.repeats }
    }

    pub(in crate::store) fn step(&self, turn: i32) -> Step {
        Step { job_id: self.job.job_id, run: self.job.run, lane: self.lane, turn }
    }
}

impl Store {
    /// Reads the lane that a step wakes.
    pub async fn lane(&self, step: Step, options: LaneOptions) -> Result<LaneFound, DbError> {
        self.db.read(move |conn| find(conn, &step, &options)).await
    }
}

/// Reads a lane with the recipients of its job. The step carries no time, so the database's clock decides whether the
/// lane's next attempt is still to come (`early`). A job that takes another one back has that one's recipients.
/// `repeats` says that most pairs of the lane so far were there already. A share with a parent has parts, and so has the
/// job that takes it back.
const FIND_LANE: &str = "SELECT l.turn, l.position, l.end_position, l.open, l.attempts, l.progress_at, \
    COALESCE(l.not_before, 0) > now_ms() AS early, \
    l.unchanged > l.granted + l.upgraded + l.rejected AS repeats, \
    (l.unchanged + l.lowered + l.kept + l.untouched > 0 \
     OR COALESCE(j.kind = 'undo' AND p.granted < p.pairs, false)) AS confirms, \
    COALESCE(j.recipients, p.recipients) AS recipients, p.id AS parent, \
    CASE WHEN j.kind = 'share' AND j.parent IS NOT NULL THEN j.id \
         WHEN p.kind = 'share' AND p.parent IS NOT NULL THEN p.id END AS parts \
    FROM lanes l JOIN jobs j ON j.id = l.job LEFT JOIN jobs p ON p.job_id = j.parent WHERE l.job = $1 AND l.lane = $2";

fn find(conn: &mut Conn, step: &Step, options: &LaneOptions) -> Result<LaneFound, DbError> {
    let Some(job) = row::find(conn, step.job_id)? else { return Ok(LaneFound::Stale) };
    if job.run != step.run || job.state != JobState::Running {
        return Ok(LaneFound::Stale);
    }
    let row: Option<LaneRow> = statement(FIND_LANE)
        .bind::<BigInt, _>(job.key.get())
        .bind::<Integer, _>(step.lane)
        .get_result(conn)
        .optional()?;
    let Some(row) = row.filter(|row| row.open && row.turn == step.turn && !row.early) else {
        return Ok(LaneFound::Stale);
    };
    let corrupt = |what: &str| DbError::Corrupt(format!("{what} of job {}", job.job_id));
    let recipients = contract::recipients_from_json(&row.recipients.ok_or_else(|| corrupt("recipients"))?)
        .map_err(|error| corrupt(&error.to_string()))?;
    let parent = row.parent.map(id).transpose()?;
    let list = if job.has_snapshot { Some(job.key) } else { parent };
    Ok(LaneFound::Work(Box::new(LaneWork {
        lane: step.lane,
        turn: row.turn,
        position: usize::try_from(row.position).map_err(|_| corrupt("position"))?,
        end: usize::try_from(row.end_position).map_err(|_| corrupt("end_position"))?,
        attempts: row.attempts,
        progress_at: row.progress_at,
        chunk_pairs: options.chunk_pairs,
        list: list.ok_or_else(|| corrupt("the list of secrets"))?,
        parent,
        parts: row.parts.map(id).transpose()?,
        recipients: recipients.into(),
        repeats: row.repeats,
        confirms: row.confirms,
        job,
    })))
}
