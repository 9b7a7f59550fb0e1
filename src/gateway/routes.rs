//! Every route of the gateway, the layers that each request passes, and serving both on a port.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn_with_state, map_request};
use axum::routing::{delete, get, post, put};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

use crate::gateway::layers::{access_log, guard, measure, panics, request_id, starting};
use crate::gateway::probes::health::{Needs, Readiness, live};
use crate::gateway::probes::look::BrokerCheck;
use crate::gateway::probes::scrape::Scrape;
use crate::gateway::probes::startup::Startup;
use crate::gateway::problem::Problem;
use crate::gateway::serving::{self, Serving};
use crate::gateway::state::{GatewayParts, GatewayState};
use crate::gateway::{api, page, stream};
use crate::shutdown::Stop;
use crate::store::Store;

/// Serves the gateway until the stop signal. From then on it takes no new requests and finishes those in hand: event
/// streams end, and a request that has only half arrived is not waited for.
pub async fn serve(listener: TcpListener, parts: GatewayParts, stop: Stop) {
    let state = GatewayState::new(parts);
    let serving = state.serving.clone();
    serving::answer(listener, router(state), serving, stop).await;
}

/// Answers a router's requests until the stop signal, with few connections: for the supervisors of a worker.
pub async fn answer(listener: TcpListener, router: Router, stop: Stop) {
    serving::answer(listener, router, Serving::small(), stop).await;
}

/// `/healthz`, `/readyz` and `/metrics` of a worker.
pub fn worker_health(store: Store, broker: BrokerCheck, startup: Startup) -> Router {
    probes(store, broker, startup, Needs::DatabaseAndBroker)
}

/// The gateway's routes, with their layers around them.
fn router(state: GatewayState) -> Router {
    let mut api = Router::new()
        .route("/me", get(api::me::me))
        .route("/secrets", get(api::secrets::list))
        .route("/secrets/ids", get(api::secrets::ids))
        .route("/secrets/tags", get(api::secrets::tags))
        .route("/secrets/{id}", get(api::secrets::detail).patch(api::secrets::patch))
        .route("/secrets/{id}/client-secret", get(api::secrets::client_secret))
        .route("/secrets/{id}/access", get(api::access::why))
        .route("/secrets/{id}/people", get(api::access::people))
        .route("/secrets/{id}/grants", get(api::grants::list))
        .route("/secrets/{id}/grants/{principal_id}", delete(api::grants::revoke))
        .route("/received", get(api::received::list))
        .route("/received/{id}/secrets", get(api::received::secrets))
        .route("/received/{id}/seen", post(api::received::see))
        .route("/recipients", get(api::recipients::search))
        .route("/share-jobs", get(api::share_jobs::list).post(api::share_jobs::submit))
        .route("/share-jobs/preview", post(api::share_preview::preview))
        .route("/share-jobs/{id}", get(api::share_jobs::show))
        .route("/share-jobs/{id}/access-left", get(api::remaining::list))
        .route("/share-jobs/{id}/cancel", post(api::share_jobs::cancel))
        .route("/share-jobs/{id}/export", get(api::export::export))
        .route("/share-jobs/{id}/recipients", get(api::about::recipients))
        .route("/share-jobs/{id}/secrets", get(api::about::secrets))
        .route("/share-jobs/{id}/rejections", get(api::rejections::list))
        .route("/share-jobs/{id}/rest", post(api::rest::submit))
        .route("/share-jobs/{id}/undo", get(api::undo::preview).post(api::undo::submit))
        .route("/unshare-jobs", post(api::unshare_jobs::submit))
        .route("/unshare-jobs/preview", post(api::unshare_jobs::preview))
        .route("/events", get(stream::events::stream))
        .route("/notices", get(api::notices::list))
        .route("/notices/dismiss", post(api::notices::dismiss_all))
        .route("/notices/{id}/dismiss", post(api::notices::dismiss));
    if state.sign_ins.is_demo() {
        api = api.route("/demo/people", get(api::demo::people)).route("/demo/me", put(api::demo::choose));
    }
    let (store, broker) = (state.store.clone(), Arc::clone(&state.broker));
    let routes = Router::new()
        .nest("/api/v1", api)
        .route("/", get(page::index))
        .route("/assets/{*path}", get(page::asset))
        .with_state(state.clone())
        .merge(probes(store, broker, state.startup.clone(), Needs::Database))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed());
    layered(routes, &state)
}

fn probes(store: Store, broker: BrokerCheck, startup: Startup, needs: Needs) -> Router {
    let scrape = Scrape::new(store.clone(), Arc::clone(&broker), startup.clone());
    let readiness = Readiness { store, broker, startup, needs };
    Router::new()
        .route("/healthz", get(live))
        .route("/readyz", get(move || readiness.clone().answer()))
        .route("/metrics", get(move || scrape.clone().answer()))
}

/// The layers, from the innermost to the outermost: a request passes the last one first, and its answer passes it
/// last.
fn layered(routes: Router, state: &GatewayState) -> Router {
    routes
        .layer(CatchPanicLayer::custom(panics::answer))
        .layer(from_fn_with_state(state.startup.clone(), starting::gate))
        .layer(from_fn_with_state(state.hosts.clone(), guard::guard))
        .layer(from_fn_with_state(state.store.metrics().clone(), measure::measure))
        .layer(from_fn_with_state(state.sign_ins.clone(), access_log::log))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(map_request(request_id::check))
}
