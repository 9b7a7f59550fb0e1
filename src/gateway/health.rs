//! For load balancers and supervisors: is it alive, can it serve.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::metrics::Scrape;
use super::{BrokerCheck, GatewayState};
use crate::store::Store;

/// Shorter than the patience of whoever asks.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);

/// The process runs and answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Ready while the database answers. A missing broker is said and is no reason to turn requests
/// away: jobs wait in the outbox.
pub(super) async fn ready(State(state): State<GatewayState>) -> (StatusCode, Json<Value>) {
    answer(look(&state.store, &state.broker).await, false)
}

/// `/healthz`, `/readyz` and `/metrics` of a worker, which needs both servers.
pub fn worker_health(store: Store, broker: BrokerCheck) -> Router {
    let scrape = Scrape::new(store.clone(), Arc::clone(&broker));
    let ready = async move || answer(look(&store, &broker).await, true);
    Router::new()
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || scrape.clone().answer()))
}

/// Whether database and broker answer.
pub(super) async fn look(store: &Store, broker: &BrokerCheck) -> (bool, bool) {
    let database = timeout(DEADLINE, store.db().ping());
    let broker = timeout(DEADLINE, broker());
    let (database, broker) = tokio::join!(database, broker);
    (matches!(database, Ok(Ok(()))), broker.unwrap_or(false))
}

fn answer((database, broker): (bool, bool), needs_broker: bool) -> (StatusCode, Json<Value>) {
    let missing = if needs_broker { "unavailable" } else { "degraded" };
    let (code, status) = match (database, broker) {
        (true, true) => (StatusCode::OK, "ok"),
        (true, false) if !needs_broker => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let body = json!({
        "status": status,
        "database": if database { "ok" } else { "unavailable" },
        "broker": if broker { "ok" } else { missing },
    });
    (code, Json(body))
}
