//! What can go wrong at the broker.

use std::time::Duration;

/// What can go wrong at the broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// There is no connection, no answer came in time, or the connection is blocked. The caller tries again later.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// The password is wrong, the virtual host is unknown, or a permission is missing. A person has to act.
    #[error("the broker refuses: {0}")]
    Refused(String),
    /// A queue or an exchange is there with other arguments than ours.
    #[error("the broker's topology contradicts: {0}")]
    Topology(String),
    /// No queue takes a mandatory message.
    #[error("no queue takes a message for {exchange} with key {routing_key}")]
    Unroutable { exchange: String, routing_key: String },
    /// The broker closed the channel because of the message: it is larger than the broker allows.
    #[error("the broker rejects the message: {0}")]
    Rejected(String),
    /// The broker did not take the message: it sent a negative confirm.
    #[error("the broker did not take the message")]
    NotTaken,
}

impl BrokerError {
    /// What kind of error it is, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::Topology(_) => "topology",
            Self::Unroutable { .. } => "unroutable",
            Self::Rejected(_) => "rejected",
            Self::NotTaken => "not_taken",
        }
    }
}

/// Waits for an answer of the broker, and no longer than `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    answer: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_| Err(BrokerError::Unavailable(format!("no answer to {what} within {limit:?}"))))
}
