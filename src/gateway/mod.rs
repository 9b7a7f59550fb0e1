//! HTTP: what the page and programs ask, answered from the store.
//!
//! Each file is one resource. The gateway decides nothing about sharing and sends nothing to the
//! broker itself: a job is a row and a message in the outbox. Answers show a client secret in one
//! place only, `api::secrets::client_secret`.

mod api;
mod auth;
mod layers;
mod limits;
mod page;
mod probes;
mod problem;
mod serving;
pub mod stream;
mod updates;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

pub use auth::{Auth, ProxyAuth};
pub use layers::guard::HostList;
pub use limits::growth::Hourly;
pub use probes::health::worker_health;
pub use probes::startup::{Stage, Startup};
pub use serving::Serving;
pub use updates::hearing::{Hearing, Update, Updates};

use crate::domain::Limits;
use crate::shutdown::Stop;
use crate::store::Store;
use crate::vault::VaultKey;
use layers::access_log::Refusals;
use limits::growth::Growth;
use limits::turns::Turns;

/// Asks whether the broker can be reached.
pub type BrokerCheck = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Everything that the gateway is made of.
pub struct GatewayParts {
    pub store: Store,
    pub vault: VaultKey,
    pub auth: Auth,
    pub hosts: HostList,
    pub limits: Limits,
    /// Jobs that one person may have unfinished.
    pub max_unfinished: i64,
    /// What one person may ask for in an hour.
    pub hourly: Hourly,
    pub max_body_bytes: usize,
    /// Connections to the database, of which one person has a part.
    pub pool_size: usize,
    pub serving: Serving,
    pub streams_per_person: usize,
    pub broker: BrokerCheck,
    /// Until it is over, only supervisors are answered.
    pub startup: Startup,
    /// What is new, from whoever hears the events.
    pub updates: Updates,
}

/// The parts, shared by all requests, and what is counted of people meanwhile. Cheap to clone.
#[derive(Clone)]
pub struct GatewayState(Arc<Inner>);

struct Inner {
    parts: GatewayParts,
    turns: Turns,
    growth: Growth,
    refusals: Refusals,
}

impl GatewayState {
    #[must_use]
    pub fn new(parts: GatewayParts) -> Self {
        let turns = Turns::new(parts.pool_size, parts.max_body_bytes);
        let growth = Growth::new(parts.hourly);
        Self(Arc::new(Inner { turns, growth, refusals: Refusals::default(), parts }))
    }

    fn turns(&self) -> &Turns {
        &self.0.turns
    }

    fn growth(&self) -> &Growth {
        &self.0.growth
    }

    fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }
}

impl std::ops::Deref for GatewayState {
    type Target = GatewayParts;

    fn deref(&self) -> &GatewayParts {
        &self.0.parts
    }
}

/// Every route.
pub fn router(state: GatewayState) -> Router {
    let mut api = Router::new()
        .route("/me", get(api::me::me))
        .route("/secrets", get(api::secrets::list))
        .route("/secrets/ids", get(api::secrets::ids))
        .route("/secrets/tags", get(api::secrets::tags))
        .route("/secrets/{id}", get(api::secrets::detail).patch(api::secrets::patch))
        .route("/secrets/{id}/client-secret", get(api::secrets::client_secret))
        .route("/secrets/{id}/grants", get(api::secrets::grants))
        .route("/secrets/{id}/grants/{principal_id}", delete(api::secrets::revoke))
        .route("/recipients", get(api::recipients::search))
        .route("/share-jobs", get(api::share_jobs::list).post(api::share_jobs::submit))
        .route("/share-jobs/{id}", get(api::share_jobs::show))
        .route("/share-jobs/{id}/rejections", get(api::share_jobs::rejections))
        .route("/events", get(stream::events::stream))
        .route("/notices", get(api::notices::list))
        .route("/notices/{id}/dismiss", post(api::notices::dismiss));
    if state.auth.is_demo() {
        api = api.route("/demo/people", get(api::me::people)).route("/demo/me", put(api::me::choose));
    }
    let scrape =
        probes::scrape::Scrape::new(state.store.clone(), Arc::clone(&state.broker), state.startup.clone());
    Router::new()
        .nest("/api/v1", api)
        .route("/", get(page::index))
        .route("/assets/{*path}", get(page::asset))
        .route("/metrics", get(move || scrape.clone().answer()))
        .route("/healthz", get(probes::health::live))
        .route("/readyz", get(probes::health::ready))
        .fallback(async || problem::Problem::not_found())
        .method_not_allowed_fallback(async || problem::Problem::method_not_allowed())
        .layer(from_fn_with_state(state.clone(), probes::startup::gate))
        .layer(from_fn_with_state(state.clone(), layers::guard::guard))
        .layer(from_fn_with_state(state.clone(), probes::scrape::measure))
        .layer(from_fn_with_state(state.clone(), layers::access_log::log))
        .with_state(state)
}

/// Serves the gateway until the stop signal; then takes no more and finishes those in hand. Streams end, and
/// whoever has sent half a request is not waited for.
pub async fn serve(listener: TcpListener, state: GatewayState, stop: Stop) {
    let serving = state.serving.clone();
    serving::answer(listener, router(state), serving, stop).await;
}

/// Answers a router's requests until the stop signal: for the few who ask after a worker's health.
pub async fn answer(listener: TcpListener, router: Router, stop: Stop) {
    serving::answer(listener, router, Serving::small(), stop).await;
}
