//! What is wrong with a configuration.

/// A configuration that cannot be used. `Display` is one line that says what to change.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(pub String);
