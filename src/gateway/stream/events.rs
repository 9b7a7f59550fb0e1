//! `/events`: the stream of a person, which tells of jobs and notices as they change.
//!
//! An update only wakes a stream, and what is sent is read from the store. A stream begins with everything and sends
//! everything again when it may have missed something. A client therefore keeps the last state of each job and needs
//! nothing else. One teller reads the store for all streams of a person (see `teller`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::unfold;
use tokio::sync::broadcast::error::RecvError;

use crate::contract::answer::Beat;
use crate::gateway::auth::Me;
use crate::gateway::problem::Problem;
use crate::gateway::serving::Caller;
use crate::gateway::state::GatewayState;
use crate::gateway::stream::teller::{Teller, log_end, snapshot, text};
use crate::gateway::updates::hearing::Subscription;
use crate::gateway::updates::hub::Told;
use crate::shutdown::Stop;
use crate::store::Person;

/// After so long a silence a stream sends the event `beat`. The time is shorter than proxies wait before they close a
/// silent connection. It is an event rather than a comment, so that the page sees that its stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// nginx collects an answer before it passes it on, unless this header tells it not to.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// Nobody on the way may change the stream: a proxy that compresses would collect it first.
const AS_IT_IS: (HeaderName, &str) = (CACHE_CONTROL, "no-store, no-transform");

/// `GET /events`: a stream of server-sent events that begins with `snapshot` and ends when the person may not sign in
/// any more, when the database is away, or when the gateway stops.
pub(in crate::gateway) async fn stream(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
    Me(me): Me,
) -> Result<impl IntoResponse, Problem> {
    let most = state.streams_per_person;
    // The stream subscribes before it reads the snapshot, so that no update falls between the two.
    let subscription = state.updates.subscribe(me.id, most).await;
    let subscription = subscription.ok_or_else(|| Problem::too_many_streams(most))?;
    let snapshot = snapshot(&state, &me).await?;
    let first = Waiting { events: Arc::new([("snapshot", snapshot.clone())]), told: 0 };
    if let Some(hub) = subscription.first.clone() {
        tokio::spawn(Teller::new(state.clone(), me.clone(), hub, snapshot).run());
    }
    let reader = Reader { state, me, subscription, stop: caller.stop };
    let events = unfold((reader, first), |(mut reader, mut waiting)| async move {
        loop {
            if reader.stop.is_set() {
                return None;
            }
            if let Some((name, data)) = waiting.next() {
                return Some((
                    Ok::<_, Infallible>(Event::default().event(name).data(data)),
                    (reader, waiting),
                ));
            }
            waiting = reader.next().await?;
        }
    });
    let beat = KeepAlive::new()
        .interval(HEARTBEAT)
        .event(Event::default().event("beat").data(text(&Beat::default())));
    Ok(([UNBUFFERED, AS_IT_IS], Sse::new(events).keep_alive(beat)))
}

/// Events that this stream is to send, and how many of them it has sent.
struct Waiting {
    events: Arc<[(&'static str, String)]>,
    told: usize,
}

impl Waiting {
    fn next(&mut self) -> Option<(&'static str, String)> {
        let next = self.events.get(self.told).cloned();
        self.told += 1;
        next
    }
}

/// One stream, which passes on what the person's teller tells.
struct Reader {
    state: GatewayState,
    me: Person,
    subscription: Subscription,
    stop: Stop,
}

impl Reader {
    /// The events to send next. `None` ends the stream.
    async fn next(&mut self) -> Option<Waiting> {
        let news = tokio::select! {
            biased;
            () = self.stop.wait() => return None,
            news = self.subscription.news.recv() => news,
        };
        let events = match news {
            Ok(Told::Events(events)) => events,
            // The client took too long to read, and some events are gone. It begins again with a snapshot.
            Err(RecvError::Lagged(_)) => {
                let snapshot = snapshot(&self.state, &self.me).await.inspect_err(log_end).ok()?;
                Arc::new([("snapshot", snapshot)])
            }
            Ok(Told::End) | Err(RecvError::Closed) => return None,
        };
        Some(Waiting { events, told: 0 })
    }
}
