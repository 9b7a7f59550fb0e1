//! What is durable in the model of control, what a transaction remembers, and which transactions may start.

use stateright::{Model, Property};

use super::steps::Step;

/// A reading of the logical clock. Only the order of the readings that a state still knows is part of it.
pub type Time = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    View,
    Edit,
}

/// What a job does with its pairs. Each pair is a secret of its own with one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Share(Level),
    /// The undo of the job with this number, which is always smaller than its own.
    Undo(u8),
    /// Takes everything, or lowers to view if the level is edit.
    Unshare(Level),
}

/// A job as it is asked for: its lanes, their chunks, and the pairs of each chunk.
#[derive(Clone, Debug)]
pub struct Ask {
    pub kind: Kind,
    pub lanes: Vec<Vec<Vec<u8>>>,
    /// Whether the job runs from the beginning on. Otherwise it is queued, and something has to begin it.
    pub begun: bool,
}

/// What may happen, and how often at most.
#[derive(Clone, Debug)]
pub struct Control {
    pub jobs: Vec<Ask>,
    /// The first of the jobs have ended, one after the other, before anything else happens.
    pub done: u8,
    /// How many transactions are open at the same time at most. If it is 1, a transaction is a single step.
    pub at_once: usize,
    pub budget: Budget,
    /// The secrets on which the right of those who undo comes and goes, each time at the cost of the budget.
    pub rights: Option<u8>,
    /// An undo deletes and lowers rows by a statement each, in place of locking, reading and writing them.
    pub set_based: bool,
    pub broken: Option<Broken>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub undos: u8,
    pub cancels: u8,
    pub failures: u8,
    pub replays: u8,
    /// How often somebody takes one grant back by hand.
    pub deletes: u8,
    /// How often somebody lowers one grant from edit to view by hand.
    pub lowerings: u8,
    /// How often the right to take away comes or goes.
    pub rights: u8,
}

/// A protocol with one mistake, each of which the checker must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    CancelLocksLanesFirst,
    CancelForgetsQueued,
    EndIgnoresCancel,
    TellsWithoutTheSecret,
    LocksInTheStatementThatReads,
    /// A chunk that has locked rows waits for the secrets, in place of beginning again.
    WaitsForSecretsWithRowsLocked,
    /// A claim has the time of the grants, which was read before the rows were looked at.
    ClaimHasTheTimeOfGrants,
    /// The time of an upgrade was read before the row was locked.
    UpgradeHasTheTimeOfGrants,
    /// Whoever takes a grant back leaves the claims as they are, and their age has to tell.
    TakingLeavesClaims,
    /// Lowering an edit over the view of another job forgets who gave the edit.
    LoweringForgetsTheEdit,
    UnshareDoesNotLock,
    UndoForgetsClaims,
    UndoComparesJobs,
    UndoReadsBeforeItLocks,
    /// An undo decides on rows that it did not lock, and writes what it decided.
    UndoDoesNotLockRows,
    UndoLocksRowsInAnyOrder,
    /// An undo lowers rows by one statement, and then deletes rows by another.
    UndoLowersBeforeItDeletes,
    /// Each statement of an undo looks by itself which claims may stand in.
    UndoReadsClaimsTwice,
    UndoRaises,
    ClaimOfEditSurvivesLowering,
    HandsToUndone,
    /// Whether a job is undone is read from its latest undo alone.
    OnlyTheLatestUndoCounts,
    TwoUndos,
    UndoBesideReplay,
    ReplayOfAnUndoneJob,
    ReplayOfAnUndoBesideASecond,
    /// An undo that is replayed goes on where it stopped.
    ReplayedUndoGoesOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    pub open: bool,
    pub position: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    pub kind: Kind,
    pub state: JobState,
    pub lanes: Vec<Lane>,
    /// Whether any pair of this run of an undo was rejected.
    pub rejected: bool,
    pub undone_by: Option<u8>,
    /// A dead letter waits for its replay.
    pub letter: bool,
    /// When a cancelled job ended.
    pub finished_at: Option<Time>,
    /// Known only to the checker: how often this run ended, and whether somebody was told that it is cancelled.
    pub ends: u8,
    pub told_cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub view: Option<u8>,
    pub edit: Option<u8>,
    pub granted_at: Time,
    /// When the edit came, if it came later than the row.
    pub edit_at: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub job: u8,
    pub at: Time,
}

/// What a job asked for and was told to be there. Known only to the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wish {
    pub job: u8,
    pub asked: Level,
    /// What is left of it, since somebody may have taken it away.
    pub left: Option<Level>,
    /// The latest undo of the job had no right to take it back.
    pub rejected: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pair {
    pub row: Option<Row>,
    /// The earliest is first.
    pub claims: Vec<Claim>,
    pub wishes: Vec<Wish>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lock {
    Job(u8),
    Lane(u8, u8),
    /// `FOR KEY SHARE` and `FOR UPDATE` on the row of a secret.
    SecretShared(u8),
    Secret(u8),
    Grant(u8),
}

impl Lock {
    pub fn conflicts(self, with: Self) -> bool {
        match (self, with) {
            (Self::Secret(a), Self::Secret(b) | Self::SecretShared(b))
            | (Self::SecretShared(a), Self::Secret(b)) => a == b,
            (Self::SecretShared(_), Self::SecretShared(_)) => false,
            (a, b) => a == b,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    Begin(u8),
    Chunk {
        job: u8,
        lane: u8,
    },
    Cancel(u8),
    Fail(u8),
    RequestUndo(u8),
    Replay(u8),
    /// Somebody takes a grant back by hand, or lowers it.
    Take {
        pair: u8,
        what: Level,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    Changed,
    Unchanged,
    Rejected,
}

/// A transaction that is open. What it writes is seen by others when it commits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tx {
    pub what: What,
    pub next: u8,
    pub held: Vec<Lock>,
    /// A chunk that takes the locks of the secrets before it applies, and looks first at what is there.
    pub locks_first: bool,
    /// The position of the lane as it was read before the transaction.
    pub position: u8,
    pub clock: Option<Time>,
    pub claims_at: Option<Time>,
    /// For each pair of the chunk: what the statement saw, in protocols and paths that look before they lock.
    pub seen: Vec<Option<Row>>,
    /// For each pair of the chunk of an undo: the claims that may stand in for the job that is undone.
    pub live: Option<Vec<Vec<Claim>>>,
    pub writes: Vec<(u8, Option<Row>)>,
    pub outcomes: Vec<(u8, Outcome)>,
    /// The jobs whose edit this transaction lowers to a view that another job gave, with their pairs.
    pub lowered: Vec<(u8, u8)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub pairs: Vec<Pair>,
    pub jobs: Vec<Job>,
    pub txs: Vec<Tx>,
    pub clock: Time,
    /// Whether those who undo may take away on the secret whose right comes and goes.
    pub right: bool,
    pub budget: Budget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start {
        what: What,
        locks_first: bool,
    },
    /// The transaction at this place does its next step.
    Goes(usize, What, Step),
    RightChanges,
}

impl Job {
    pub fn new(kind: Kind, lanes: usize, begun: bool) -> Self {
        Self {
            kind,
            state: if begun { JobState::Running } else { JobState::Queued },
            lanes: vec![Lane { open: true, position: 0 }; if begun { lanes } else { 0 }],
            rejected: false,
            undone_by: None,
            letter: false,
            finished_at: None,
            ends: 0,
            told_cancelled: false,
        }
    }

    pub fn ended(&self) -> bool {
        !matches!(self.state, JobState::Queued | JobState::Running)
    }

    pub fn undoes(&self, parent: u8) -> bool {
        self.kind == Kind::Undo(parent)
    }
}

impl State {
    pub fn job(&self, job: u8) -> &Job {
        &self.jobs[usize::from(job)]
    }

    pub fn job_mut(&mut self, job: u8) -> &mut Job {
        &mut self.jobs[usize::from(job)]
    }

    pub fn read_clock(&mut self) -> Time {
        self.clock += 1;
        self.clock
    }

    /// Makes states equal that behave the same: only the order of the times counts, and it does not matter which of
    /// the open transactions began first.
    fn in_order(mut self) -> Self {
        let mut known: Vec<Time> = Vec::new();
        self.each_time(&mut |time| known.push(*time));
        known.sort_unstable();
        known.dedup();
        self.each_time(&mut |time| *time = known.partition_point(|other| *other < *time) as Time);
        self.clock = known.len() as Time;
        self.txs.sort_unstable_by_key(|tx| tx.what);
        self
    }

    fn each_time(&mut self, of: &mut impl FnMut(&mut Time)) {
        let of_row = |row: &mut Row, of: &mut dyn FnMut(&mut Time)| {
            of(&mut row.granted_at);
            row.edit_at.iter_mut().for_each(of);
        };
        for pair in &mut self.pairs {
            pair.row.iter_mut().for_each(|row| of_row(row, of));
            pair.claims.iter_mut().for_each(|claim| of(&mut claim.at));
        }
        self.jobs.iter_mut().filter_map(|job| job.finished_at.as_mut()).for_each(&mut *of);
        for tx in &mut self.txs {
            tx.clock.iter_mut().chain(&mut tx.claims_at).for_each(&mut *of);
            let written = tx.writes.iter_mut().filter_map(|(_, row)| row.as_mut());
            tx.seen.iter_mut().flatten().chain(written).for_each(|row| of_row(row, of));
            tx.live.iter_mut().flatten().flatten().for_each(|claim| of(&mut claim.at));
        }
    }
}

impl Control {
    pub fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// The lanes of a job, which for an undo are those of the job that it undoes.
    pub fn lanes(&self, state: &State, job: u8) -> &[Vec<Vec<u8>>] {
        match state.job(job).kind {
            Kind::Undo(parent) => &self.jobs[usize::from(parent)].lanes,
            _ => &self.jobs[usize::from(job)].lanes,
        }
    }

    /// What may start now, as far as one sees without any lock.
    fn starts(&self, state: &State) -> Vec<What> {
        let budget = state.budget;
        let mut starts = Vec::new();
        for (id, job) in (0_u8..).zip(&state.jobs) {
            match job.state {
                JobState::Queued => starts.push(What::Begin(id)),
                JobState::Running => {
                    let open = (0_u8..).zip(&job.lanes).filter(|(_, lane)| lane.open);
                    starts.extend(open.map(|(lane, _)| What::Chunk { job: id, lane }));
                }
                _ => {}
            }
            if !job.ended() && budget.cancels > 0 {
                starts.push(What::Cancel(id));
            }
            if !job.ended() && budget.failures > 0 {
                starts.push(What::Fail(id));
            }
            if matches!(job.kind, Kind::Share(_)) && self.may_undo(state, id) && budget.undos > 0 {
                starts.push(What::RequestUndo(id));
            }
            if job.letter && job.state == JobState::Failed && budget.replays > 0 {
                starts.push(What::Replay(id));
            }
        }
        for pair in (0_u8..).take(state.pairs.len()) {
            if budget.deletes > 0 {
                starts.push(What::Take { pair, what: Level::View });
            }
            if budget.lowerings > 0 {
                starts.push(What::Take { pair, what: Level::Edit });
            }
        }
        starts.retain(|what| {
            let twice = matches!(what, What::RequestUndo(_));
            let same = state.txs.iter().filter(|tx| tx.what == *what).count();
            same <= usize::from(twice)
        });
        starts
    }

    fn start(&self, state: &mut State, what: What, locks_first: bool) {
        let budget = &mut state.budget;
        match what {
            What::Begin(_) | What::Chunk { .. } => {}
            What::Cancel(_) => budget.cancels -= 1,
            What::Fail(_) => budget.failures -= 1,
            What::RequestUndo(_) => budget.undos -= 1,
            What::Replay(_) => budget.replays -= 1,
            What::Take { what: Level::View, .. } => budget.deletes -= 1,
            What::Take { what: Level::Edit, .. } => budget.lowerings -= 1,
        }
        let position = match what {
            What::Chunk { job, lane } => state.job(job).lanes[usize::from(lane)].position,
            _ => 0,
        };
        state.txs.push(Tx {
            what,
            next: 0,
            held: Vec::new(),
            locks_first,
            position,
            clock: None,
            claims_at: None,
            seen: Vec::new(),
            live: None,
            writes: Vec::new(),
            outcomes: Vec::new(),
            lowered: Vec::new(),
        });
        // What a transaction read before it began was read now. Its first lock is taken at once, if nobody has it.
        let tx = state.txs.len() - 1;
        if self.blockers(state, tx).is_empty() {
            self.step(state, tx);
        }
        while self.at_once == 1 && !state.txs.is_empty() {
            self.step(state, 0);
        }
    }

    /// Whether a chunk may lock before it applies. If there is one transaction at a time, it makes no difference.
    fn may_lock_first(&self, state: &State, what: What) -> bool {
        let What::Chunk { job, .. } = what else { return false };
        self.at_once > 1 && matches!(state.job(job).kind, Kind::Share(_))
    }
}

impl Model for Control {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let pairs = self.jobs.iter().flat_map(|ask| ask.lanes.iter().flatten().flatten()).max();
        let mut state = State {
            pairs: vec![Pair::default(); pairs.map_or(0, |pair| usize::from(*pair) + 1)],
            jobs: self.jobs.iter().map(|ask| Job::new(ask.kind, ask.lanes.len(), ask.begun)).collect(),
            txs: Vec::new(),
            clock: 0,
            right: true,
            budget: self.budget,
        };
        let alone = Self { at_once: 1, broken: None, ..self.clone() };
        for job in 0..self.done {
            while let Some(lane) = state.job(job).lanes.iter().position(|lane| lane.open) {
                alone.start(&mut state, What::Chunk { job, lane: lane as u8 }, false);
            }
        }
        vec![state.in_order()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let free = (0..state.txs.len()).filter(|tx| self.blockers(state, *tx).is_empty());
        actions.extend(free.map(|tx| Action::Goes(tx, state.txs[tx].what, self.next(state, &state.txs[tx]))));
        if state.txs.len() < self.at_once {
            for what in self.starts(state) {
                actions.push(Action::Start { what, locks_first: false });
                if self.may_lock_first(state, what) {
                    actions.push(Action::Start { what, locks_first: true });
                }
            }
        }
        if self.rights.is_some() && state.budget.rights > 0 {
            actions.push(Action::RightChanges);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Start { what, locks_first } => self.start(&mut state, what, locks_first),
            Action::Goes(tx, ..) => self.step(&mut state, tx),
            Action::RightChanges => {
                state.right = !state.right;
                state.budget.rights -= 1;
            }
        }
        Some(state.in_order())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::properties()
    }
}
