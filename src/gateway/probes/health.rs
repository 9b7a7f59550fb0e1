//! `/healthz` and `/readyz`, for load balancers and supervisors: is the process alive, and can it serve.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use crate::contract::answer;
use crate::gateway::probes::look::{BrokerCheck, look};
use crate::gateway::probes::startup::{Stage, Startup};
use crate::store::Store;

/// `GET /healthz`: the process runs and answers.
pub(in crate::gateway) async fn live() -> Json<answer::Live> {
    Json(answer::Live { status: "ok" })
}

/// What a process cannot do without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Needs {
    /// A gateway takes requests while the broker is away, because jobs wait in the outbox.
    Database,
    /// A worker needs both servers.
    DatabaseAndBroker,
}

/// What `/readyz` looks at. Cheap to clone.
#[derive(Clone)]
pub(in crate::gateway) struct Readiness {
    pub(in crate::gateway) store: Store,
    pub(in crate::gateway) broker: BrokerCheck,
    pub(in crate::gateway) startup: Startup,
    pub(in crate::gateway) needs: Needs,
}

impl Readiness {
    /// `GET /readyz`: 200 while the process can serve, and 503 otherwise.
    pub(in crate::gateway) async fn answer(self) -> Response {
        let metrics = self.store.metrics();
        // Stuck queues are a worker's business, and a gateway does not report them.
        let stuck = match self.needs {
            Needs::Database => Vec::new(),
            Needs::DatabaseAndBroker => metrics.stuck_queues(),
        };
        let advice = Advice { stuck, policies: metrics.policy_queues() };
        let found = look(&self.store, &self.broker).await;
        let (code, health) = health(&self.startup, found, self.needs, advice);
        (code, Json(health)).into_response()
    }
}

/// What a person has to look at. The work goes on meanwhile.
struct Advice {
    /// The queues whose dead letters do not arrive.
    stuck: Vec<String>,
    /// The queues out of which a policy of the broker takes messages.
    policies: Vec<String>,
}

fn health(
    startup: &Startup,
    (database, broker): (bool, bool),
    needs: Needs,
    Advice { stuck, policies }: Advice,
) -> (StatusCode, answer::Health) {
    let needs_broker = needs == Needs::DatabaseAndBroker;
    let missing = if needs_broker { "unavailable" } else { "degraded" };
    let (code, status) = match (database, broker) {
        _ if !startup.is_over() => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (true, true) if stuck.is_empty() && policies.is_empty() => (StatusCode::OK, "ok"),
        (true, true) => (StatusCode::OK, "degraded"),
        (true, false) if !needs_broker => (StatusCode::OK, "degraded"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let waiting_for = match startup.stage() {
        Stage::Database if database => Some("migrations"),
        Stage::Database => Some("database"),
        Stage::Broker => Some("broker"),
        Stage::DemoData => Some("demo data"),
        Stage::Over => None,
    };
    let dead_letters = (!stuck.is_empty()).then_some(answer::DeadLetters { queues: stuck, status: "stuck" });
    let policies =
        (!policies.is_empty()).then_some(answer::Policies { queues: policies, status: "take messages" });
    let health = answer::Health {
        broker: if broker { "ok" } else { missing },
        database: if database { "ok" } else { "unavailable" },
        dead_letters,
        policies,
        status,
        waiting_for,
    };
    (code, health)
}
