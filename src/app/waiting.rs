//! Servers that are away when the program starts: how they are waited for, and what is said of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::consume::schedule::Schedule;
use crate::gateway::BrokerCheck;
use crate::shutdown::Stop;

/// How often it is said that a server is still waited for.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Waits for a server that is away: one line, then one a minute, and one when the reason becomes another.
pub(super) struct Patience {
    what: &'static str,
    schedule: Schedule,
    /// When it was told last, and the kind of reason.
    told: Option<(Instant, &'static str)>,
}

impl Patience {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, schedule: Schedule::reconnect(), told: None }
    }

    /// Says why it waits, unless it has just said so.
    pub(super) fn tell(&mut self, kind: &'static str, reason: &str) {
        let is_told = |(at, of): (Instant, &str)| of == kind && at.elapsed() < TELL_EVERY;
        if !self.told.is_some_and(is_told) {
            tracing::warn!(reason, "waiting for {}", self.what);
            self.told = Some((Instant::now(), kind));
        }
    }

    pub(super) async fn wait(&mut self, reason: &str) {
        self.tell("", reason);
        tokio::time::sleep(self.schedule.next_wait()).await;
    }
}

/// Whether the broker has our exchanges and queues, as far as this process has seen to it. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Declared(Arc<AtomicBool>);

impl Declared {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Asks the broker whether it can be used, for readiness: one that came late and refuses answers, too,
    /// and cannot be.
    pub(super) fn check(&self, broker: &Broker) -> BrokerCheck {
        let (declared, broker) = (self.clone(), broker.clone());
        Arc::new(move || {
            let (declared, broker) = (declared.clone(), broker.clone());
            Box::pin(async move { declared.0.load(Ordering::Acquire) && broker.ping().await.is_ok() })
        })
    }
}

/// Declares the topology of a broker that was away when the program started, once it is there; then waits for
/// the stop signal. One that refuses then ends nothing: the gateway serves meanwhile, and whoever mends the
/// broker need not restart it.
pub(super) async fn declare_later(broker: Broker, declared: Declared, mut patience: Patience, stop: Stop) {
    loop {
        if !stop.sleep(patience.schedule.next_wait()).await {
            return;
        }
        match broker.declare().await {
            Ok(()) => break,
            Err(error) => patience.tell(error.kind(), &error.to_string()),
        }
    }
    declared.set();
    tracing::info!("the broker is there, with our exchanges and queues");
    stop.wait().await;
}
