//! `/metrics`, for Prometheus: what this process has counted, and how many jobs, messages and dead letters there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::db::Connections;
use crate::domain::{DeadReason, DeadState, JobState};
use crate::gateway::probes::look::{BrokerCheck, DEADLINE, look};
use crate::gateway::probes::startup::Startup;
use crate::store::{Figures, Store};
use crate::telemetry::metrics;
use crate::telemetry::metrics::Text;

/// How long the numbers of the database are answered again before they are read anew, however many ask.
const FRESH: Duration = Duration::from_secs(5);

/// Answers scrapes. Cheap to clone: all clones are the same one.
#[derive(Clone)]
pub(in crate::gateway) struct Scrape(Arc<Inner>);

struct Inner {
    store: Store,
    broker: BrokerCheck,
    /// Before the start is over, the tables may not be there.
    startup: Startup,
    /// When the numbers were read last, and the numbers themselves. They are `None` where the reading failed: a
    /// statement that took too long may still run, and another one would only add to it. The lock is held while they
    /// are read, so that whoever asks meanwhile waits for the same reading.
    last: Mutex<Option<(Instant, Option<Figures>)>>,
}

impl Scrape {
    pub(in crate::gateway) fn new(store: Store, broker: BrokerCheck, startup: Startup) -> Self {
        Self(Arc::new(Inner { store, broker, startup, last: Mutex::default() }))
    }

    /// The whole text. While the database does not answer, its numbers are left out.
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

/// Writes the numbers of the database. Every state and every reason has a line, even at zero, so that an alert needs
/// no special case for a line that is missing.
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

/// Writes how many connections this process has to the database.
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
