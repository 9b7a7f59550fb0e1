//! Reads the settings from all their layers and checks what the sections say together.

use std::path::Path;

use crate::config::error::ConfigError;
use crate::config::management::WITHOUT_TLS;
use crate::config::settings::Settings;
use crate::config::{environment, layers};
use crate::files;
use crate::files::Links;

impl Settings {
    /// Reads defaults, file and the process's environment.
    ///
    /// # Errors
    /// Which key is wrong, or which file cannot be read. The text never says what is in a file, because a password
    /// may be anywhere.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(file, environment::settings(std::env::vars_os())?)
    }

    /// Does the same with the given environment.
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

    /// Reads the URLs from files, if such are named: container platforms mount a file for what holds a password.
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

    /// Refuses what needs TLS in a build without it: lapin would speak to an amqps:// server in the clear, with the
    /// password.
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
}
