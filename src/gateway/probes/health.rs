//! For load balancers and supervisors: is it alive, can it serve.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::gateway::probes::scrape::Scrape;
use crate::gateway::{BrokerCheck, GatewayState, Stage, Startup};
use crate::store::Store;

/// Shorter than the patience of whoever asks.
pub(in crate::gateway) const DEADLINE: Duration = Duration::from_secs(3);

/// The process runs and answers.
pub(in crate::gateway) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Ready while the database answers. A missing broker is said and is no reason to turn requests
/// away: jobs wait in the outbox.
pub(in crate::gateway) async fn ready(State(state): State<GatewayState>) -> Response {
    answer(
        &state.startup,
        look(&state.store, &state.broker).await,
        false,
        &Advice { stuck: Vec::new(), policies: state.store.metrics().policy_queues() },
    )
}

/// `/healthz`, `/readyz` and `/metrics` of a worker, which needs both servers.
pub fn worker_health(store: Store, broker: BrokerCheck, startup: Startup) -> Router {
    let scrape = Scrape::new(store.clone(), Arc::clone(&broker), startup.clone());
    let ready = async move || {
        let metrics = store.metrics();
        let advice = Advice { stuck: metrics.stuck_queues(), policies: metrics.policy_queues() };
        answer(&startup, look(&store, &broker).await, true, &advice)
    };
    Router::new()
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || scrape.clone().answer()))
}

/// Whether a request is a supervisor's: it is answered whatever name it has for us, and during the start.
/// A container is asked by its address, which no list of names can have.
pub(in crate::gateway) fn is_probe(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && ["/healthz", "/readyz", "/metrics"].contains(&request.uri().path())
}

/// Whether database and broker answer.
pub(in crate::gateway) async fn look(store: &Store, broker: &BrokerCheck) -> (bool, bool) {
    let database = timeout(DEADLINE, async {
        store.db().ping().await?;
        store.takes_writes().await
    });
    let broker = timeout(DEADLINE, broker());
    let (database, broker) = tokio::join!(database, broker);
    (matches!(database, Ok(Ok(()))), broker.unwrap_or(false))
}

/// What a person has to look at, while work goes on.
struct Advice {
    /// Queues whose dead letters do not come.
    stuck: Vec<String>,
    /// Queues that a policy of the broker takes messages out of.
    policies: Vec<String>,
}

fn answer(
    startup: &Startup,
    (database, broker): (bool, bool),
    needs_broker: bool,
    Advice { stuck, policies }: &Advice,
) -> Response {
    let missing = if needs_broker { "unavailable" } else { "degraded" };
    let (code, status) = match (database, broker) {
        _ if !startup.is_over() => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (true, true) if stuck.is_empty() && policies.is_empty() => (StatusCode::OK, "ok"),
        (true, true) => (StatusCode::OK, "degraded"),
        (true, false) if !needs_broker => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let mut body = json!({
        "status": status,
        "database": if database { "ok" } else { "unavailable" },
        "broker": if broker { "ok" } else { missing },
    });
    let waiting_for = match startup.stage() {
        Stage::Database if database => Some("migrations"),
        Stage::Database => Some("database"),
        Stage::Broker => Some("broker"),
        Stage::DemoData => Some("demo data"),
        Stage::Over => None,
    };
    if !stuck.is_empty() {
        body["dead_letters"] = json!({"status": "stuck", "queues": stuck});
    }
    if !policies.is_empty() {
        body["policies"] = json!({"status": "take messages", "queues": policies});
    }
    if let Some(waiting_for) = waiting_for {
        body["waiting_for"] = waiting_for.into();
    }
    (code, Json(body)).into_response()
}
