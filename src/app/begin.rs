//! How work on a job begins, for commands that begin one themselves.

use crate::config::Settings;
use crate::store::BeginOptions;
use crate::worker::WorkerOptions;

/// The options with which a worker of these settings begins jobs.
#[must_use]
pub fn begin_options(settings: &Settings) -> BeginOptions {
    WorkerOptions::from_settings(settings).begin
}
