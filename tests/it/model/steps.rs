//! What each action does: the transactions of the worker, of the relay and of due work, and the faults.

use super::protocol::*;

impl Protocol {
    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    pub(super) fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Publish(place) if self.is(Broken::RelayDeletesBeforeTheConfirm) => {
                let row = state.outbox.remove(place);
                state.in_hand.push(row.message);
            }
            Action::Publish(place) => {
                state.outbox[place].sent = true;
                state.deliver(state.outbox[place].message);
            }
            Action::Confirm(place) => drop(state.outbox.remove(place)),
            Action::PublishFromHand(place) => {
                let message = state.in_hand.remove(place);
                state.deliver(message);
            }
            Action::RelayCrashes => {
                state.faults.relay_crashes -= 1;
                state.in_hand.clear();
                state.outbox.iter_mut().for_each(|row| row.sent = false);
            }
            Action::Take { worker, message } => {
                let message = state.queue.remove(message);
                let held = if self.is(Broken::AcksBeforeCommit) { Vec::new() } else { vec![message] };
                let latest = state.workers.iter().map(|worker| worker.tag).max().unwrap_or(0);
                let tag = if self.together { latest + 1 } else { 0 };
                state.workers[worker] = Worker { doing: Doing::Has(message), held, tag, ..Worker::IDLE };
            }
            Action::Join { worker, message } => {
                let message = state.queue.remove(message);
                state.workers[worker].rest.push(message);
                state.workers[worker].held.push(message);
            }
            Action::Work { worker, last, unknown } => {
                let before = state.workers[worker].doing;
                if state.workers[worker].in_group() {
                    let asked = state.workers[worker].rest.clone();
                    self.begin_together(state, worker);
                    if unknown {
                        // The worker acts as if the transaction had failed, and tries the requests one by one. Those
                        // that were begun are found to be begun.
                        state.faults.unknown -= 1;
                        let at = &mut state.workers[worker];
                        (at.doing, at.rest, at.alone) = (before, asked, true);
                    }
                    return;
                }
                self.work(state, worker, last);
                if unknown {
                    state.faults.unknown -= 1;
                    // The worker acts as on a redelivery: the row decides how it goes on.
                    if let (Doing::On(message, _), false) = (before, self.is(Broken::RetriesAChunkBlindly)) {
                        state.workers[worker].doing = Doing::Has(message);
                    } else {
                        state.workers[worker].doing = before;
                    }
                }
            }
            Action::Fail(worker) => {
                state.faults.failures -= 1;
                if state.workers[worker].in_group() {
                    if self.is(Broken::ReportsABadJobAsDone) {
                        let at = &mut state.workers[worker];
                        at.doing = Doing::Has(at.rest.remove(0));
                        self.work(state, worker, true);
                    }
                    state.workers[worker].alone = true;
                    return;
                }
                self.record_failure(state, worker);
                state.workers[worker].done();
            }
            Action::Acknowledge(worker) => {
                if self.is(Broken::AcknowledgesOverUnfinished) {
                    let tag = state.workers[worker].tag;
                    let before = state.workers.iter_mut().filter(|other| other.tag < tag);
                    before.for_each(|other| other.held.clear());
                }
                state.workers[worker] = Worker::IDLE;
            }
            Action::Crash(worker) => {
                state.faults.crashes -= 1;
                let died = std::mem::replace(&mut state.workers[worker], Worker::IDLE);
                state.queue.extend(died.held);
            }
            Action::Disconnect(worker) => {
                state.faults.disconnects -= 1;
                let held = std::mem::take(&mut state.workers[worker].held);
                state.queue.extend(held);
            }
            Action::Duplicate(message) => {
                state.faults.duplicates -= 1;
                state.queue.push(state.queue[message]);
            }
            Action::Lose(message) => {
                state.faults.losses -= 1;
                state.queue.remove(message);
            }
            Action::Revoke { job, chunk } => {
                state.faults.revocations -= 1;
                state.jobs[job].grants[chunk] = Grant::Revoked;
            }
            Action::Cancel(job) => {
                state.faults.cancels -= 1;
                if state.jobs[job].state == JobState::Absent {
                    state.jobs[job].ordered = true;
                } else {
                    self.end(state, job as u8, JobState::Cancelled);
                }
            }
            Action::CarryOut(job) => {
                state.jobs[job].ordered = false;
                if !state.jobs[job].ended() {
                    self.end(state, job as u8, JobState::Cancelled);
                }
            }
            Action::WakeLane { job, lane } => {
                let row = &mut state.jobs[job].lanes[lane];
                row.waits = false;
                let turn = row.turn;
                state.send(Message::Step { job: job as u8, lane: lane as u8, turn });
            }
            Action::AskAgain(job) => {
                state.jobs[job].waits = false;
                state.send(Message::Request { job: job as u8 });
            }
            Action::MakeNotice(job) => make_notice(&mut state.jobs[job]),
        }
    }

    /// Does the worker's next transaction.
    fn work(&self, state: &mut State, worker: usize, last: bool) {
        let doing = state.workers[worker].doing;
        let next = match doing {
            Doing::Has(Message::Request { job }) => self.begin(state, job),
            Doing::Has(message @ Message::Step { job, lane, turn }) => {
                let job = &state.jobs[usize::from(job)];
                let row = job.lanes.get(usize::from(lane));
                match row.filter(|row| row.open && row.turn == turn && !row.waits) {
                    Some(row) if job.state == JobState::Running => Doing::On(message, row.view()),
                    _ => Doing::Done,
                }
            }
            Doing::Has(Message::Ended { job, .. }) => {
                make_notice(&mut state.jobs[usize::from(job)]);
                Doing::Done
            }
            Doing::On(message, view) => self.chunk(state, message, view, last),
            Doing::Emits(message) => {
                state.send(message);
                Doing::Done
            }
            Doing::Finishes(message) => {
                let Message::Step { job, .. } = message else { return };
                // The mistake: the job is neither locked nor is its state looked at.
                let all_closed = state.jobs[usize::from(job)].lanes.iter().all(|lane| !lane.open);
                if all_closed { self.end(state, job, JobState::Completed) } else { Doing::Done }
            }
            Doing::Idle | Doing::Done => doing,
        };
        state.workers[worker].doing = next;
        if next == Doing::Done {
            state.workers[worker].done();
        }
    }

    /// Begins several requests in one transaction.
    fn begin_together(&self, state: &mut State, worker: usize) {
        let first = state.workers[worker].doing;
        let rest = std::mem::take(&mut state.workers[worker].rest);
        for message in std::iter::once(first).chain(rest.into_iter().map(Doing::Has)) {
            if let Doing::Has(Message::Request { job }) = message {
                self.begin(state, job);
            }
        }
        state.workers[worker].doing = Doing::Done;
    }

    /// Begins a request: the row is made or found, and the job is begun if it is time.
    fn begin(&self, state: &mut State, job: u8) -> Doing {
        let row = &mut state.jobs[usize::from(job)];
        let fresh = matches!(row.state, JobState::Absent | JobState::Queued) && !row.waits;
        let small = self.jobs[usize::from(job)].0 == Shape::Small;
        let fresh = fresh || row.state == JobState::Cancelled && self.is(Broken::BeginsACancelledJob);
        if !(fresh || small && self.is(Broken::NoLedger)) {
            return Doing::Done;
        }
        row.attempts = 0;
        if small {
            row.grant(0);
            row.done += 1;
            return self.end(state, job, JobState::Completed);
        }
        row.state = JobState::Running;
        row.lanes = vec![Lane { open: true, ..Lane::default() }; usize::from(LANES)];
        row.open_lanes = LANES;
        for lane in 0..LANES {
            state.send(Message::Step { job, lane, turn: 0 });
        }
        Doing::Done
    }

    /// Works on a chunk: the lane is moved on from where it was read, or nothing is done.
    fn chunk(&self, state: &mut State, message: Message, view: View, last: bool) -> Doing {
        let Message::Step { job, lane, .. } = message else { return Doing::Done };
        let Shape::Large(chunks) = self.jobs[usize::from(job)].0 else { return Doing::Done };
        let row = &mut state.jobs[usize::from(job)];
        let at = &mut row.lanes[usize::from(lane)];
        let open = at.open || self.is(Broken::ChunkIgnoresACancel);
        if !open || !at.is_at(view) {
            return Doing::Done;
        }
        let chunk = usize::from(lane * chunks + at.position);
        at.position += 1;
        at.done += 1;
        (at.attempts, at.waits) = (0, false);
        let ends = at.position == chunks;
        at.open = !ends;
        if last && !ends {
            at.turn += 1;
        }
        let (next, turn) = (at.view(), at.turn);
        row.grant(chunk);
        if !ends {
            if last {
                state.send(Message::Step { job, lane, turn });
                return Doing::Done;
            }
            return Doing::On(message, next);
        }
        if self.is(Broken::TwoLanesFinishTheJob) {
            return Doing::Finishes(message);
        }
        row.open_lanes -= 1;
        if row.open_lanes == 0 { self.end(state, job, JobState::Completed) } else { Doing::Done }
    }

    /// Ends a job: its state, its counts and its terminal event are written in the same transaction.
    fn end(&self, state: &mut State, job: u8, to: JobState) -> Doing {
        let row = &mut state.jobs[usize::from(job)];
        row.state = to;
        row.ends += 1;
        row.notice_due = true;
        if !row.lanes.is_empty() {
            row.done = row.lanes.iter().map(|lane| lane.done).sum();
        }
        row.lanes.iter_mut().for_each(|lane| lane.open = false);
        let event = Message::Ended { job, done: row.done };
        if to == JobState::Cancelled && self.is(Broken::CancelForgetsTheEvent) {
            return Doing::Done;
        }
        if self.is(Broken::EventOutsideTheTransaction) {
            return Doing::Emits(event);
        }
        state.send(event);
        Doing::Done
    }

    /// Records a failure if the work is still where it was read: it is one more attempt, or the end of the job.
    fn record_failure(&self, state: &mut State, worker: usize) {
        match state.workers[worker].doing {
            Doing::Has(Message::Request { job }) => {
                let row = &mut state.jobs[usize::from(job)];
                if !matches!(row.state, JobState::Absent | JobState::Queued) || row.waits {
                    return;
                }
                row.state = JobState::Queued;
                row.attempts += 1;
                row.waits = true;
                if row.attempts == self.attempts {
                    row.waits = false;
                    self.end(state, job, JobState::Failed);
                }
            }
            Doing::On(Message::Step { job, lane, .. }, view) => {
                let row = &mut state.jobs[usize::from(job)];
                let at = &mut row.lanes[usize::from(lane)];
                if !at.open || !at.is_at(view) || at.attempts != view.attempts() {
                    return;
                }
                at.attempts += 1;
                at.waits = true;
                if at.attempts == self.attempts {
                    self.end(state, job, JobState::Failed);
                }
            }
            _ => {}
        }
    }
}

/// Makes the notice of a job, unless it was made before.
fn make_notice(job: &mut Job) {
    if job.notice_due {
        job.notices += 1;
        job.notice_due = false;
    }
}

impl Worker {
    /// The worker is done with a request, and goes on with the next of those that are begun one by one.
    fn done(&mut self) {
        self.doing = if self.rest.is_empty() { Doing::Done } else { Doing::Has(self.rest.remove(0)) };
    }
}

pub(super) fn step_of(job: usize, lane: usize) -> impl Fn(&Message) -> bool {
    move |message| matches!(message, Message::Step { job: j, lane: l, .. } if (usize::from(*j), usize::from(*l)) == (job, lane))
}

pub(super) fn request_of(job: usize) -> impl Fn(&Message) -> bool {
    move |message| matches!(message, Message::Request { job: j } if usize::from(*j) == job)
}

pub(super) fn end_of(job: usize) -> impl Fn(&Message) -> bool {
    move |message| matches!(message, Message::Ended { job: j, .. } if usize::from(*j) == job)
}
