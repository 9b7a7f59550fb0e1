//! A program that has started: how it goes on, and how it ends.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::app::{AppError, Roles, start};
use crate::broker::Broker;
use crate::config::Settings;
use crate::shutdown::{Signals, Stopper};
use crate::store::Store;

/// A program that has started.
pub struct Running {
    /// Where the gateway listens, where it does.
    pub gateway: Option<SocketAddr>,
    /// Where a worker answers for its health, where it does.
    pub health: Option<SocketAddr>,
    pub store: Store,
    pub(super) broker: Broker,
    pub(super) roles: Tasks,
    pub(super) relay: Tasks,
    pub(super) stopper: Stopper,
    pub(super) relay_stopper: Stopper,
    pub(super) _lock: Option<File>,
}

/// Tasks that tell their names when they end, by a panic too.
pub(super) type Tasks = JoinSet<&'static str>;

pub(super) fn spawn(tasks: &mut Tasks, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        let _ = tokio::spawn(task).await;
        name
    });
}

/// The first of them to end.
async fn first_end(roles: &mut Tasks, relay: &mut Tasks) -> &'static str {
    tokio::select! {
        Some(Ok(name)) = roles.join_next() => name,
        Some(Ok(name)) = relay.join_next() => name,
        else => "program",
    }
}

impl Running {
    /// Stops taking, finishes the work in hand, sends what is in the outbox, closes. Ends after the
    /// deadline all the same: what was not finished comes again.
    pub async fn stop(mut self, deadline: Duration) {
        let work = async {
            self.stopper.stop();
            while self.roles.join_next().await.is_some() {}
            // After the roles: what they committed last is sent too.
            self.relay_stopper.stop();
            while self.relay.join_next().await.is_some() {}
            self.broker.close().await;
        };
        if tokio::time::timeout(deadline, work).await.is_err() {
            tracing::warn!("not everything was finished in time; what is left comes again");
        }
    }
}

/// Runs a process with these roles until SIGTERM or SIGINT; `ready` is told where it listens.
///
/// # Errors
/// As [`start`].
pub async fn run(settings: Settings, roles: Roles, ready: impl FnOnce(&Running)) -> Result<(), AppError> {
    let mut signals = Signals::listen().map_err(|error| AppError::Other(error.to_string()))?;
    let mut running = tokio::select! {
        running = start(&settings, roles) => running?,
        // Nothing has been taken yet: there is nothing to finish.
        () = signals.next() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    ready(&running);
    let result = tokio::select! {
        () = signals.next() => Ok(()),
        // With a part of it gone, the others would look well and jobs would wait for ever.
        name = first_end(&mut running.roles, &mut running.relay) => Err(AppError::ended(name)),
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
        // A second signal ends at once.
        () = signals.next() => tracing::warn!("stopped at once; what is left comes again"),
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_role_that_panics_is_told_by_its_name() {
        let (mut roles, mut relay) = (Tasks::new(), Tasks::new());
        spawn(&mut roles, "gateway", std::future::pending());
        spawn(&mut roles, "worker", async { assert_eq!(1 + 1, 3, "on purpose") });
        spawn(&mut relay, "relay", std::future::pending());
        assert_eq!(first_end(&mut roles, &mut relay).await, "worker");
    }
}
