//! The timer: once a second, a message is sent for each job and lane that is due.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Queue;
use crate::db::{DbError, FailureClass};
use crate::shutdown::Stop;
use crate::store::DueWork;

use crate::worker::state::Worker;

/// How often the worker looks for rows that an older program wrote. An older program runs beside this one only while
/// a new release is being rolled out.
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
            // The consumers log an outage. Work that was not woken is found again.
            Err(error) if error.class() == FailureClass::Outage => {
                tracing::debug!(%error, "could not look for due work");
            }
            Err(error) => tracing::error!(%error, "could not look for all due work"),
        }
    }
}

impl Worker {
    /// Folds some of the rows that an older program wrote. Returns true if there are no more for now.
    async fn fold_texts(&self) -> bool {
        match self.store.fold_stale_texts().await {
            Ok(more) => !more,
            // As with due work, it is tried again, and the consumers log an outage.
            Err(error) => {
                tracing::debug!(%error, "could not fold the texts of an older program");
                true
            }
        }
    }

    /// Looks for due work once.
    ///
    /// # Errors
    /// Where the database fails. Work that was not woken is found again.
    pub async fn wake_due(&self) -> Result<DueWork, DbError> {
        // The broker is asked only where the answer matters. If it does not answer, the queue counts as full, because
        // sending requests again could only make a backlog longer.
        let queue_empty = self.store.any_unbegun_due().await?
            && self.broker.depth(Queue::Jobs).await.is_ok_and(|depth| depth == 0);
        self.store.wake_due(queue_empty, self.options.due).await
    }
}
