//! The timer: once a second, what is due gets a message.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Queue;
use crate::db::{DbError, FailureClass};
use crate::shutdown::Stop;
use crate::store::DueWork;

use crate::worker::state::Worker;

/// How often rows are looked for that an older program wrote: it runs beside this one while the programs are
/// exchanged, and at no other time.
const FOLD_INTERVAL: Duration = Duration::from_secs(30);

/// Looks for due work until `stop`.
pub(super) async fn run(worker: Arc<Worker>, stop: Stop) {
    let mut folded_at: Option<Instant> = None;
    while stop.sleep(worker.options.due_interval).await {
        if folded_at.is_none_or(|at| at.elapsed() >= FOLD_INTERVAL) {
            folded_at = worker.fold_texts().await.then(Instant::now);
        }
        match worker.wake_due().await {
            Ok(found) if found == DueWork::default() => {}
            Ok(found) => tracing::info!(?found, "woke due work"),
            // The consumers tell of an outage; what was not woken is found again.
            Err(error) if error.class() == FailureClass::Outage => {
                tracing::debug!(%error, "could not look for due work");
            }
            Err(error) => tracing::error!(%error, "could not look for all due work"),
        }
    }
}

impl Worker {
    /// Folds some of the rows that an older program wrote. True: there are no more for now.
    async fn fold_texts(&self) -> bool {
        match self.store.fold_stale_texts().await {
            Ok(more) => !more,
            // As with due work: it is tried again, and the consumers tell of an outage.
            Err(error) => {
                tracing::debug!(%error, "could not fold the texts of an older program");
                true
            }
        }
    }

    /// Looks for due work once.
    ///
    /// # Errors
    /// Where the database fails; what was not woken is found again.
    pub async fn wake_due(&self) -> Result<DueWork, DbError> {
        // The broker is asked only where the answer matters. If it does not answer, the queue is
        // taken for full: asking again could only make a backlog longer.
        let queue_empty = self.store.any_unbegun_due().await?
            && self.broker.depth(Queue::Jobs).await.is_ok_and(|depth| depth == 0);
        self.store.wake_due(queue_empty, self.options.due).await
    }
}
