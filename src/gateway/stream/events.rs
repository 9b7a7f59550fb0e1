//! The stream of a person: running jobs, ended jobs, notices, as they happen.
//!
//! An update is a wake-up; what is sent is read from the store. A stream begins with everything and
//! sends everything again when it may have missed something, so whoever reads it keeps the last
//! state of each job and nothing else. One teller reads for all streams of a person.

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
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::contract::JobBody;
use crate::db::DbError;
use crate::domain::JobId;
use crate::gateway::GatewayState;
use crate::gateway::api::me::me_json;
use crate::gateway::api::notices::notice_json;
use crate::gateway::auth::Me;
use crate::gateway::problem::Problem;
use crate::gateway::serving::Caller;
use crate::gateway::stream::hearing::Subscription;
use crate::gateway::stream::hub::{Hub, Told, Wanted};
use crate::shutdown::Stop;
use crate::store::{Person, SignIn};

/// Polling is the truth: so often a teller looks for itself whether it missed something.
const LOOK: Duration = Duration::from_secs(10);

/// After so long a silence comes a `beat`: shorter than the patience of proxies, and an event rather than
/// a comment, so that a page sees that its stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// nginx collects what it passes on, unless told not to.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// Running jobs and notices in one snapshot; who has more reads the listings.
const SNAPSHOT: i64 = 100;

/// So often it is looked whether the person may still sign in.
const RECHECK: Duration = LOOK;

/// Nobody on the way may change the stream: what compresses it collects it first.
const AS_IT_IS: (HeaderName, &str) = (CACHE_CONTROL, "no-store, no-transform");

pub(in crate::gateway) async fn stream(
    State(state): State<GatewayState>,
    Extension(caller): Extension<Caller>,
    Me(me): Me,
) -> Result<impl IntoResponse, Problem> {
    let most = state.streams_per_person;
    // Registered before the query, so that nothing falls between them.
    let subscription = state.updates.subscribe(me.id, most).await;
    let subscription = subscription.ok_or_else(|| Problem::too_many_streams(most))?;
    let snapshot = snapshot(&state, &me).await?;
    let first = Waiting { events: Arc::new([("snapshot", snapshot.to_string())]), told: 0 };
    if let Some(hub) = subscription.first.clone() {
        let teller =
            Teller { state: state.clone(), me: me.clone(), hub, told: snapshot, rights: Instant::now() };
        tokio::spawn(teller.run());
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
    let beat = KeepAlive::new().interval(HEARTBEAT).event(Event::default().event("beat").data("{}"));
    Ok(([UNBUFFERED, AS_IT_IS], Sse::new(events).keep_alive(beat)))
}

/// Events that were told, and how many of them are sent.
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

/// One stream: it passes on what the person's teller tells.
struct Reader {
    state: GatewayState,
    me: Person,
    subscription: Subscription,
    stop: Stop,
}

impl Reader {
    /// What to send next; `None` ends the stream.
    async fn next(&mut self) -> Option<Waiting> {
        let news = tokio::select! {
            biased;
            () = self.stop.wait() => return None,
            news = self.subscription.news.recv() => news,
        };
        let events = match news {
            Ok(Told::Events(events)) => events,
            // It was too slow to hear everything, and begins again.
            Err(RecvError::Lagged(_)) => {
                let snapshot = snapshot(&self.state, &self.me).await.map_err(tell).ok()?;
                Arc::new([("snapshot", snapshot.to_string())])
            }
            Ok(Told::End) | Err(RecvError::Closed) => return None,
        };
        Some(Waiting { events, told: 0 })
    }
}

/// Without the database a stream ends: the page sees it and comes again.
fn tell(error: DbError) {
    tracing::debug!(%error, "streams end");
}

/// Reads for all streams of a person, while there are any.
struct Teller {
    state: GatewayState,
    me: Person,
    hub: Arc<Hub>,
    /// The last snapshot, while nothing was told after it: then a look that finds the same tells nothing.
    told: Value,
    /// When it was last made sure that the person may sign in.
    rights: Instant,
}

type Events = Vec<(&'static str, String)>;

impl Teller {
    async fn run(mut self) {
        let mut look = Instant::now() + LOOK;
        loop {
            tokio::select! {
                () = self.hub.woken() => {}
                () = tokio::time::sleep_until(look) => self.hub.want_everything(),
            }
            if self.hub.is_over() {
                return;
            }
            let wanted = self.hub.take();
            if wanted.everything {
                look = Instant::now() + LOOK;
            }
            match self.read(wanted).await {
                Ok(Some(events)) if events.is_empty() => {}
                Ok(Some(events)) => self.hub.tell(Told::Events(events.into())),
                Ok(None) => {
                    tracing::info!(
                        person = self.me.id.get(),
                        "streams end: the person cannot sign in any more"
                    );
                    self.hub.tell(Told::End);
                }
                Err(error) => {
                    tell(error);
                    self.hub.tell(Told::End);
                }
            }
        }
    }

    /// Events for what is wanted; `None` where the person may hear nothing any more.
    async fn read(&mut self, wanted: Wanted) -> Result<Option<Events>, DbError> {
        if self.rights.elapsed() >= RECHECK {
            match self.state.store.sign_in(self.me.username.clone()).await? {
                SignIn::Person(person) if person.id == self.me.id => self.me = person,
                _ => return Ok(None),
            }
            self.rights = Instant::now();
        }
        let mut events = Vec::new();
        if wanted.everything {
            let now = snapshot(&self.state, &self.me).await?;
            if now != self.told {
                events.push(("snapshot", now.to_string()));
                self.told = now;
            }
        }
        for job in wanted.jobs {
            self.job(job, &mut events).await?;
        }
        Ok(Some(events))
    }

    async fn job(&mut self, id: JobId, events: &mut Events) -> Result<(), DbError> {
        let Some(job) = self.state.store.job(id).await? else { return Ok(()) };
        events.push(("job", json!(JobBody::of(&job)).to_string()));
        // The streams know more than the last snapshot now: the next look must not be held against that.
        self.told = Value::Null;
        if job.state.is_terminal()
            && let Some(notice) = self.state.store.notice_of(self.me.id, id).await?
            // An event may come again long after its notice was read.
            && notice.dismissed_at.is_none()
        {
            events.push(("notice", notice_json(&notice).to_string()));
        }
        Ok(())
    }
}

async fn snapshot(state: &GatewayState, me: &Person) -> Result<Value, DbError> {
    let jobs = state.store.unfinished_jobs(me.id, SNAPSHOT).await?;
    let (notices, _) = state.store.notices(me.id, false, None, SNAPSHOT).await?;
    Ok(json!({
        "me": me_json(state, me),
        "jobs": jobs.iter().map(JobBody::of).collect::<Vec<_>>(),
        "notices": notices.iter().map(notice_json).collect::<Vec<_>>(),
    }))
}
