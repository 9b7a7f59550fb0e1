//! One write transaction, and the messages that are sent if it commits.

use std::time::Duration;

use crate::contract;
use crate::contract::Step;
use crate::db::{Clock, Conn, DbError};
use crate::domain::event::EventKind;
use crate::domain::{JobId, JobKey, JobSnapshot, ShareRequest};
use crate::store::clock;
use crate::telemetry::metrics::Tally;

use crate::store::outbox;
use crate::store::outbox::{MessageKind, NewMessage, OutboxRow};

/// A transaction in progress.
pub(super) struct Tx<'a> {
    pub(super) conn: &'a mut Conn,
    /// The time of this transaction in microseconds, once it is known. See [`Tx::now_us`].
    now_us: Option<i64>,
    /// It keeps the readings of this process from going back.
    clock: Clock,
    messages: Vec<NewMessage>,
    /// What this transaction does, for metrics. It counts only after the commit.
    pub(super) tally: Tally,
}

impl<'a> Tx<'a> {
    pub(super) fn new(conn: &'a mut Conn, clock: Clock) -> Self {
        Self { conn, now_us: None, clock, messages: Vec::new(), tally: Tally::default() }
    }

    /// The time of this transaction, in microseconds since 1970 by the database's clock. Everything that the
    /// transaction writes has this one time. It is read by the first call, so callers take their locks first: the
    /// wait for a lock would otherwise make the time old. It is never earlier than a time that this process has used
    /// before.
    pub(super) fn now_us(&mut self) -> Result<i64, DbError> {
        match self.now_us {
            Some(now) => Ok(now),
            None => {
                let now = clock::now_us(self.conn)?;
                Ok(self.now_is(now))
            }
        }
    }

    /// The time of this transaction ([`Tx::now_us`]) in milliseconds.
    pub(super) fn now(&mut self) -> Result<i64, DbError> {
        Ok(self.now_us()? / 1_000)
    }

    /// Sets the time of this transaction, in microseconds, if it is not set yet, and returns it. This saves the round
    /// trip of [`Tx::now_us`] if a statement that was needed anyway has returned the time.
    pub(super) fn now_is(&mut self, now_us: i64) -> i64 {
        *self.now_us.get_or_insert_with(|| self.clock.no_earlier(now_us))
    }

    /// Sets the time of this transaction, in microseconds, if it is not set yet, to one that a statement has stored in a
    /// row. It is taken as it is, so that everything else that the transaction writes has the same time. The statement
    /// has seen to it that it is not earlier than [`Tx::latest_us`].
    pub(super) fn stored_is(&mut self, now_us: i64) {
        let _ = self.clock.no_earlier(now_us);
        self.now_us.get_or_insert(now_us);
    }

    /// Sets the time of this transaction anew, in microseconds, after it has waited for another lock. What it wrote
    /// before keeps the earlier time.
    pub(super) fn later(&mut self, now_us: i64) -> i64 {
        *self.now_us.insert(self.clock.no_earlier(now_us))
    }

    /// The latest time that this process has used, in microseconds. A statement that stores the time itself stores none
    /// that is earlier.
    pub(super) fn latest_us(&self) -> i64 {
        self.clock.latest_us()
    }

    /// Sends an event of a job when this transaction commits. `part` tells events of one kind apart.
    pub(super) fn emit(
        &mut self,
        kind: EventKind,
        job: JobKey,
        snapshot: &JobSnapshot,
        part: &str,
        trace: &str,
    ) -> Result<(), DbError> {
        let (message_id, body) = contract::encode_event(kind, snapshot, part, trace, self.now()?);
        self.send(MessageKind::Event(snapshot.kind, kind), message_id, trace, body, job, None);
        Ok(())
    }

    /// Sends the step that wakes a lane when this transaction commits.
    pub(super) fn wake(&mut self, job: JobKey, step: &Step, trace: &str) {
        let body = contract::encode_step(step, trace);
        self.send(MessageKind::Step, step.message_id(), trace, body, job, Some(step.lane));
    }

    /// Sends the request of a new job when this transaction commits. Returns the size of the message in bytes.
    pub(super) fn request(
        &mut self,
        job: JobKey,
        id: JobId,
        request: &ShareRequest,
        trace: &str,
    ) -> Result<usize, DbError> {
        let body = contract::encode_request(id, request, trace, self.now()?);
        let bytes = body.len();
        self.send(MessageKind::Request, id.to_string(), trace, body, job, None);
        Ok(bytes)
    }

    /// Sends a stored body that belongs to no job, unchanged, when this transaction commits.
    pub(super) fn body_of_nobody(&mut self, kind: MessageKind, message_id: String, body: Vec<u8>) {
        self.send(kind, message_id, &contract::new_traceparent(), body, None, None);
    }

    /// Sends a message when this transaction commits. `job` and `lane` say what the message is about, so that due work
    /// finds it while it waits in the outbox.
    pub(in crate::store) fn send(
        &mut self,
        kind: MessageKind,
        message_id: String,
        trace: &str,
        body: Vec<u8>,
        job: impl Into<Option<JobKey>>,
        lane: Option<i32>,
    ) {
        self.messages.push(NewMessage {
            kind: kind.code(),
            message_id,
            traceparent: trace.to_owned(),
            body,
            job: job.into().map(JobKey::get),
            lane,
            // Both times are set when the row is written (see `write_outbox` and `outbox::insert`).
            created_at: 0,
            leased_until: 0,
        });
    }

    /// Writes the collected messages into the outbox, leased to this process for `lease`.
    pub(super) fn write_outbox(mut self, lease: Duration) -> Result<(Vec<OutboxRow>, Tally), DbError> {
        if !self.messages.is_empty() {
            let now = self.now()?;
            self.messages.iter_mut().for_each(|message| message.created_at = now);
        }
        Ok((outbox::insert(self.conn, self.messages, lease)?, self.tally))
    }
}
