//! An outage, told from a failure that is of one message alone, and the tries that come before either.

use tokio::task::JoinError;

use crate::broker::{BrokerError, Queue};
use crate::consume::schedule::Schedule;
use crate::db::{DbError, FailureClass};

/// The database or the broker cannot be used now. The messages in hand stay unacknowledged, so the broker delivers them
/// again later.
#[derive(Debug, thiserror::Error)]
pub enum Outage {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A message that came out of the broker goes back into it as a dead letter, which is hardly larger.
    #[error("the broker rejects a dead letter of its own size")]
    DeadLetterRejected,
    /// This is a bug: nobody hands such messages over.
    #[error("no worker takes the queue {0:?}")]
    NobodysQueue(Queue),
    /// This is a bug: handlers run in tasks of their own, whose panics are told as such.
    #[error("a task ended early: {0}")]
    Task(#[from] JoinError),
}

/// How often a failure that may be gone in a moment is tried before it is recorded.
const TRIES_IN_PLACE: usize = 3;

/// For handlers: runs `work`, and runs it again a few times if its failure is transient. A failure that was a wait in
/// itself is not tried again, because the messages behind it have waited as long.
///
/// # Errors
/// The last failure.
pub async fn in_place<T, F: Future<Output = Result<T, DbError>>>(
    mut work: impl FnMut() -> F,
) -> Result<T, DbError> {
    let mut schedule = Schedule::in_place();
    let mut tries = 0;
    loop {
        tries += 1;
        match work().await {
            Err(error)
                if error.class() == FailureClass::Transient
                    && !error.is_timeout()
                    && tries < TRIES_IN_PLACE =>
            {
                tracing::debug!(%error, tries, "trying again in place");
                tokio::time::sleep(schedule.next_wait()).await;
            }
            result => return result,
        }
    }
}

/// For handlers: a failure that is of this message alone, in words, to be recorded with it.
///
/// # Errors
/// The failure is an outage, which is not recorded.
pub fn outage_or_words(error: DbError) -> Result<String, Outage> {
    outage_or_own(error).map(|error| error.to_string())
}

/// For handlers: a failure that is of this message alone.
///
/// # Errors
/// The failure is an outage.
pub fn outage_or_own(error: DbError) -> Result<DbError, Outage> {
    // While somebody else has SQLite's one writer, nothing can be written: that is as if the server were away.
    let is_outage = error.class() == FailureClass::Outage || error.is_writer_taken();
    if is_outage { Err(error.into()) } else { Ok(error) }
}
