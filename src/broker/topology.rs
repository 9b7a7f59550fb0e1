//! Every name at the broker, in one place: exchanges, queues, routing keys, headers.

/// An exchange. The number is what the embedded broker keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// Direct: requests, from any UI.
    Jobs,
    /// Direct: steps and dead letters, ours alone.
    Internal,
    /// Topic: events, for everybody.
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

/// A shared queue: quorum on RabbitMQ.
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

    /// Redeliveries after which the broker gives up. Explicit and positive on every queue: 3.10 has
    /// no default, 4.x has 20, and -1 means zero on 3.10.
    #[must_use]
    pub fn delivery_limit(self) -> i32 {
        match self {
            Self::Jobs | Self::Steps => 100,
            Self::Notices | Self::Dead => 1_000_000_000,
        }
    }

    /// Whether the broker sends what it gives up on to the dead letters.
    #[must_use]
    pub fn dead_letters(self) -> bool {
        self != Self::Dead
    }

    /// What the queue is bound to.
    #[must_use]
    pub fn bindings(self) -> &'static [(Exchange, &'static str)] {
        match self {
            Self::Jobs => &[(Exchange::Jobs, KEY_REQUESTED)],
            Self::Steps => &[(Exchange::Internal, KEY_STEP)],
            Self::Dead => &[(Exchange::Internal, KEY_DEAD), (Exchange::Internal, KEY_DEAD_OWN)],
            Self::Notices => &[
                (Exchange::Events, KEY_COMPLETED),
                (Exchange::Events, KEY_FAILED),
                (Exchange::Events, KEY_CANCELLED),
            ],
        }
    }
}

pub const KEY_REQUESTED: &str = "job.requested";
pub const KEY_STEP: &str = "job.step";
/// What the broker gives up. Whoever may publish to the jobs can have a message come with this key (it expires
/// there), with any header: of such a message only what the broker wrote itself is believed.
pub const KEY_DEAD: &str = "dead";
/// What we send to the dead letters ourselves. It takes the right to write on the internal exchange, and the
/// broker's own dead letters never have it: their key is an argument of our queues.
pub const KEY_DEAD_OWN: &str = "dead.own";
pub const KEY_ACCEPTED: &str = "job.accepted";
pub const KEY_PROGRESS: &str = "job.progress";
pub const KEY_COMPLETED: &str = "job.completed";
pub const KEY_FAILED: &str = "job.failed";
pub const KEY_CANCELLED: &str = "job.cancelled";
/// Every event of every job.
pub const KEY_ALL_EVENTS: &str = "job.#";

/// Headers of a dead letter that we publish ourselves, believed only with [`KEY_DEAD_OWN`].
pub const HEADER_DEAD_ID: &str = "x-batchshare-dead-id";
pub const HEADER_DEAD_REASON: &str = "x-batchshare-dead-reason";
pub const HEADER_DEAD_DETAIL: &str = "x-batchshare-dead-detail";
/// The suffix of the queue that it came from.
pub const HEADER_DEAD_QUEUE: &str = "x-batchshare-dead-queue";
/// Who had published it, as the broker said.
pub const HEADER_DEAD_USER: &str = "x-batchshare-dead-user";
/// The headers that its sender had set: an object of texts. In one header, so that none passes for ours.
pub const HEADER_DEAD_HEADERS: &str = "x-batchshare-dead-headers";
/// How often a request was put aside before (see `worker/aside`).
pub const HEADER_ASIDES: &str = "x-batchshare-asides";
/// The W3C trace header of every message.
pub const HEADER_TRACEPARENT: &str = "traceparent";

/// A message that is sent to become a dead letter, to see that it does (see worker/checks.rs): how its id begins,
/// and its whole body.
pub const CHECK_ID: &str = "check/";
pub const CHECK_BODY: &[u8] = b"batchshare check";

/// What every message of ours is.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The names under one prefix.
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

    /// A listener's own queue on the events, gone with its connection.
    #[must_use]
    pub fn listener(&self, unique: &str) -> String {
        format!("{}.listener.{unique}", self.prefix)
    }
}
