//! A process from its start to its end: it starts, runs until a signal, and stops.

use std::time::Duration;

use crate::app::compose::start;
use crate::app::error::AppError;
use crate::app::file_watch::FILE_WATCH;
use crate::app::roles::Roles;
use crate::app::running::Running;
use crate::config::Settings;
use crate::shutdown::Signals;

/// Runs a process with these roles until SIGTERM or SIGINT. `ready` is called once it has started.
///
/// # Errors
/// As [`start`]; and where one of its tasks ends by itself, or the database's file is gone.
pub async fn run(settings: Settings, roles: Roles, ready: impl FnOnce(&Running)) -> Result<(), AppError> {
    let mut signals = Signals::listen().map_err(AppError::Signals)?;
    let mut running = tokio::select! {
        running = start(&settings, roles) => running?,
        // Nothing has been taken yet, so there is nothing to finish.
        () = signals.next() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    ready(&running);
    let result = tokio::select! {
        () = signals.next() => Ok(()),
        // Without one of its parts the others would look well, and jobs would wait for ever.
        name = running.first_end() => Err(ended(name)),
    };
    if let Err(error @ AppError::FileGone) = result {
        // Closing the connections would write to the files that have the names now, and remove some.
        std::mem::forget(running);
        return Err(error);
    }
    match &result {
        Ok(()) => tracing::info!("stopping"),
        Err(error) => tracing::error!(%error, "stopping"),
    }
    tokio::select! {
        () = running.stop(Duration::from_millis(settings.shutdown.deadline_ms)) => {}
        // A second signal ends the process at once.
        () = signals.next() => tracing::warn!("stopped at once; what is left comes again"),
    }
    result
}

/// Why a program ends of which this task has ended.
fn ended(task: &'static str) -> AppError {
    if task == FILE_WATCH { AppError::FileGone } else { AppError::Ended(task) }
}
