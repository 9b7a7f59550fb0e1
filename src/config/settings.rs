//! Every setting by its section, and what the program reads out of them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::error::ConfigError;
use crate::db::{DbOptions, Target};
use crate::domain::Limits;

/// Everything that can be set. Each key is explained in config/default.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub database: Database,
    pub broker: Broker,
    pub gateway: Gateway,
    pub auth: Auth,
    pub vault: Vault,
    pub worker: Worker,
    pub relay: Relay,
    pub limits: LimitSettings,
    pub shutdown: Shutdown,
    pub log: Log,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: String,
    pub url_file: String,
    pub pool_size: usize,
    pub connect_timeout_s: u64,
    pub statement_timeout_ms: u64,
    pub read_timeout_ms: u64,
    pub lock_timeout_ms: u64,
    pub idle_in_transaction_timeout_ms: u64,
    pub tcp_user_timeout_ms: u64,
    pub call_timeout_ms: u64,
    pub max_lifetime_s: u64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    pub url: String,
    pub url_file: String,
    pub prefix: String,
    pub heartbeat_s: u16,
    pub connect_timeout_ms: u64,
    pub operation_timeout_ms: u64,
    pub prefetch: u16,
    pub ca_file: String,
    pub check_interval_ms: u64,
    pub management_url: String,
    pub management_url_file: String,
}

// The URLs hold passwords: Debug leaves them out.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("pool_size", &self.pool_size).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub listen: String,
    pub hosts: Vec<String>,
    pub max_body_bytes: usize,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    pub header_timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub write_timeout_ms: u64,
    pub streams_per_person: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub mode: AuthMode,
    pub proxy: AuthProxy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    Demo,
    Proxy,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthProxy {
    pub user_header: String,
    pub secret_header: String,
    pub secret_file: String,
    pub forwarded_for: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    pub key_file: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub listen: String,
    pub chunk_pairs: u64,
    pub lanes: u32,
    pub slice_ms: u64,
    pub together: usize,
    pub request_concurrency: usize,
    pub step_concurrency: usize,
    pub allowed_publishers: Vec<String>,
    pub due_interval_ms: u64,
    pub lane_lease_ms: u64,
    pub lane_lease_max_ms: u64,
    pub unbegun_patience_ms: u64,
    pub retry_delays_ms: Vec<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    pub lease_ms: u64,
    pub interval_ms: u64,
    pub batch: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    pub secrets: usize,
    pub recipients: usize,
    pub pairs: u64,
    pub message_bytes: usize,
    pub unfinished_jobs: i64,
    pub pairs_per_hour: u64,
    pub bytes_per_hour: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    pub deadline_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Settings {
    /// The file with authorities of the broker's own, if one is set.
    #[must_use]
    pub fn broker_ca_file(&self) -> Option<PathBuf> {
        (!self.broker.ca_file.is_empty()).then(|| PathBuf::from(&self.broker.ca_file))
    }

    /// The place of the database.
    ///
    /// # Errors
    /// `database.url` is not a URL of SQLite or PostgreSQL.
    pub fn target(&self) -> Result<Target, ConfigError> {
        Target::parse(&self.database.url).map_err(|error| ConfigError(error.to_string()))
    }

    /// Whether the broker is the embedded one.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.broker.url == "embedded:"
    }

    /// The number of lanes of a large job. It is 1 on SQLite, which has one writer: a second lane would only write
    /// between the rows of the first, where an index grows slower than at its end.
    #[must_use]
    pub fn lanes(&self) -> u32 {
        if self.database.url.starts_with("sqlite:") { 1 } else { self.worker.lanes }
    }

    #[must_use]
    pub fn db_options(&self) -> DbOptions {
        let d = &self.database;
        DbOptions {
            pool_size: d.pool_size,
            connect_timeout: Duration::from_secs(d.connect_timeout_s),
            statement_timeout: Duration::from_millis(d.statement_timeout_ms),
            read_timeout: Duration::from_millis(d.read_timeout_ms),
            lock_timeout: Duration::from_millis(d.lock_timeout_ms),
            idle_in_transaction_timeout: Duration::from_millis(d.idle_in_transaction_timeout_ms),
            tcp_user_timeout: Duration::from_millis(d.tcp_user_timeout_ms),
            call_timeout: Duration::from_millis(d.call_timeout_ms),
            // A year is as good as for ever, and no clock overflows with it.
            max_lifetime: Duration::from_secs(d.max_lifetime_s.min(365 * 24 * 3_600)),
        }
    }

    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            secrets: self.limits.secrets,
            recipients: self.limits.recipients,
            pairs: self.limits.pairs,
            message_bytes: self.limits.message_bytes,
        }
    }

    /// The vault's key file, if one is set.
    #[must_use]
    pub fn vault_key_file(&self) -> Option<PathBuf> {
        (!self.vault.key_file.is_empty()).then(|| PathBuf::from(&self.vault.key_file))
    }
}
