//! One write transaction and the messages that leave with it.

use std::time::Duration;

use crate::db::{Conn, DbError};
use crate::domain::event::EventKind;
use crate::domain::{JobId, JobKey, JobSnapshot, ShareRequest};
use crate::wire::{self, Step};

use super::jobs::JobRow;
use super::outbox::{self, Letter, NewLetter, OutboxRow};

/// A transaction in progress.
pub(super) struct Tx<'a> {
    pub(super) conn: &'a mut Conn,
    /// When it began, in milliseconds since 1970 by this process's clock: for times that are shown.
    /// Leases and due times use the database's `now_ms()`.
    pub(super) now: i64,
    letters: Vec<NewLetter>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(conn: &'a mut Conn, now: i64) -> Self {
        Self { conn, now, letters: Vec::new() }
    }

    /// Sends an event of a job with this transaction.
    pub(super) fn emit(
        &mut self,
        kind: EventKind,
        job: JobKey,
        snapshot: &JobSnapshot,
        part: &str,
        trace: &str,
    ) {
        let (message_id, body) = wire::encode_event(kind, snapshot, part, trace, self.now);
        self.send(Letter::Event(kind), message_id, trace, body, job, None);
    }

    /// Wakes a lane with this transaction.
    pub(super) fn wake(&mut self, job: JobKey, step: &Step, trace: &str) {
        let body = wire::encode_step(step, trace);
        self.send(Letter::Step, step.message_id(), trace, body, job, Some(step.lane));
    }

    /// Publishes a job's request with this transaction. Returns the message's size in bytes.
    pub(super) fn request(&mut self, job: JobKey, id: JobId, request: &ShareRequest, trace: &str) -> usize {
        let body = wire::encode_request(id, request, trace, self.now);
        let bytes = body.len();
        self.send(Letter::Request, id.to_string(), trace, body, job, None);
        bytes
    }

    /// Publishes the request of a job that has not begun once more, with this transaction.
    pub(super) fn request_again(&mut self, row: &JobRow, request: &ShareRequest) {
        let body = wire::encode_request(row.job_id, request, &row.traceparent, self.now);
        self.body_again(row, body);
    }

    /// Publishes a stored body as the request of a job that has not begun.
    pub(super) fn body_again(&mut self, row: &JobRow, body: Vec<u8>) {
        let message_id = wire::request_message_id(row.job_id, row.run);
        self.send(Letter::Request, message_id, &row.traceparent, body, row.key, None);
    }

    /// Publishes a stored body that is of no job, as it is.
    pub(super) fn body_of_nobody(&mut self, letter: Letter, message_id: String, body: Vec<u8>) {
        self.send(letter, message_id, &wire::new_traceparent(), body, None, None);
    }

    fn send(
        &mut self,
        letter: Letter,
        message_id: String,
        trace: &str,
        body: Vec<u8>,
        job: impl Into<Option<JobKey>>,
        lane: Option<i32>,
    ) {
        self.letters.push(NewLetter {
            letter: letter.code(),
            message_id,
            traceparent: trace.to_owned(),
            body,
            job: job.into().map(JobKey::get),
            lane,
            created_at: self.now,
            leased_until: 0,
        });
    }

    /// Writes the collected messages, leased for so long.
    pub(super) fn write_outbox(self, lease: Duration) -> Result<Vec<OutboxRow>, DbError> {
        outbox::insert(self.conn, self.letters, lease)
    }
}
