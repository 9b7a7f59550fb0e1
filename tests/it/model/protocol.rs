//! The delivery protocol as a state machine: what is durable, what each actor remembers, and every step that any of
//! them can take next. Transactions are atomic, and a fault can happen between any two of them.

use stateright::Model;

use super::steps::{end_of, request_of, step_of};

/// The faults, and how often each may happen at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A worker dies between two transactions.
    pub crashes: u8,
    /// A worker's connection breaks. Its messages are redelivered, while it goes on with its work.
    pub disconnects: u8,
    /// A relay dies, or never gets the confirms that it waits for.
    pub relay_crashes: u8,
    /// The broker duplicates a message.
    pub duplicates: u8,
    /// The broker loses a message that due work can replace.
    pub losses: u8,
    /// A commit takes effect, and its answer does not arrive.
    pub unknown: u8,
    /// A transaction fails in a way that counts as an attempt.
    pub failures: u8,
    /// Somebody takes a grant back while the job runs.
    pub revocations: u8,
    /// Somebody cancels a job.
    pub cancels: u8,
}

/// A protocol with one mistake, each of which the checker must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    AcksBeforeCommit,
    NoLedger,
    EventOutsideTheTransaction,
    TwoLanesFinishTheJob,
    RelayDeletesBeforeTheConfirm,
    /// After a commit whose answer was lost, the worker tries the chunk again without reading the lane anew.
    RetriesAChunkBlindly,
    /// An acknowledgement of `multiple` covers every message that was taken before, even those that are still in work.
    AcknowledgesOverUnfinished,
    /// If the transaction of a group fails because of one of its jobs, all are acknowledged, though that one was not
    /// begun.
    ReportsABadJobAsDone,
    CancelForgetsTheEvent,
    ForgetsAnEarlyCancel,
    BeginsACancelledJob,
    ChunkIgnoresACancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The job has one chunk, which is applied when the job begins.
    Small,
    /// The job has two lanes with this many chunks each.
    Large(u8),
}

/// How a job is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Over HTTP: the row and the message are written in one transaction, and the message is in the outbox.
    OverHttp,
    /// By message: there is only a message, which the broker has.
    ByMessage,
}

#[derive(Clone, Debug)]
pub struct Protocol {
    pub jobs: Vec<(Shape, Asked)>,
    pub workers: usize,
    /// Small jobs are begun two at a time if there are two.
    pub together: bool,
    pub faults: Faults,
    /// Whether there is due work. Without it, redelivery alone must be enough.
    pub due_work: bool,
    /// The number of failures that ends a job.
    pub attempts: u8,
    pub broken: Option<Broken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    Request { job: u8 },
    Step { job: u8, lane: u8, turn: u8 },
    Ended { job: u8, done: u8 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    Absent,
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lane {
    pub open: bool,
    pub turn: u8,
    pub position: u8,
    pub done: u8,
    pub attempts: u8,
    /// The lane waits for the time of its next attempt.
    pub waits: bool,
}

/// The pairs of one chunk, which are granted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    No,
    Yes,
    Revoked,
    /// The grant was given again after it was taken back, which must not happen.
    Again,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    pub state: JobState,
    pub lanes: Vec<Lane>,
    pub open_lanes: u8,
    pub attempts: u8,
    pub waits: bool,
    /// The count in the job's row, which is written when the job ends.
    pub done: u8,
    pub notice_due: bool,
    /// A cancel came before its job, and is kept until the job is there.
    pub ordered: bool,
    pub grants: Vec<Grant>,
    pub notices: u8,
    /// Known only to the checker: how often the job ended, and which different terminal events were sent.
    pub ends: u8,
    pub told: Vec<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    turn: u8,
    position: u8,
    attempts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doing {
    Idle,
    Has(Message),
    On(Message, View),
    /// The work is committed, and the message is to be acknowledged.
    Done,
    /// Only in broken protocols: a second transaction, which should have been part of the first one.
    Emits(Message),
    Finishes(Message),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    pub doing: Doing,
    /// The requests that are begun together with this one, or one by one after it if that failed.
    pub rest: Vec<Message>,
    /// Whether the requests are begun one by one.
    pub alone: bool,
    /// The messages whose acknowledgement the broker waits for.
    pub held: Vec<Message>,
    /// If requests are begun together: the place of this worker among those that hold messages, in the order in which
    /// they took them, counted from 1.
    pub tag: u8,
}

impl Worker {
    pub const IDLE: Self =
        Self { doing: Doing::Idle, rest: Vec::new(), alone: false, held: Vec::new(), tag: 0 };

    /// Whether the worker works on several requests in one transaction.
    pub fn in_group(&self) -> bool {
        !self.rest.is_empty() && !self.alone
    }
}

/// A row of the outbox. If it is `sent`, it was published and its confirm is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    pub message: Message,
    pub sent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub jobs: Vec<Job>,
    pub outbox: Vec<Row>,
    /// The messages at the broker, in no order.
    pub queue: Vec<Message>,
    pub workers: Vec<Worker>,
    /// Rows that a broken relay has deleted before it publishes them.
    pub in_hand: Vec<Message>,
    pub faults: Faults,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Publish(usize),
    Confirm(usize),
    PublishFromHand(usize),
    RelayCrashes,
    Take {
        worker: usize,
        message: usize,
    },
    /// A worker that has not begun its request takes another one, to begin both together.
    Join {
        worker: usize,
        message: usize,
    },
    /// A worker does its next transaction. It may be the `last` of its slice, and its answer may be lost (`unknown`).
    Work {
        worker: usize,
        last: bool,
        unknown: bool,
    },
    Fail(usize),
    Acknowledge(usize),
    Crash(usize),
    /// The broker redelivers the messages of this worker, which goes on with its work and does not know.
    Disconnect(usize),
    Duplicate(usize),
    Lose(usize),
    Revoke {
        job: usize,
        chunk: usize,
    },
    Cancel(usize),
    CarryOut(usize),
    WakeLane {
        job: usize,
        lane: usize,
    },
    AskAgain(usize),
    MakeNotice(usize),
}

pub const LANES: u8 = 2;

impl Job {
    fn new(shape: Shape, asked: Asked) -> Self {
        let chunks = if let Shape::Large(chunks) = shape { LANES * chunks } else { 1 };
        Self {
            state: if asked == Asked::OverHttp { JobState::Queued } else { JobState::Absent },
            lanes: Vec::new(),
            open_lanes: 0,
            attempts: 0,
            waits: false,
            done: 0,
            notice_due: false,
            ordered: false,
            grants: vec![Grant::No; usize::from(chunks)],
            notices: 0,
            ends: 0,
            told: Vec::new(),
        }
    }

    pub fn ended(&self) -> bool {
        matches!(self.state, JobState::Completed | JobState::Failed | JobState::Cancelled)
    }

    pub fn granted(&self) -> usize {
        self.grants.iter().filter(|grant| **grant != Grant::No).count()
    }

    /// The number of pairs that were counted, which is in the lanes while the job runs and in its row when it has
    /// ended.
    pub fn counted(&self) -> usize {
        let lanes = self.lanes.iter().map(|lane| usize::from(lane.done)).sum();
        if self.ended() { usize::from(self.done) } else { lanes }
    }

    pub fn grant(&mut self, chunk: usize) {
        self.grants[chunk] = match self.grants[chunk] {
            Grant::No | Grant::Yes => Grant::Yes,
            Grant::Revoked | Grant::Again => Grant::Again,
        };
    }
}

impl Lane {
    pub fn view(&self) -> View {
        View { turn: self.turn, position: self.position, attempts: self.attempts }
    }

    /// Whether the lane is still where it was read.
    pub fn is_at(&self, view: View) -> bool {
        (self.turn, self.position) == (view.turn, view.position)
    }
}

impl View {
    pub fn attempts(self) -> u8 {
        self.attempts
    }
}

impl State {
    /// Whether a message of that kind is anywhere but in the outbox.
    fn on_its_way(&self, is: impl Fn(&Message) -> bool) -> bool {
        let with_workers = self.workers.iter().any(|worker| match worker.doing {
            Doing::Has(message) | Doing::On(message, _) => is(&message),
            _ => false,
        });
        let with_workers = with_workers || self.workers.iter().any(|worker| worker.rest.iter().any(&is));
        with_workers || self.queue.iter().chain(&self.in_hand).any(&is)
    }

    fn in_outbox(&self, is: impl Fn(&Message) -> bool) -> bool {
        self.outbox.iter().any(|row| is(&row.message))
    }

    pub fn send(&mut self, message: Message) {
        self.outbox.push(Row { message, sent: false });
    }

    /// The broker takes a message. If it is a terminal event, the outside world learns of it.
    pub fn deliver(&mut self, message: Message) {
        self.queue.push(message);
        if let Message::Ended { job, .. } = message {
            let told = &mut self.jobs[usize::from(job)].told;
            if !told.contains(&message) {
                told.push(message);
            }
        }
    }

    /// Makes states equal that behave the same, so that there are fewer to look at. It does not matter which worker
    /// is which, nor in which order messages wait. If nothing can die any more, it does not matter either when
    /// confirms and acknowledgements arrive.
    fn in_order(mut self) -> Self {
        if self.faults.relay_crashes == 0 {
            self.outbox.retain(|row| !row.sent);
        }
        if self.faults.crashes == 0 && self.faults.disconnects == 0 {
            let done = self.workers.iter_mut().filter(|worker| worker.doing == Doing::Done);
            done.for_each(|worker| *worker = Worker::IDLE);
        }
        let mut tags: Vec<u8> = self.workers.iter().map(|worker| worker.tag).filter(|tag| *tag > 0).collect();
        tags.sort_unstable();
        for worker in self.workers.iter_mut().filter(|worker| worker.tag > 0) {
            worker.tag = tags.iter().take_while(|tag| **tag <= worker.tag).count() as u8;
        }
        self.queue.sort_unstable();
        self.outbox.sort_unstable();
        self.in_hand.sort_unstable();
        self.workers.sort_unstable();
        self
    }
}

impl Protocol {
    /// Small jobs with different ids are taken together before their transaction, at most two of them.
    fn may_join(&self, worker: &Worker, message: &Message) -> bool {
        let small = |message: &Message| match message {
            Message::Request { job } => self.jobs[usize::from(*job)].0 == Shape::Small,
            _ => false,
        };
        match worker.doing {
            Doing::Has(first) if self.together && !worker.alone => {
                worker.rest.is_empty() && small(&first) && small(message) && first != *message
            }
            _ => false,
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            jobs: self.jobs.iter().map(|(shape, asked)| Job::new(*shape, *asked)).collect(),
            outbox: Vec::new(),
            queue: Vec::new(),
            workers: vec![Worker::IDLE; self.workers],
            in_hand: Vec::new(),
            faults: self.faults,
        };
        for (job, (_, asked)) in (0..).zip(&self.jobs) {
            match asked {
                Asked::OverHttp => state.send(Message::Request { job }),
                Asked::ByMessage => state.queue.push(Message::Request { job }),
            }
        }
        vec![state.in_order()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let faults = state.faults;
        for (place, row) in state.outbox.iter().enumerate() {
            actions.push(if row.sent { Action::Confirm(place) } else { Action::Publish(place) });
        }
        actions.extend((0..state.in_hand.len()).map(Action::PublishFromHand));
        if faults.relay_crashes > 0 && (state.outbox.iter().any(|row| row.sent) || !state.in_hand.is_empty())
        {
            actions.push(Action::RelayCrashes);
        }
        let different = |place: &usize| *place == 0 || state.queue[place - 1] != state.queue[*place];
        for message in (0..state.queue.len()).filter(different) {
            // Idle workers are all alike, so only one of them takes a message.
            if let Some(worker) = state.workers.iter().position(|worker| worker.doing == Doing::Idle) {
                actions.push(Action::Take { worker, message });
            }
            for (worker, at) in state.workers.iter().enumerate() {
                if self.may_join(at, &state.queue[message]) {
                    actions.push(Action::Join { worker, message });
                }
            }
            if faults.duplicates > 0 {
                actions.push(Action::Duplicate(message));
            }
            let watched = match state.queue[message] {
                Message::Request { job } => state.jobs[usize::from(job)].state != JobState::Absent,
                _ => true,
            };
            if faults.losses > 0 && self.due_work && watched {
                actions.push(Action::Lose(message));
            }
        }
        for (worker, at) in state.workers.iter().enumerate() {
            match at.doing {
                Doing::Idle => continue,
                Doing::Done => actions.push(Action::Acknowledge(worker)),
                doing => {
                    let chunk = matches!(doing, Doing::On(..));
                    actions.push(Action::Work { worker, last: true, unknown: false });
                    if chunk {
                        actions.push(Action::Work { worker, last: false, unknown: false });
                    }
                    if (chunk || at.in_group()) && faults.unknown > 0 {
                        actions.push(Action::Work { worker, last: true, unknown: true });
                    }
                    if chunk && faults.unknown > 0 {
                        actions.push(Action::Work { worker, last: false, unknown: true });
                    }
                    let counts = chunk || matches!(doing, Doing::Has(Message::Request { .. }));
                    if counts && faults.failures > 0 {
                        actions.push(Action::Fail(worker));
                    }
                }
            }
            if faults.crashes > 0 {
                actions.push(Action::Crash(worker));
            }
            if faults.disconnects > 0 && !at.held.is_empty() {
                actions.push(Action::Disconnect(worker));
            }
        }
        for (job, at) in state.jobs.iter().enumerate() {
            if faults.revocations > 0 {
                let given = at.grants.iter().enumerate().filter(|(_, grant)| **grant == Grant::Yes);
                actions.extend(given.map(|(chunk, _)| Action::Revoke { job, chunk }));
            }
            let absent = at.state == JobState::Absent;
            if faults.cancels > 0 && !at.ended() && (!absent || self.due_work) {
                actions.push(Action::Cancel(job));
            }
            if !self.due_work {
                continue;
            }
            if at.ordered && !absent && self.broken != Some(Broken::ForgetsAnEarlyCancel) {
                actions.push(Action::CarryOut(job));
            }
            for (lane, row) in at.lanes.iter().enumerate() {
                let step = step_of(job, lane);
                if row.open && !state.in_outbox(&step) && (row.waits || !state.on_its_way(&step)) {
                    actions.push(Action::WakeLane { job, lane });
                }
            }
            let request = request_of(job);
            let lost = at.waits || !state.on_its_way(&request);
            if at.state == JobState::Queued && !state.in_outbox(&request) && lost {
                actions.push(Action::AskAgain(job));
            }
            if at.notice_due && !state.in_outbox(end_of(job)) {
                actions.push(Action::MakeNotice(job));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.act(&mut state, action);
        let state = state.in_order();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        super::properties()
    }
}
