//! Every name at the broker, in one place: exchanges, queues, routing keys, headers.

use crate::domain::{EventKind, JobKind};

/// An exchange. The embedded broker stores its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// A direct exchange for requests. Any UI publishes here.
    Jobs,
    /// A direct exchange for steps and dead letters. Only batchshare publishes here.
    Internal,
    /// A topic exchange for events. Everybody may listen.
    Events,
}

impl Exchange {
    pub const ALL: [Self; 3] = [Self::Jobs, Self::Internal, Self::Events];

    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::Jobs => 1,
            Self::Internal => 2,
            Self::Events => 3,
        }
    }

    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|exchange| exchange.code() == code)
    }

    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Internal => "internal",
            Self::Events => "events",
        }
    }
}

/// A queue that several consumers share. On RabbitMQ it is a quorum queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queue {
    Jobs,
    Steps,
    Notices,
    Dead,
}

impl Queue {
    pub const ALL: [Self; 4] = [Self::Jobs, Self::Steps, Self::Notices, Self::Dead];

    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Steps => "steps",
            Self::Notices => "notices",
            Self::Dead => "dead",
        }
    }

    /// After so many redeliveries the broker gives a message up. The limit is explicit and positive on every queue,
    /// because the default differs: 3.10 has none, 4.x has 20, and -1 means zero on 3.10.
    #[must_use]
    pub fn delivery_limit(self) -> i32 {
        match self {
            Self::Jobs | Self::Steps => 100,
            Self::Notices | Self::Dead => 1_000_000_000,
        }
    }

    /// Whether the broker moves the messages that it gives up to the dead letters.
    #[must_use]
    pub fn dead_letters(self) -> bool {
        self != Self::Dead
    }

    /// The exchanges and routing keys whose messages the queue takes.
    #[must_use]
    pub fn bindings(self) -> &'static [(Exchange, &'static str)] {
        match self {
            Self::Jobs => &[(Exchange::Jobs, KEY_REQUESTED)],
            Self::Steps => &[(Exchange::Internal, KEY_STEP)],
            Self::Dead => &[(Exchange::Internal, KEY_DEAD), (Exchange::Internal, KEY_DEAD_OWN)],
            Self::Notices => &[
                (Exchange::Events, "job.completed"),
                (Exchange::Events, "job.failed"),
                (Exchange::Events, "job.cancelled"),
                (Exchange::Events, "undo.completed"),
                (Exchange::Events, "undo.failed"),
                (Exchange::Events, "undo.cancelled"),
                (Exchange::Events, "unshare.completed"),
                (Exchange::Events, "unshare.failed"),
                (Exchange::Events, "unshare.cancelled"),
            ],
        }
    }
}

pub const KEY_REQUESTED: &str = "job.requested";
pub const KEY_STEP: &str = "job.step";
/// The key of the messages that the broker gives up. Whoever may publish to the jobs can have a message come with
/// this key, by letting it expire there, and with any header: of such a message only what the broker wrote itself is
/// believed.
pub const KEY_DEAD: &str = "dead";
/// The key of the dead letters that we publish ourselves. Publishing with it takes the right to write on the internal
/// exchange, and the broker's own dead letters never have it, because their key is an argument of our queues.
pub const KEY_DEAD_OWN: &str = "dead.own";
/// The routing key of an event of such a job.
#[must_use]
pub fn event_key(of: JobKind, event: EventKind) -> &'static str {
    match (of, event) {
        (JobKind::Share, EventKind::Accepted) => "job.accepted",
        (JobKind::Share, EventKind::Progress) => "job.progress",
        (JobKind::Share, EventKind::Completed) => "job.completed",
        (JobKind::Share, EventKind::Failed) => "job.failed",
        (JobKind::Share, EventKind::Cancelled) => "job.cancelled",
        (JobKind::Undo, EventKind::Accepted) => "undo.accepted",
        (JobKind::Undo, EventKind::Progress) => "undo.progress",
        (JobKind::Undo, EventKind::Completed) => "undo.completed",
        (JobKind::Undo, EventKind::Failed) => "undo.failed",
        (JobKind::Undo, EventKind::Cancelled) => "undo.cancelled",
        (JobKind::Unshare, EventKind::Accepted) => "unshare.accepted",
        (JobKind::Unshare, EventKind::Progress) => "unshare.progress",
        (JobKind::Unshare, EventKind::Completed) => "unshare.completed",
        (JobKind::Unshare, EventKind::Failed) => "unshare.failed",
        (JobKind::Unshare, EventKind::Cancelled) => "unshare.cancelled",
    }
}

/// The patterns that match every event of every job. A listener of somebody else that knows shares only binds the
/// first.
pub const KEYS_OF_ALL_EVENTS: [&str; 3] = ["job.#", "undo.#", "unshare.#"];

/// The headers of a dead letter that we publish ourselves. They are believed only together with [`KEY_DEAD_OWN`].
pub const HEADER_DEAD_ID: &str = "x-batchshare-dead-id";
pub const HEADER_DEAD_REASON: &str = "x-batchshare-dead-reason";
pub const HEADER_DEAD_DETAIL: &str = "x-batchshare-dead-detail";
/// The suffix of the queue that the message came from.
pub const HEADER_DEAD_QUEUE: &str = "x-batchshare-dead-queue";
/// The user who had published it, as the broker said.
pub const HEADER_DEAD_USER: &str = "x-batchshare-dead-user";
/// The headers that its sender had set, as one JSON object of texts. They are in one header, so that none of them
/// passes for ours.
pub const HEADER_DEAD_HEADERS: &str = "x-batchshare-dead-headers";
/// How often a request was put aside before (see `worker/aside.rs`).
pub const HEADER_ASIDES: &str = "x-batchshare-asides";
/// The W3C trace header of every message.
pub const HEADER_TRACEPARENT: &str = "traceparent";

/// A check is a message that is sent only to become a dead letter, so that we see whether it does (see
/// `worker/checks.rs`). This is how its id begins, and its whole body.
pub const CHECK_ID: &str = "check/";
pub const CHECK_BODY: &[u8] = b"batchshare check";

/// The content type of every message of ours.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The names of exchanges and queues under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    pub prefix: String,
}

impl Default for Topology {
    /// The names under the prefix `batchshare`. The embedded broker serves one installation and has no others.
    fn default() -> Self {
        Self { prefix: "batchshare".to_owned() }
    }
}

impl Topology {
    #[must_use]
    pub fn exchange(&self, exchange: Exchange) -> String {
        format!("{}.{}", self.prefix, exchange.suffix())
    }

    #[must_use]
    pub fn queue(&self, queue: Queue) -> String {
        format!("{}.{}", self.prefix, queue.suffix())
    }

    /// The name of a listener's own queue for events. The queue is gone with its connection.
    #[must_use]
    pub fn listener(&self, unique: &str) -> String {
        format!("{}.listener.{unique}", self.prefix)
    }
}
