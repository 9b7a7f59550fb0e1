//! The teller of a person: it reads the store for all streams of that person, while there are any.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::contract::{JobBody, answer};
use crate::db::DbError;
use crate::domain::JobId;
use crate::gateway::answers;
use crate::gateway::state::GatewayState;
use crate::gateway::updates::hub::{Hub, Told, Wanted};
use crate::store::{Person, SignIn};

/// How often a teller reads everything without being woken. An update can get lost, and what the store says is the
/// truth.
const LOOK: Duration = Duration::from_secs(10);

/// How often a teller asks whether the person may still sign in.
const RECHECK: Duration = LOOK;

/// The most jobs, and the most notices, in a snapshot. A client that wants more reads the listings.
const SNAPSHOT: i64 = 100;

/// Events by name, with their data as text.
type Events = Vec<(&'static str, String)>;

/// Reads for all streams of a person.
pub(super) struct Teller {
    state: GatewayState,
    me: Person,
    hub: Arc<Hub>,
    /// The snapshot that the streams have, as text; `None` once they were told of something else. A snapshot that has
    /// not changed is not sent again.
    told: Option<String>,
    /// When the person was last found to be able to sign in.
    rights: Instant,
}

impl Teller {
    /// The teller of a person who has just signed in, and whose first stream begins with this snapshot.
    pub(super) fn new(state: GatewayState, me: Person, hub: Arc<Hub>, snapshot: String) -> Self {
        Self { state, me, hub, told: Some(snapshot), rights: Instant::now() }
    }

    /// Tells until the last stream has ended.
    pub(super) async fn run(mut self) {
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
                    log_end(&error);
                    self.hub.tell(Told::End);
                }
            }
        }
    }

    /// The events for what is wanted; `None` where the person may not be told anything any more.
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
            if self.told.as_ref() != Some(&now) {
                events.push(("snapshot", now.clone()));
                self.told = Some(now);
            }
        }
        for job in wanted.jobs {
            self.job(job, &mut events).await?;
        }
        Ok(Some(events))
    }

    async fn job(&mut self, id: JobId, events: &mut Events) -> Result<(), DbError> {
        let Some(job) = self.state.store.job(id).await? else { return Ok(()) };
        events.push(("job", text(&JobBody::of(&job))));
        // From now on the streams know more than the last snapshot says. The next snapshot is sent even if it is the
        // same one.
        self.told = None;
        if job.state.is_terminal()
            && let Some(notice) = self.state.store.notice_of(self.me.id, id).await?
            // The broker may deliver an event again, long after the person has dismissed its notice.
            && notice.dismissed_at.is_none()
        {
            events.push(("notice", text(&answers::notice(notice))));
        }
        Ok(())
    }
}

/// The snapshot of a person, as text.
///
/// # Errors
/// Where the database cannot be read.
pub(super) async fn snapshot(state: &GatewayState, me: &Person) -> Result<String, DbError> {
    let jobs = state.store.unfinished_jobs(me.id, SNAPSHOT).await?;
    let (notices, _) = state.store.notices(me.id, false, None, SNAPSHOT).await?;
    Ok(text(&answer::Snapshot {
        jobs: jobs.iter().map(JobBody::of).collect(),
        me: answers::me(me, state.sign_ins.mode_name()),
        notices: notices.into_iter().map(answers::notice).collect(),
    }))
}

/// The data of an event. An answer holds texts and numbers, which cannot fail to be written.
pub(super) fn text(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).unwrap_or_default()
}

/// Logs why streams end. The page sees that its stream has ended, and opens another.
pub(super) fn log_end(error: &DbError) {
    tracing::debug!(%error, "streams end");
}
