//! The lines of the log that say how a job ended or why it failed.

use crate::domain::JobSnapshot;
use crate::store::Recorded;

/// Logs the end of a job.
pub(super) fn log_ended(job: &JobSnapshot) {
    tracing::info!(state = %job.state, pairs = job.pairs, done = job.done(), "job ended");
}

/// Logs a failure that was recorded.
pub(super) fn log_failure(recorded: Recorded, error: &str) {
    match recorded {
        Recorded::Retry { attempt, after } => {
            tracing::warn!(error, attempt, retry_in_ms = after.as_millis(), "failed, tried again later");
        }
        Recorded::Exhausted => tracing::error!(error, "failed for the last time: the job has failed"),
        Recorded::SomebodyElse | Recorded::Conflict => {
            tracing::debug!(error, "failed, and somebody else got on with it")
        }
    }
}
