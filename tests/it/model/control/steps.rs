//! The transactions of the model, statement by statement. Each statement is one step, it sees what was committed
//! before it, and what it locks stays locked until the transaction ends.

use super::rules::{gives, share, take};
use super::world::*;

/// A statement, or the part of one that belongs to one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Lock(Lock),
    /// Locks a lane if it is open and still where it was read.
    LockLane(u8, u8),
    ReadClock,
    /// Reads the rows of the chunk, and locks nothing.
    See,
    /// Reads which claims on the pairs of the chunk may stand in for the job that is undone.
    SeeClaims,
    /// A share writes its row of this pair, or finds that it gives enough.
    Apply(u8),
    /// Locks the secrets of a chunk that found something unchanged, if nobody has them. Otherwise the transaction is
    /// rolled back, and begins again with these locks.
    Confirm,
    ReadClockForClaims,
    /// An undo locks its row of this pair and reads it.
    LockRow(u8),
    Decide,
    /// The part of a statement that deletes or lowers the rows that an undo takes back: it looks at the row, waits for
    /// it if there is something to do, and then looks again.
    DeleteRow(u8),
    LowerRow(u8),
    /// Takes away what this pair has.
    Take(u8),
    Commit,
}

impl Control {
    /// The pairs of the chunk that a transaction works on, without those that were rejected.
    fn chunk<'a>(&'a self, state: &State, tx: &'a Tx) -> impl DoubleEndedIterator<Item = u8> + Clone + 'a {
        let pairs: &[u8] = match tx.what {
            What::Chunk { job, lane } => &self.lanes(state, job)[usize::from(lane)][usize::from(tx.position)],
            _ => &[],
        };
        let rejected = |pair: &u8| tx.outcomes.contains(&(*pair, Outcome::Rejected));
        pairs.iter().copied().filter(move |pair| !rejected(pair))
    }

    fn program(&self, state: &State, tx: &Tx) -> Vec<Step> {
        let lanes_of = |job: u8| {
            let lanes = 0..state.job(job).lanes.len() as u8;
            lanes.map(move |lane| Step::Lock(Lock::Lane(job, lane)))
        };
        let mut steps = Vec::new();
        match tx.what {
            What::Begin(job) | What::RequestUndo(job) => steps.push(Step::Lock(Lock::Job(job))),
            What::Cancel(job) if self.is(Broken::CancelLocksLanesFirst) => {
                steps.extend(lanes_of(job));
                steps.push(Step::Lock(Lock::Job(job)));
            }
            What::Cancel(job) | What::Fail(job) | What::Replay(job) => {
                if let (What::Replay(_), Kind::Undo(parent)) = (tx.what, state.job(job).kind) {
                    steps.push(Step::Lock(Lock::Job(parent)));
                }
                steps.push(Step::Lock(Lock::Job(job)));
                steps.extend(lanes_of(job));
            }
            What::Take { pair, .. } => {
                if !self.is(Broken::UnshareDoesNotLock) {
                    steps.push(Step::Lock(Lock::Secret(pair)));
                }
                steps.push(Step::Take(pair));
            }
            What::Chunk { job, lane } => {
                // The last chunk of a lane may end the job, so it locks the job first.
                let chunks = self.lanes(state, job)[usize::from(lane)].len();
                if usize::from(tx.position) + 1 == chunks {
                    steps.push(Step::Lock(Lock::Job(job)));
                }
                steps.push(Step::LockLane(job, lane));
                match state.job(job).kind {
                    Kind::Share(_) => self.share_steps(state, tx, &mut steps),
                    Kind::Undo(_) => self.undo_steps(state, tx, &mut steps),
                    Kind::Unshare(_) => {
                        if !self.is(Broken::UnshareDoesNotLock) {
                            steps.extend(self.chunk(state, tx).map(|pair| Step::Lock(Lock::Secret(pair))));
                        }
                        steps.extend(self.chunk(state, tx).map(Step::Take));
                    }
                }
            }
        }
        steps.push(Step::Commit);
        steps
    }

    fn share_steps(&self, state: &State, tx: &Tx, steps: &mut Vec<Step>) {
        let chunk = self.chunk(state, tx);
        let lock_all = chunk.clone().map(|pair| Step::Lock(Lock::SecretShared(pair)));
        let sees_first = self.is(Broken::LocksInTheStatementThatReads);
        if tx.locks_first {
            if sees_first {
                steps.push(Step::See);
            }
            if !self.is(Broken::TellsWithoutTheSecret) {
                steps.extend(lock_all.clone());
            }
        }
        steps.push(Step::ReadClock);
        if tx.locks_first && !sees_first {
            steps.push(Step::See);
        }
        steps.extend(chunk.map(Step::Apply));
        if tx.outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Unchanged) {
            let is_held = tx.locks_first || self.is(Broken::TellsWithoutTheSecret);
            if !is_held && self.is(Broken::WaitsForSecretsWithRowsLocked) {
                steps.extend(lock_all);
            } else if !is_held {
                steps.push(Step::Confirm);
            }
            steps.push(Step::ReadClockForClaims);
        }
    }

    fn undo_steps(&self, state: &State, tx: &Tx, steps: &mut Vec<Step>) {
        let chunk = self.chunk(state, tx);
        if self.is(Broken::UndoReadsBeforeItLocks) {
            steps.push(Step::SeeClaims);
        }
        steps.extend(chunk.clone().map(|pair| Step::Lock(Lock::Secret(pair))));
        if self.set_based {
            if !self.is(Broken::UndoReadsClaimsTwice) {
                steps.push(Step::SeeClaims);
            }
            let (deletes, lowers) = (chunk.clone().map(Step::DeleteRow), chunk.map(Step::LowerRow));
            if self.is(Broken::UndoLowersBeforeItDeletes) {
                steps.extend(lowers.chain(deletes));
            } else {
                steps.extend(deletes.chain(lowers));
            }
            return;
        }
        if self.is(Broken::UndoLocksRowsInAnyOrder) {
            steps.extend(chunk.rev().map(Step::LockRow));
        } else {
            steps.extend(chunk.map(Step::LockRow));
        }
        steps.push(Step::Decide);
    }

    /// The lock that the next step of a transaction needs, if it needs one.
    fn wants(&self, state: &State, tx: &Tx, step: Step) -> Option<Lock> {
        let at = |pair: u8| state.pairs[usize::from(pair)].row;
        match step {
            Step::Lock(lock) => Some(lock),
            Step::LockLane(job, lane) => Some(Lock::Lane(job, lane)),
            Step::Apply(pair) => (!self.was_there(state, tx, pair)).then_some(Lock::Grant(pair)),
            // A row in which the job has no part cannot get one, since the job has ended.
            Step::LockRow(pair) => {
                let What::Chunk { job, .. } = tx.what else { return None };
                let Kind::Undo(parent) = state.job(job).kind else { return None };
                let has_part = |row: &Row| row.view == Some(parent) || row.edit == Some(parent);
                let locks = at(pair).as_ref().is_some_and(has_part) && !self.is(Broken::UndoDoesNotLockRows);
                locks.then_some(Lock::Grant(pair))
            }
            Step::DeleteRow(pair) | Step::LowerRow(pair) => {
                self.becomes(state, tx, step, pair).map(|_| Lock::Grant(pair))
            }
            Step::Take(pair) => at(pair).map(|_| Lock::Grant(pair)),
            _ => None,
        }
    }

    /// The live claims on a pair, as they were read for the whole chunk or as they are now.
    fn live_for(&self, state: &State, tx: &Tx, pair: u8) -> Vec<Claim> {
        let place = self.chunk(state, tx).position(|other| other == pair);
        let read = tx.live.as_ref().zip(place).map(|(live, place)| live[place].clone());
        read.unwrap_or_else(|| self.live_now(state, tx, pair))
    }

    fn live_now(&self, state: &State, tx: &Tx, pair: u8) -> Vec<Claim> {
        let What::Chunk { job, .. } = tx.what else { return Vec::new() };
        let Kind::Undo(parent) = state.job(job).kind else { return Vec::new() };
        self.live(state, parent, &state.pairs[usize::from(pair)].claims)
    }

    /// What a statement that deletes or lowers makes of a row. `None` if this is not a row for it.
    fn becomes(&self, state: &State, tx: &Tx, step: Step, pair: u8) -> Option<Option<Row>> {
        let What::Chunk { job, .. } = tx.what else { return None };
        let Kind::Undo(parent) = state.job(job).kind else { return None };
        let at = &state.pairs[usize::from(pair)];
        let becomes = self.undo(state, parent, at.row?, &self.live_for(state, tx, pair))?;
        let is_own = tx.writes.iter().any(|(written, _)| *written == pair);
        (becomes.is_none() == matches!(step, Step::DeleteRow(_)) && !is_own).then_some(becomes)
    }

    /// Whether the statement that looked before it locked saw that the row of this pair gives enough.
    fn was_there(&self, state: &State, tx: &Tx, pair: u8) -> bool {
        let What::Chunk { job, .. } = tx.what else { return false };
        let Kind::Share(level) = state.job(job).kind else { return false };
        let place = self.chunk(state, tx).position(|other| other == pair);
        let seen = place.and_then(|place| tx.seen.get(place).copied()).flatten();
        gives(seen) >= Some(level)
    }

    pub fn next(&self, state: &State, tx: &Tx) -> Step {
        self.program(state, tx)[usize::from(tx.next)]
    }

    /// The open transactions that this one waits for.
    pub fn blockers(&self, state: &State, tx: usize) -> Vec<usize> {
        let waits = &state.txs[tx];
        let Some(lock) = self.wants(state, waits, self.next(state, waits)) else { return Vec::new() };
        let holds =
            |other: &usize| *other != tx && state.txs[*other].held.iter().any(|held| held.conflicts(lock));
        (0..state.txs.len()).filter(holds).collect()
    }

    /// Does the next step of a transaction that waits for nobody.
    pub fn step(&self, state: &mut State, tx: usize) {
        let mut tx = state.txs.remove(tx);
        let step = self.next(state, &tx);
        if let Some(lock) = self.wants(state, &tx, step)
            && !tx.held.contains(&lock)
        {
            tx.held.push(lock);
            tx.held.sort_unstable();
        }
        tx.next += 1;
        if self.perform(state, &mut tx, step) {
            state.txs.push(tx);
        }
    }

    /// Returns whether the transaction goes on.
    fn perform(&self, state: &mut State, tx: &mut Tx, step: Step) -> bool {
        let row_of = |state: &State, pair: u8| state.pairs[usize::from(pair)].row;
        match step {
            Step::Lock(_) => {}
            Step::LockLane(job, lane) => {
                let at = &state.job(job).lanes[usize::from(lane)];
                let is_there = at.open && at.position == tx.position;
                if !is_there && !self.is(Broken::EndIgnoresCancel) {
                    return false;
                }
                let undoes = matches!(state.job(job).kind, Kind::Undo(_));
                let rejected = self.rights.filter(|_| undoes && !state.right);
                let rejected = rejected.filter(|secret| self.chunk(state, tx).any(|pair| pair == *secret));
                tx.outcomes.extend(rejected.map(|secret| (secret, Outcome::Rejected)));
            }
            Step::ReadClock => tx.clock = Some(state.read_clock()),
            Step::ReadClockForClaims => {
                let early = tx.clock.filter(|_| self.is(Broken::ClaimHasTheTimeOfGrants));
                tx.claims_at = early.or_else(|| Some(state.read_clock()));
            }
            Step::See => tx.seen = self.chunk(state, tx).map(|pair| row_of(state, pair)).collect(),
            Step::SeeClaims => {
                let chunk: Vec<u8> = self.chunk(state, tx).collect();
                tx.live = Some(chunk.iter().map(|pair| self.live_now(state, tx, *pair)).collect());
            }
            Step::Apply(pair) => {
                let What::Chunk { job, .. } = tx.what else { return false };
                let Kind::Share(level) = state.job(job).kind else { return false };
                let now = tx.clock.unwrap_or_default();
                let was_there = self.was_there(state, tx, pair);
                let row = row_of(state, pair);
                let early = row.is_none() || self.is(Broken::UpgradeHasTheTimeOfGrants);
                let edit_at = if early || was_there { now } else { state.read_clock() };
                let written = share(row, job, level, now, edit_at).filter(|_| !was_there);
                let outcome = if written.is_some() { Outcome::Changed } else { Outcome::Unchanged };
                tx.writes.extend(written.map(|row| (pair, Some(row))));
                tx.outcomes.push((pair, outcome));
            }
            Step::Confirm => {
                let locks: Vec<Lock> = self.chunk(state, tx).map(Lock::SecretShared).collect();
                let taken = |lock: &Lock| {
                    state.txs.iter().any(|other| other.held.iter().any(|held| held.conflicts(*lock)))
                };
                if locks.iter().any(taken) {
                    (tx.next, tx.locks_first, tx.clock) = (0, true, None);
                    (tx.held, tx.writes, tx.outcomes) = (Vec::new(), Vec::new(), Vec::new());
                } else {
                    tx.held.extend(locks);
                    tx.held.sort_unstable();
                }
            }
            Step::LockRow(pair) => tx.seen.push(row_of(state, pair)),
            Step::Decide => self.decide(state, tx),
            Step::DeleteRow(pair) | Step::LowerRow(pair) => {
                let becomes = self.becomes(state, tx, step, pair);
                tx.writes.extend(becomes.map(|row| (pair, row)));
                if !tx.outcomes.contains(&(pair, Outcome::Changed)) {
                    tx.outcomes.push((pair, Outcome::Changed));
                }
            }
            Step::Take(pair) => {
                let what = taken_by(state, tx);
                if let Some(row) = row_of(state, pair) {
                    tx.writes.push((pair, take(row, what)));
                    let lowered = row.edit.filter(|_| what == Level::Edit && row.view.is_some());
                    let lowered = lowered.filter(|edit| row.view != Some(*edit));
                    tx.lowered.extend(lowered.map(|edit| (pair, edit)));
                }
                tx.outcomes.push((pair, Outcome::Changed));
                for wish in &mut state.pairs[usize::from(pair)].wishes {
                    wish.left = wish.left.filter(|_| what == Level::Edit).map(|_| Level::View);
                }
            }
            Step::Commit => {
                self.commit(state, tx);
                return false;
            }
        }
        true
    }

    fn decide(&self, state: &State, tx: &mut Tx) {
        let What::Chunk { job, .. } = tx.what else { return };
        let Kind::Undo(parent) = state.job(job).kind else { return };
        let mut seen = std::mem::take(&mut tx.seen);
        if self.is(Broken::UndoLocksRowsInAnyOrder) {
            seen.reverse();
        }
        let pairs: Vec<u8> = self.chunk(state, tx).collect();
        for (pair, row) in pairs.into_iter().zip(seen) {
            let live = self.live_for(state, tx, pair);
            let becomes = row.and_then(|row| self.undo(state, parent, row, &live));
            tx.writes.extend(becomes.map(|row| (pair, row)));
            tx.outcomes.push((pair, Outcome::Changed));
        }
        tx.live = None;
    }

    fn commit(&self, state: &mut State, tx: &mut Tx) {
        for (pair, row) in tx.writes.drain(..) {
            state.pairs[usize::from(pair)].row = row;
        }
        match tx.what {
            What::Begin(job) => {
                let lanes = self.lanes(state, job).len();
                if state.job(job).state == JobState::Queued {
                    *state.job_mut(job) = Job::new(state.job(job).kind, lanes, true);
                }
            }
            What::Cancel(job) => {
                let queued = state.job(job).state == JobState::Queued;
                if state.job(job).ended() {
                    return;
                }
                state.job_mut(job).told_cancelled = true;
                if !(queued && self.is(Broken::CancelForgetsQueued)) {
                    end(state, job, JobState::Cancelled);
                    let now = state.read_clock();
                    state.job_mut(job).finished_at = Some(now);
                }
            }
            What::Fail(job) => {
                if !state.job(job).ended() {
                    end(state, job, JobState::Failed);
                    state.job_mut(job).letter = true;
                }
            }
            What::RequestUndo(parent) => self.request_undo(state, parent),
            What::Replay(job) => self.replay(state, job),
            What::Take { pair, .. } => self.change_claims(state, tx, pair),
            What::Chunk { job, .. } => {
                self.record(state, tx, job);
                self.move_on(state, tx);
            }
        }
    }

    fn request_undo(&self, state: &mut State, parent: u8) {
        let job = state.job(parent);
        let ended = job.ended() || self.is(Broken::UndoBesideReplay);
        let may = self.may_undo_again(state, parent) || self.is(Broken::TwoUndos);
        if ended && may {
            let lanes = self.lanes(state, parent).len();
            let undo = state.jobs.len() as u8;
            state.jobs.push(Job::new(Kind::Undo(parent), lanes, true));
            state.job_mut(parent).undone_by = Some(undo);
        }
    }

    /// A replay opens a job again: a share goes on where it stopped, and an undo begins anew.
    fn replay(&self, state: &mut State, id: u8) {
        let job = state.job(id);
        let allowed = match job.kind {
            Kind::Undo(parent) => {
                let latest = state.job(parent).undone_by == Some(id);
                state.job(parent).ended() && (latest || self.is(Broken::ReplayOfAnUndoBesideASecond))
            }
            _ => !self.is_undone(state, id) || self.is(Broken::ReplayOfAnUndoneJob),
        };
        if !allowed || !job.letter || job.state != JobState::Failed {
            return;
        }
        let anew = matches!(job.kind, Kind::Undo(_)) && !self.is(Broken::ReplayedUndoGoesOn);
        let chunks: Vec<u8> = self.lanes(state, id).iter().map(|lane| lane.len() as u8).collect();
        let job = state.job_mut(id);
        (job.letter, job.ends) = (false, 0);
        if job.lanes.is_empty() {
            job.state = JobState::Queued;
            return;
        }
        job.state = JobState::Running;
        for (lane, chunks) in job.lanes.iter_mut().zip(chunks) {
            if anew {
                lane.position = 0;
            }
            lane.open = lane.position < chunks;
        }
    }

    /// Whoever takes a grant back strikes the pair out of the claims, since a grant of a share that has begun before
    /// may be older than they are. Whoever lowers an edit writes a claim for the job that gave it, if the view that is
    /// left was given by another: what that job asked for is lowered, and not taken away.
    fn change_claims(&self, state: &mut State, tx: &Tx, pair: u8) {
        if taken_by(state, tx) == Level::View && !self.is(Broken::TakingLeavesClaims) {
            state.pairs[usize::from(pair)].claims.clear();
        }
        let lowered = tx.lowered.iter().filter(|(of, _)| *of == pair);
        for (_, job) in lowered.filter(|_| !self.is(Broken::LoweringForgetsTheEdit)) {
            let at = state.read_clock();
            let claims = &mut state.pairs[usize::from(pair)].claims;
            if claims.iter().all(|claim| claim.job != *job) {
                claims.push(Claim { job: *job, at });
            }
        }
    }

    /// Records the outcomes of a chunk.
    fn record(&self, state: &mut State, tx: &Tx, job: u8) {
        let kind = state.job(job).kind;
        for (pair, outcome) in &tx.outcomes {
            let at = &mut state.pairs[usize::from(*pair)];
            match kind {
                Kind::Share(asked) => {
                    at.wishes.push(Wish { job, asked, left: Some(asked), rejected: false });
                    at.wishes.sort_unstable();
                    if *outcome == Outcome::Unchanged {
                        at.claims.push(Claim { job, at: tx.claims_at.unwrap_or_default() });
                        at.claims.sort_unstable_by_key(|claim| claim.at);
                    }
                }
                Kind::Undo(parent) => {
                    let rejected = *outcome == Outcome::Rejected;
                    let theirs = at.wishes.iter_mut().filter(|wish| wish.job == parent);
                    theirs.for_each(|wish| wish.rejected = rejected);
                    state.job_mut(job).rejected |= rejected;
                }
                Kind::Unshare(_) => self.change_claims(state, tx, *pair),
            }
        }
    }

    /// Moves the lane of a chunk on, and ends the job with its last lane.
    fn move_on(&self, state: &mut State, tx: &Tx) {
        let What::Chunk { job, lane } = tx.what else { return };
        let chunks = self.lanes(state, job)[usize::from(lane)].len();
        let row = state.job_mut(job);
        let at = &mut row.lanes[usize::from(lane)];
        at.position = tx.position + 1;
        at.open = usize::from(at.position) < chunks;
        if row.lanes.iter().all(|lane| !lane.open) {
            end(state, job, JobState::Completed);
        }
    }
}

/// What a transaction that takes away takes: everything, or the edit.
fn taken_by(state: &State, tx: &Tx) -> Level {
    match tx.what {
        What::Take { what, .. } => what,
        What::Chunk { job, .. } => match state.job(job).kind {
            Kind::Unshare(what) => what,
            _ => Level::View,
        },
        _ => Level::View,
    }
}

fn end(state: &mut State, job: u8, to: JobState) {
    let row = state.job_mut(job);
    row.state = to;
    row.ends += 1;
    row.lanes.iter_mut().for_each(|lane| lane.open = false);
}
