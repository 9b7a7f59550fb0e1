//! TLS to a server that is asked for a code ([`crate::db::refusal`]), as libpq would do it: what libpq checks is
//! checked, and if that is not certain, nothing is sent.

use std::path::{Path, PathBuf};

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::config::SslMode;

/// The authorities to trust.
enum Trust {
    Anybody,
    TheSystem,
    File(PathBuf),
}

/// The mode and the connector for a URL; `None` if libpq would do something else: use a client's certificate, a list
/// of revoked ones, or settings in the environment.
pub(super) fn as_libpq(url: &str) -> Option<(SslMode, MakeTlsConnector)> {
    if std::env::vars_os().any(|(name, _)| name.as_encoded_bytes().starts_with(b"PGSSL")) {
        return None;
    }
    let home = std::env::home_dir()?.join(".postgresql");
    let (mode, trust) = wanted(url, &home)?;
    let is_named = url.contains("sslmode=verify-full") || matches!(trust, Trust::TheSystem);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).ok()?;
    match trust {
        Trust::Anybody => builder.set_verify(SslVerifyMode::NONE),
        Trust::TheSystem => {}
        Trust::File(file) => {
            // Only the authorities of this file are trusted, and not the system's.
            builder.set_cert_store(X509StoreBuilder::new().ok()?.build());
            builder.set_ca_file(file).ok()?;
        }
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    if !is_named {
        connector.set_callback(|connection, _| {
            connection.set_verify_hostname(false);
            Ok(())
        });
    }
    Some((mode, connector))
}

fn wanted(url: &str, home: &Path) -> Option<(SslMode, Trust)> {
    let (mut mode, mut root) = ("prefer", None);
    let query = url.split_once('?').map_or("", |(_, query)| query);
    for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
        match name {
            "sslmode" => mode = value,
            // A path with encoded characters would have to be read as libpq reads it.
            "sslrootcert" if !value.contains('%') => root = Some(value),
            _ if name.starts_with("ssl") || name == "requiressl" => return None,
            _ => {}
        }
    }
    if ["postgresql.crt", "root.crl"].iter().any(|name| home.join(name).exists()) {
        return None;
    }
    let trust = match root {
        Some("system") => Trust::TheSystem,
        Some(file) => Trust::File(file.into()),
        None => Some(home.join("root.crt")).filter(|file| file.exists()).map_or(Trust::Anybody, Trust::File),
    };
    // If a file that is named is not there, that is an error if it must be there, and otherwise nothing.
    let trust = match trust {
        Trust::File(file) if !file.exists() => Trust::Anybody,
        trust => trust,
    };
    match (mode, &trust) {
        ("disable", _) => Some((SslMode::Disable, trust)),
        ("prefer", _) => Some((SslMode::Prefer, trust)),
        ("require", _) => Some((SslMode::Require, trust)),
        ("verify-ca" | "verify-full", Trust::File(_) | Trust::TheSystem) => Some((SslMode::Require, trust)),
        // "allow" tries without TLS first.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_where_libpq_would_check_more() {
        let home = tempfile::tempdir().expect("a folder");
        let file = home.path().join("root.pem");
        std::fs::write(&file, "").expect("a file");
        let file = file.to_str().expect("a path");
        let of = |query: &str| wanted(&format!("postgres://me@db/vault?{query}"), home.path());
        for (query, wanted) in [
            ("", SslMode::Prefer),
            ("sslmode=disable", SslMode::Disable),
            ("sslmode=require", SslMode::Require),
            (&format!("sslmode=verify-full&sslrootcert={file}"), SslMode::Require),
            ("sslmode=verify-full&sslrootcert=system", SslMode::Require),
        ] {
            assert!(of(query).is_some_and(|(mode, _)| mode == wanted), "{query}");
        }
        for query in [
            "sslmode=allow",
            "sslmode=verify-ca",
            "sslmode=verify-full&sslrootcert=/nowhere/root.pem",
            "sslmode=verify-full&sslrootcert=%2Fnowhere",
            "sslcert=mine.crt",
            "sslcrl=x",
            "sslnegotiation=direct",
        ] {
            assert!(of(query).is_none(), "{query}");
        }
        assert!(matches!(of(""), Some((_, Trust::Anybody))));
        std::fs::write(home.path().join("root.crt"), "").expect("a file");
        assert!(matches!(of(""), Some((_, Trust::File(_)))));
        std::fs::write(home.path().join("postgresql.crt"), "").expect("a file");
        assert!(of("").is_none());
    }
}
