//! The gate before each call to the database. A task waits there until the scheduler lets it on.
//!
//! Only one task is let on at a time, in the order that the seed gives. Between two gates no other task runs, so a
//! seed always gives the same run.

use std::sync::{Arc, Mutex};

use batchshare::db::{CallHook, DbError};
use diesel::result::{DatabaseErrorKind, Error};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

/// What a task reports to the scheduler.
pub enum Said {
    /// The task waits at its gate. The answer lets it on, or makes its call fail.
    AtGate { writing: bool, answer: oneshot::Sender<Pass> },
    /// The task has ended. False means that a server could not be reached.
    Done(bool),
}

/// How a call to the database goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Go,
    /// The call fails, and nothing was done.
    Outage,
    Transient,
    /// The call was done, and the caller is told that it failed.
    AnswerLost,
}

/// The gate of one task.
pub struct Gate {
    says: mpsc::UnboundedSender<Said>,
    answer_lost: Mutex<bool>,
}

impl Gate {
    pub fn new(says: mpsc::UnboundedSender<Said>) -> Arc<Self> {
        Arc::new(Self { says, answer_lost: Mutex::new(false) })
    }

    async fn pass(&self, writing: bool) -> Result<(), DbError> {
        let (answer, answered) = oneshot::channel();
        // If the task was killed, nobody listens any more.
        let _ = self.says.send(Said::AtGate { writing, answer });
        let pass = answered.await.unwrap_or(Pass::Outage);
        *self.answer_lost.lock().expect("a lock") = pass == Pass::AnswerLost;
        match pass {
            Pass::Go | Pass::AnswerLost => Ok(()),
            Pass::Outage => Err(outage()),
            Pass::Transient => Err(transient()),
        }
    }
}

impl CallHook for Gate {
    fn before_call(&self, writing: bool) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(self.pass(writing))
    }

    fn after_write(&self) -> BoxFuture<'_, Result<(), DbError>> {
        let lost = std::mem::take(&mut *self.answer_lost.lock().expect("a lock"));
        Box::pin(std::future::ready(if lost { Err(answer_lost()) } else { Ok(()) }))
    }
}

fn error(text: &str) -> Error {
    Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text.to_owned()))
}

pub fn outage() -> DbError {
    DbError::Query(error("terminating connection due to administrator command"))
}

pub fn transient() -> DbError {
    DbError::Query(error("deadlock detected"))
}

/// The error has a text that no code knows: whatever the reason is, nobody can tell whether the call was committed.
pub fn answer_lost() -> DbError {
    DbError::Commit(error("no answer to the commit"))
}
