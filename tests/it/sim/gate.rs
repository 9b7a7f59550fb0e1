//! Everything that runs waits before each call to the database until it is let on: one at a time, in
//! the order that the seed gives. Between two gates a task is alone, so a seed always gives the same run.

use std::sync::{Arc, Mutex};

use batchshare::db::{CallHook, DbError};
use diesel::result::{DatabaseErrorKind, Error};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

/// What a task says to the scheduler.
pub enum Said {
    /// It waits; the answer lets it on, or fails its call.
    AtGate { writing: bool, answer: oneshot::Sender<Pass> },
    /// It is through; `false`: a server was away.
    Done(bool),
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Go,
    /// Nothing is done.
    Outage,
    Transient,
    /// It is done, and the caller hears that it failed.
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
        // Whoever killed it does not listen.
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

/// In words that nobody knows: whatever the reason, nobody knows whether it was committed.
pub fn answer_lost() -> DbError {
    DbError::Commit(error("no answer to the commit"))
}
