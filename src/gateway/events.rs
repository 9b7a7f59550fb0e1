//! The stream of a person: running jobs, ended jobs, notices, as they happen.
//!
//! An update is a wake-up; what is sent is read from the store. A stream begins with everything and
//! sends everything again when it may have missed something, so whoever reads it keeps the last
//! state of each job and nothing else.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderName;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::Instant;

use super::GatewayState;
use super::auth::Me;
use super::demo::me_json;
use super::notices::notice_json;
use super::problem::Problem;
use super::updates::Update;
use crate::db::DbError;
use crate::domain::JobId;
use crate::store::Person;
use crate::wire;

/// Polling is the truth: so often a stream looks for itself whether it missed something.
const LOOK: Duration = Duration::from_secs(10);

/// After so long a silence comes a `beat`: shorter than the patience of proxies, and an event rather than
/// a comment, so that a page sees that its stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// nginx collects what it passes on, unless told not to.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// Running jobs and notices in one snapshot; who has more reads the listings.
const SNAPSHOT: i64 = 100;

pub(super) async fn stream(
    State(state): State<GatewayState>,
    Me(me): Me,
) -> Result<impl IntoResponse, Problem> {
    // Registered before the query, so that nothing falls between them.
    let updates = state.updates.subscribe().await;
    let snapshot = snapshot(&state, &me).await?;
    let first = event("snapshot", &snapshot);
    let reader = Reader { state, me, updates, told: snapshot, look: Instant::now() + LOOK };
    let events = unfold((reader, vec![first]), |(mut reader, mut waiting)| async move {
        while waiting.is_empty() {
            waiting = reader.next().await?;
        }
        let event = waiting.remove(0);
        Some((Ok::<_, Infallible>(event), (reader, waiting)))
    });
    let beat = KeepAlive::new().interval(HEARTBEAT).event(event("beat", &json!({})));
    Ok(([UNBUFFERED], Sse::new(events).keep_alive(beat)))
}

struct Reader {
    state: GatewayState,
    me: Person,
    updates: Receiver<Update>,
    /// The last snapshot, while nothing was sent after it: then a look that finds the same tells nothing.
    told: Value,
    look: Instant,
}

impl Reader {
    /// What to send next, perhaps nothing yet; `None` ends the stream.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let update = tokio::select! {
            update = self.updates.recv() => update,
            () = tokio::time::sleep_until(self.look) => Err(RecvError::Lagged(0)),
        };
        let told = match update {
            Ok(Update::Job { id, requested_by }) if requested_by == self.me.id => self.job(id).await,
            Ok(Update::Job { .. }) => Ok(Vec::new()),
            Ok(Update::Missed) | Err(RecvError::Lagged(_)) => self.everything().await,
            Ok(Update::Stopping) | Err(RecvError::Closed) => return None,
        };
        // Without the database the stream ends: the page sees it and comes again.
        told.map_err(|error| tracing::debug!(%error, "a stream ends")).ok()
    }

    async fn job(&mut self, id: JobId) -> Result<Vec<Event>, DbError> {
        let Some(job) = self.state.store.job(id).await? else { return Ok(Vec::new()) };
        let mut events = vec![event("job", &wire::job_json(&job))];
        // The reader knows more than the last snapshot now: the next look must not be held against that.
        self.told = Value::Null;
        if job.state.is_terminal()
            && let Some(notice) = self.state.store.notice_of(self.me.id, id).await?
            // An event may come again long after its notice was read.
            && notice.dismissed_at.is_none()
        {
            events.push(event("notice", &notice_json(&notice)));
        }
        Ok(events)
    }

    async fn everything(&mut self) -> Result<Vec<Event>, DbError> {
        self.look = Instant::now() + LOOK;
        let now = snapshot(&self.state, &self.me).await?;
        if now == self.told {
            return Ok(Vec::new());
        }
        self.told = now;
        Ok(vec![event("snapshot", &self.told)])
    }
}

async fn snapshot(state: &GatewayState, me: &Person) -> Result<Value, DbError> {
    let jobs = state.store.unfinished_jobs(me.id, SNAPSHOT).await?;
    let (notices, _) = state.store.notices(me.id, false, None, SNAPSHOT).await?;
    Ok(json!({
        "me": me_json(state, me),
        "jobs": jobs.iter().map(wire::job_json).collect::<Vec<_>>(),
        "notices": notices.iter().map(notice_json).collect::<Vec<_>>(),
    }))
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}
