//! `/metrics`: what this process counted, and how the installation stands, for Prometheus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::db::Connections;
use crate::domain::{DeadReason, DeadState, JobState};
use crate::gateway::probes::health::{DEADLINE, look};
use crate::gateway::{BrokerCheck, GatewayState, Startup};
use crate::store::{Figures, Store};
use crate::telemetry::metrics;
use crate::telemetry::metrics::Text;

/// Numbers of the database are read at most so often, however many ask.
const FRESH: Duration = Duration::from_secs(5);

/// Answers scrapes. Cheap to clone.
#[derive(Clone)]
pub(in crate::gateway) struct Scrape(Arc<Inner>);

struct Inner {
    store: Store,
    broker: BrokerCheck,
    /// Before it is over, the tables may not be there.
    startup: Startup,
    /// The last numbers and when they were read; none where that failed, since what took too long runs on
    /// for a while. Locked while reading: who comes meanwhile waits for them.
    last: Mutex<Option<(Instant, Option<Figures>)>>,
}

impl Scrape {
    pub(in crate::gateway) fn new(store: Store, broker: BrokerCheck, startup: Startup) -> Self {
        Self(Arc::new(Inner { store, broker, startup, last: Mutex::default() }))
    }

    /// The whole text. Without the database, its numbers are left out.
    pub(in crate::gateway) async fn answer(self) -> impl IntoResponse {
        let Inner { store, broker, startup, .. } = &*self.0;
        let (database_up, broker_up) = look(store, broker).await;
        let figures = if database_up && startup.is_over() { self.figures().await } else { None };
        let mut text = Text::default();
        let up = |up: bool| u8::from(up);
        text.gauge(
            "batchshare_database_up",
            "Whether the database answers and can be written to.",
            up(database_up),
        );
        text.gauge("batchshare_broker_up", "Whether the broker answers.", up(broker_up));
        if let Some(figures) = figures {
            write(&mut text, &figures);
        }
        let (name, help) = ("batchshare_database_statements_total", "Statements sent to the database.");
        text.family(name, "counter", help);
        text.sample(name, &[], store.db().statements());
        connections(&mut text, store.db().connections());
        text.gauge(
            "batchshare_database_abandoned_calls",
            "Calls that were given up and whose threads wait for the database still.",
            store.db().abandoned(),
        );
        if let Some(ago) = store.last_write() {
            text.gauge(
                "batchshare_database_write_age_seconds",
                "Since the database last confirmed the write by which it is looked whether it takes any.",
                ago.as_secs(),
            );
        }
        store.metrics().write(&mut text);
        metrics::write_process(&mut text);
        ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text.finish())
    }

    async fn figures(&self) -> Option<Figures> {
        let mut last = self.0.last.lock().await;
        if let Some((_, figures)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return figures.clone();
        }
        let figures = match timeout(DEADLINE, self.0.store.figures()).await {
            Ok(Ok(figures)) => Some(figures),
            Ok(Err(error)) => {
                tracing::warn!(%error, "metrics without the numbers of the database");
                None
            }
            Err(_) => {
                tracing::warn!("metrics without the numbers of the database: they took too long");
                None
            }
        };
        *last = Some((Instant::now(), figures.clone()));
        figures
    }
}

/// Every state and reason has its line, at zero too: an alert needs no special case.
fn write(text: &mut Text, figures: &Figures) {
    text.family("batchshare_jobs", "gauge", "Jobs by state.");
    for state in JobState::ALL {
        let count: i64 = figures.jobs.iter().filter(|of| of.0 == *state).map(|of| of.1).sum();
        text.sample("batchshare_jobs", &[("state", state.as_str())], count);
    }
    text.family("batchshare_dead_letters", "gauge", "Dead letters by reason, and by what became of them.");
    for reason in DeadReason::ALL {
        for state in DeadState::ALL {
            let these = figures.dead_letters.iter().filter(|of| of.0 == *reason && of.1 == *state);
            let labels = [("reason", reason.as_str()), ("state", state.as_str())];
            text.sample("batchshare_dead_letters", &labels, these.map(|of| of.2).sum::<i64>());
        }
    }
    text.gauge("batchshare_outbox_messages", "Messages that wait to be sent.", figures.unsent);
    let held = "Those of them that the broker has refused again and again: somebody should look.";
    text.gauge("batchshare_outbox_held_messages", held, figures.held);
    let seconds = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64();
    let (name, help) = ("batchshare_outbox_oldest_age_seconds", "How long the oldest of them has waited.");
    text.gauge(name, help, seconds(figures.unsent_for_ms));
    let (name, help) = (
        "batchshare_jobs_oldest_unfinished_age_seconds",
        "How long ago the oldest unfinished job was asked for.",
    );
    text.gauge(name, help, seconds(figures.unfinished_for_ms));
}

/// This process's connections to the database.
fn connections(text: &mut Text, connections: Connections) {
    let name = "batchshare_database_connections";
    text.family(name, "gauge", "Connections of this process to the database.");
    text.sample(name, &[("state", "in_use")], connections.in_use);
    text.sample(name, &[("state", "idle")], connections.idle);
    let help = "Connections to the database that this process may have.";
    text.gauge("batchshare_database_connections_max", help, connections.size);
    let help = "Calls that wait for one of these connections.";
    text.gauge("batchshare_database_connections_waiting", help, connections.waiting);
}

/// The layer that times every request, by the pattern of its route.
pub(in crate::gateway) async fn measure(
    State(state): State<GatewayState>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known(request.method());
    let response = next.run(request).await;
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    state.store.metrics().answered(method, route, response.status().as_u16(), began.elapsed());
    response
}

/// Whoever asks chooses the method's name; what is not one of these is OpenTelemetry's `_OTHER`.
fn known(method: &Method) -> &'static str {
    const NAMES: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    NAMES.into_iter().find(|name| *name == method.as_str()).unwrap_or("_OTHER")
}
