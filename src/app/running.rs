//! A program that has started, and how it ends.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::shutdown::Stopper;
use crate::store::Store;

/// A program that has started.
pub struct Running {
    /// Where the gateway listens, if there is one.
    pub gateway: Option<SocketAddr>,
    /// Where a worker answers for its health, if it does.
    pub health: Option<SocketAddr>,
    pub store: Store,
    pub(super) broker: Broker,
    pub(super) roles: Tasks,
    pub(super) relay: Tasks,
    pub(super) stopper: Stopper,
    pub(super) relay_stopper: Stopper,
    pub(super) _lock: Option<File>,
}

/// Tasks that tell their names when they end, also by a panic.
pub(super) type Tasks = JoinSet<&'static str>;

/// Starts a task of this name.
pub(super) fn spawn(tasks: &mut Tasks, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        let _ = tokio::spawn(task).await;
        name
    });
}

impl Running {
    /// Waits for the first task that ends, and returns its name.
    pub(super) async fn first_end(&mut self) -> &'static str {
        first_end(&mut self.roles, &mut self.relay).await
    }

    /// Stops taking work, finishes the work in hand, sends what is in the outbox, and closes the broker. After the
    /// deadline it ends all the same; what was not finished comes again.
    pub async fn stop(mut self, deadline: Duration) {
        let work = async {
            self.stopper.stop();
            while self.roles.join_next().await.is_some() {}
            // The relay stops after the roles, so that what they committed last is sent, too.
            self.relay_stopper.stop();
            while self.relay.join_next().await.is_some() {}
            self.broker.close().await;
        };
        if tokio::time::timeout(deadline, work).await.is_err() {
            tracing::warn!("not everything was finished in time; what is left comes again");
        }
    }
}

async fn first_end(roles: &mut Tasks, relay: &mut Tasks) -> &'static str {
    tokio::select! {
        Some(Ok(name)) = roles.join_next() => name,
        Some(Ok(name)) = relay.join_next() => name,
        else => "program",
    }
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
