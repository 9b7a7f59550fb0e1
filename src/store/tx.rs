//! One write transaction and the messages that leave with it.

use std::time::Duration;

use crate::contract;
use crate::contract::Step;
use crate::db::{Conn, DbError};
use crate::domain::event::EventKind;
use crate::domain::{JobId, JobKey, JobSnapshot, ShareRequest};
use crate::store::clock;
use crate::telemetry::metrics::Tally;

use crate::store::outbox;
use crate::store::outbox::{MessageKind, NewMessage, OutboxRow};

/// A transaction in progress.
pub(super) struct Tx<'a> {
    pub(super) conn: &'a mut Conn,
    /// See [`Tx::now`].
    now: Option<i64>,
    messages: Vec<NewMessage>,
    /// For metrics, once it is committed.
    pub(super) tally: Tally,
}

impl<'a> Tx<'a> {
    pub(super) fn new(conn: &'a mut Conn) -> Self {
        Self { conn, now: None, messages: Vec::new(), tally: Tally::default() }
    }

    /// The one time that everything in this transaction has, in milliseconds since 1970 by the database's clock:
    /// processes' clocks may be hours apart. Read when it is first asked for, so whoever waits for a lock asks
    /// after that.
    ///
    /// # Errors
    /// Where the database fails.
    pub(super) fn now(&mut self) -> Result<i64, DbError> {
        match self.now {
            Some(now) => Ok(now),
            None => {
                let now = clock::now(self.conn)?;
                Ok(*self.now.insert(now))
            }
        }
    }

    /// The same where a statement that was needed anyway brought the time with it.
    pub(super) fn now_is(&mut self, now: i64) -> i64 {
        *self.now.get_or_insert(now)
    }

    /// Sends an event of a job with this transaction.
    pub(super) fn emit(
        &mut self,
        kind: EventKind,
        job: JobKey,
        snapshot: &JobSnapshot,
        part: &str,
        trace: &str,
    ) -> Result<(), DbError> {
        let (message_id, body) = contract::encode_event(kind, snapshot, part, trace, self.now()?);
        self.send(MessageKind::Event(kind), message_id, trace, body, job, None);
        Ok(())
    }

    /// Wakes a lane with this transaction.
    pub(super) fn wake(&mut self, job: JobKey, step: &Step, trace: &str) {
        let body = contract::encode_step(step, trace);
        self.send(MessageKind::Step, step.message_id(), trace, body, job, Some(step.lane));
    }

    /// Publishes a job's request with this transaction. Returns the message's size in bytes.
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

    /// Publishes a stored body that is of no job, as it is.
    pub(super) fn body_of_nobody(&mut self, kind: MessageKind, message_id: String, body: Vec<u8>) {
        self.send(kind, message_id, &contract::new_traceparent(), body, None, None);
    }

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
            // Written with the row: see `write_outbox`.
            created_at: 0,
            leased_until: 0,
        });
    }

    /// Writes the collected messages, leased for so long.
    pub(super) fn write_outbox(mut self, lease: Duration) -> Result<(Vec<OutboxRow>, Tally), DbError> {
        if !self.messages.is_empty() {
            let now = self.now()?;
            self.messages.iter_mut().for_each(|message| message.created_at = now);
        }
        Ok((outbox::insert(self.conn, self.messages, lease)?, self.tally))
    }
}
