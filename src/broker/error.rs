//! What can go wrong at the broker.

use std::time::Duration;

/// What can go wrong at the broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// No connection, no answer in time, or a blocked connection: try again later.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// Wrong password, unknown vhost, no permission: a person has to act.
    #[error("the broker refuses: {0}")]
    Refused(String),
    /// A queue or exchange is there with other arguments.
    #[error("the broker's topology contradicts: {0}")]
    Topology(String),
    /// A mandatory message had nowhere to go.
    #[error("no queue takes a message for {exchange} with key {routing_key}")]
    Unroutable { exchange: String, routing_key: String },
    /// The broker closed the channel over the message: it is larger than it may be there.
    #[error("the broker rejects the message: {0}")]
    Rejected(String),
    /// The broker did not take the message (a negative confirm).
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

/// Waits for a broker's answer, but not for ever.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    answer: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_| Err(BrokerError::Unavailable(format!("no answer to {what} within {limit:?}"))))
}
