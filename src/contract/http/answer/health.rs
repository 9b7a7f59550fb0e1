//! What supervisors are told.

use serde::Serialize;

/// The process runs and answers: `{"status":"ok"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Live {
    pub status: &'static str,
}

/// Whether the process can serve. Each state is `ok`, `degraded`, `starting` or `unavailable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    pub broker: &'static str,
    pub database: &'static str,
    /// This member is absent while every queue's dead letters arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<DeadLetters>,
    /// This member is absent while no policy of the broker takes messages out of a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Policies>,
    pub status: &'static str,
    /// What the start waits for. This member is absent once the start is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<&'static str>,
}

/// The queues whose dead letters do not arrive: a person has to look at the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetters {
    pub queues: Vec<String>,
    pub status: &'static str,
}

/// The queues out of which a policy of the broker takes messages: a person has to change the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policies {
    pub queues: Vec<String>,
    pub status: &'static str,
}
