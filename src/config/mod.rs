//! Configuration: default.toml (built in), a file, the environment, in this order.

mod check;
mod environment;
mod layers;
mod management;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::db::{DbOptions, Target};
use crate::domain::Limits;
use crate::files;
use crate::files::Links;

const DEFAULTS: &str = include_str!("../../config/default.toml");

const WITHOUT_TLS: &str =
    "this program is built without TLS (build it with `cargo build --release --features tls`)";

/// A configuration that cannot be used. `Display` is one line that says what to change.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(pub String);

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
    /// Reads defaults, file and the process's environment.
    ///
    /// # Errors
    /// Which key is wrong, or which file cannot be read. Never what is in it: a password may stand anywhere.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(file, environment::settings(std::env::vars_os())?)
    }

    /// As [`Settings::load`] with a given environment.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_with(
        file: Option<&Path>,
        environment: std::collections::HashMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let mut settings = layers::read(file, &environment)?;
        settings.read_url_files()?;
        settings.check()?;
        Ok(settings)
    }

    /// Takes the URLs from files where such are named, as container platforms mount what holds a password.
    fn read_url_files(&mut self) -> Result<(), ConfigError> {
        let (database, broker) = (&mut self.database, &mut self.broker);
        for (section, key, url, file) in [
            ("database", "url", &mut database.url, &database.url_file),
            ("broker", "url", &mut broker.url, &broker.url_file),
            ("broker", "management_url", &mut broker.management_url, &broker.management_url_file),
        ] {
            if file.is_empty() {
                continue;
            }
            if *url != layers::default_text(section, key)? {
                return Err(ConfigError(format!(
                    "{section}.{key} and {section}.{key}_file are both set; only one of them can count"
                )));
            }
            let bytes = files::read_secret(Path::new(file), Links::Follow)
                .map_err(|error| ConfigError(format!("{section}.{key}_file: {error}")))?;
            let text = std::str::from_utf8(&bytes)
                .map_err(|_| ConfigError(format!("{section}.{key}_file {file} is not UTF-8")))?;
            let text = text.strip_suffix('\n').unwrap_or(text);
            text.strip_suffix('\r').unwrap_or(text).clone_into(url);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bad = |text: &str| Err(ConfigError(text.to_owned()));
        let target = self.target()?;
        if self.is_embedded() && !target.is_sqlite() {
            return bad(
                "broker.url is embedded:, which needs a sqlite:// database; set broker.url to amqp://…",
            );
        }
        let schemes = ["amqp://", "amqps://"];
        if !self.is_embedded() && !schemes.iter().any(|scheme| self.broker.url.starts_with(scheme)) {
            return bad("broker.url must be embedded: or start with amqp:// (amqps:// in a build with TLS)");
        }
        self.management_url()?;
        self.check_tls()?;
        if self.broker.prefix.is_empty()
            || !self.broker.prefix.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            return bad("broker.prefix must be letters, digits, '-', '_' and '.'");
        }
        if self.worker.retry_delays_ms.is_empty() {
            return bad("worker.retry_delays_ms must name one delay or more");
        }
        Ok(())
    }

    /// Without TLS in the build, lapin would speak to an amqps:// server in the clear, password and all.
    fn check_tls(&self) -> Result<(), ConfigError> {
        let bad = |text: String| Err(ConfigError(text));
        let has_tls = cfg!(feature = "tls");
        let without = WITHOUT_TLS;
        let is_amqps = self.broker.url.starts_with("amqps://");
        if is_amqps && !has_tls {
            return bad(format!("broker.url is amqps://, and {without}"));
        }
        let (_, query) = self.database.url.split_once('?').unwrap_or_default();
        let wants_tls = |pair: &str| match pair.split_once('=') {
            Some(("sslmode", mode)) => mode == "require" || mode.starts_with("verify-"),
            Some(("ssl", value)) => value == "true",
            _ => false,
        };
        if !has_tls && self.database.url.starts_with("postgres") && query.split('&').any(wants_tls) {
            return bad(format!("database.url asks for TLS (sslmode), and {without}"));
        }
        if self.broker.ca_file.is_empty() {
            return Ok(());
        }
        if !is_amqps && self.management_url()?.is_none_or(|url| url.scheme() != "https") {
            return bad("broker.ca_file is for an amqps:// broker.url or an https:// broker.management_url"
                .to_owned());
        }
        match std::fs::read_to_string(&self.broker.ca_file) {
            Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => Ok(()),
            Ok(_) => bad(format!("broker.ca_file {} holds no certificate (PEM)", self.broker.ca_file)),
            Err(error) => bad(format!("cannot read broker.ca_file {}: {error}", self.broker.ca_file)),
        }
    }

    /// The authorities of the broker's own, where a file is set.
    #[must_use]
    pub fn broker_ca_file(&self) -> Option<PathBuf> {
        (!self.broker.ca_file.is_empty()).then(|| PathBuf::from(&self.broker.ca_file))
    }

    /// The database's place.
    ///
    /// # Errors
    /// Where `database.url` is neither SQLite's nor PostgreSQL's.
    pub fn target(&self) -> Result<Target, ConfigError> {
        Target::parse(&self.database.url).map_err(ConfigError)
    }

    /// Whether the broker is the embedded one.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.broker.url == "embedded:"
    }

    /// Lanes of a large job. SQLite has one writer: a second lane would only write between the first one's
    /// rows, where an index grows slower than at its end.
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
            // A year is for ever, and no clock overflows with it.
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

    /// The vault's key file, where one is set.
    #[must_use]
    pub fn vault_key_file(&self) -> Option<PathBuf> {
        (!self.vault.key_file.is_empty()).then(|| PathBuf::from(&self.vault.key_file))
    }
}

#[cfg(test)]
mod tests;
