//! The broker that the settings name.

use std::time::Duration;

use crate::app::error::AppError;
use crate::broker::{Broker, Embedded, Rabbit, RabbitOptions, Topology};
use crate::config::Settings;
use crate::db::{Clock, Db};
use crate::telemetry::metrics::Metrics;

/// The broker of a process, not yet connected. What it counts goes to `metrics`.
pub(super) fn broker(settings: &Settings, db: &Db, metrics: Metrics) -> Broker {
    if settings.is_embedded() {
        return Broker::new(Embedded::new(db.clone()));
    }
    let b = &settings.broker;
    Broker::new(Rabbit::new(RabbitOptions {
        url: b.url.clone(),
        topology: Topology { prefix: b.prefix.clone() },
        heartbeat: b.heartbeat_s,
        connect_timeout: Duration::from_millis(b.connect_timeout_ms),
        operation_timeout: Duration::from_millis(b.operation_timeout_ms),
        name: format!("batchshare {}", std::process::id()),
        ca_file: settings.broker_ca_file(),
        metrics,
    }))
}

/// Declares the broker's topology.
///
/// # Errors
/// Where the broker is away or refuses, or has something else under our names.
pub async fn declare(settings: &Settings) -> Result<(), AppError> {
    let db = Db::new(settings.target()?, settings.db_options(), Clock::default());
    Ok(broker(settings, &db, Metrics::default()).declare().await?)
}
