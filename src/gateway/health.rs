//! For load balancers and supervisors: is it alive, can it serve.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::GatewayState;

/// Shorter than the patience of whoever asks.
const DEADLINE: Duration = Duration::from_secs(3);

/// The process runs and answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Ready while the database answers. A missing broker is said and is no reason to turn requests
/// away: jobs wait in the outbox.
pub(super) async fn ready(State(state): State<GatewayState>) -> (StatusCode, Json<Value>) {
    let database = timeout(DEADLINE, state.store.db().ping());
    let broker = timeout(DEADLINE, (state.broker)());
    let (database, broker) = tokio::join!(database, broker);
    let database = matches!(database, Ok(Ok(())));
    let broker = broker.unwrap_or(false);
    let (code, status) = match (database, broker) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        (true, false) => (StatusCode::OK, "degraded"),
        (true, true) => (StatusCode::OK, "ok"),
    };
    let body = json!({
        "status": status,
        "database": if database { "ok" } else { "unavailable" },
        "broker": if broker { "ok" } else { "degraded" },
    });
    (code, Json(body))
}
