//! Whether the broker has our exchanges and queues, and how they are declared when it comes late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::app::patience::Patience;
use crate::broker::{Broker, BrokerError};
use crate::gateway::BrokerCheck;
use crate::shutdown::Stop;

/// Whether this process has seen that the broker has our exchanges and queues. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Declared(Arc<AtomicBool>);

impl Declared {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Asks the broker whether it can be used, for readiness. A broker that came late and refused our topology
    /// answers, too, and still cannot be used.
    pub(super) fn check(&self, broker: &Broker) -> BrokerCheck {
        let (declared, broker) = (self.clone(), broker.clone());
        Arc::new(move || {
            let (declared, broker) = (declared.clone(), broker.clone());
            Box::pin(async move { declared.0.load(Ordering::Acquire) && broker.ping().await.is_ok() })
        })
    }

    /// Declares the topology for the first time. A broker that cannot be reached keeps nothing from starting.
    /// Then this returns what [`Declared::later`] goes on waiting with.
    ///
    /// # Errors
    /// Where the broker answers and refuses.
    pub(super) async fn now(&self, broker: &Broker) -> Result<Option<Patience>, BrokerError> {
        match broker.declare().await {
            Ok(()) => {
                self.set();
                Ok(None)
            }
            Err(error @ BrokerError::Unavailable(_)) => {
                let mut patience = Patience::new("the broker");
                patience.tell(error.kind(), &error.to_string());
                Ok(Some(patience))
            }
            Err(error) => Err(error),
        }
    }

    /// Declares the topology of a broker that was away when the program started, as soon as it is there; then waits
    /// for the stop signal. A broker that refuses then ends nothing: the gateway serves meanwhile, and whoever mends
    /// the broker need not restart it.
    pub(super) async fn later(self, broker: Broker, mut patience: Patience, stop: Stop) {
        loop {
            if !patience.wait_or_stop(&stop).await {
                return;
            }
            match broker.declare().await {
                Ok(()) => break,
                Err(error) => patience.tell(error.kind(), &error.to_string()),
            }
        }
        self.set();
        tracing::info!("the broker is there, with our exchanges and queues");
        stop.wait().await;
    }
}
