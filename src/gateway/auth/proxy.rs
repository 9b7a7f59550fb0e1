//! Sign-in by a proxy in front of this server: the proxy names the user in one header, and proves in another that it
//! is the proxy.

use std::net::IpAddr;
use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::config;
use crate::files;
use crate::files::Links;
use crate::gateway::auth::error::{AuthError, MIN_SECRET_CHARS};
use crate::gateway::auth::header::single;
use crate::gateway::problem::Problem;

/// The headers that the proxy sets, and the secret that proves it. The secret is never printed.
pub struct ProxyAuth {
    user_header: HeaderName,
    secret_header: HeaderName,
    secret: SecretString,
    /// Whether the operator says that the proxy sets `X-Forwarded-For`.
    forwarded_for: bool,
}

impl ProxyAuth {
    pub(super) fn from_settings(settings: &config::AuthProxy) -> Result<Self, AuthError> {
        let header = |key, name: &str| {
            name.parse::<HeaderName>().map_err(|source| AuthError::NotAHeader { key, source })
        };
        let user_header = header("user_header", &settings.user_header)?;
        let secret_header = header("secret_header", &settings.secret_header)?;
        if user_header == secret_header {
            return Err(AuthError::SameHeader);
        }
        if settings.secret_file.is_empty() {
            return Err(AuthError::NoSecretFile);
        }
        let secret = read_secret(Path::new(&settings.secret_file))?;
        Ok(Self { user_header, secret_header, secret, forwarded_for: settings.forwarded_for })
    }

    /// The address of the client, as the proxy has seen it; `None` where the proxy does not say it, or where the
    /// request does not prove that it comes from the proxy.
    pub(super) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        (self.forwarded_for && self.is_proven(headers)).then(|| last_forwarded(headers)).flatten()
    }

    fn is_proven(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(&self.secret_header).iter();
        match (given.next(), given.next()) {
            (Some(given), None) => given.as_bytes().ct_eq(self.secret.expose_secret().as_bytes()).into(),
            _ => false,
        }
    }

    /// The user whom the proxy names. The name counts only beside the secret.
    pub(super) fn username(&self, headers: &HeaderMap) -> Result<String, Problem> {
        if !self.is_proven(headers) {
            return Err(Problem::not_signed_in("the request does not come through the proxy"));
        }
        single(headers, &self.user_header)?
            .ok_or_else(|| Problem::not_signed_in("the proxy has named no user"))
    }
}

fn read_secret(path: &Path) -> Result<SecretString, AuthError> {
    let bytes = files::read_secret(path, Links::Follow).map_err(AuthError::SecretFile)?;
    let secret = std::str::from_utf8(&bytes)
        .map_err(|source| AuthError::NotUtf8 { path: path.to_owned(), source })?
        .trim();
    if secret.chars().count() < MIN_SECRET_CHARS {
        return Err(AuthError::TooShort(path.to_owned()));
    }
    if !secret.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Err(AuthError::NotPrintable(path.to_owned()));
    }
    Ok(SecretString::from(secret))
}

/// The last address in `X-Forwarded-For`, with or without a port. A caller can send such a header, and the proxy
/// appends to it: only the last address is the proxy's own word.
fn last_forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?.rsplit(',').next()?;
    let last = last.trim().trim_start_matches('[');
    let bare = last.split_once(']').map_or(last, |(address, _)| address);
    let without_port = bare.rsplit_once(':').filter(|(address, _)| !address.contains(':'));
    without_port.map_or(bare, |(address, _)| address).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuthProxy;

    #[test]
    fn a_proxy_needs_a_secret_that_is_long_enough() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let mut settings = AuthProxy {
            user_header: "X-Forwarded-User".to_owned(),
            secret_header: "X-Secret".to_owned(),
            secret_file: file.path().display().to_string(),
            forwarded_for: false,
        };
        let refused =
            |settings: &AuthProxy| ProxyAuth::from_settings(settings).err().expect("refused").with_causes();
        let write = |text: &str| std::fs::write(file.path(), text).expect("write");
        for bad in [String::new(), "a".repeat(31) + "\n", "a ".repeat(32)] {
            write(&bad);
            let error = refused(&settings);
            assert!(error.contains("secret_file") && !error.contains("aaa"), "{error}");
        }
        std::fs::write(file.path(), b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xff").expect("write");
        let error = refused(&settings);
        assert!(error.contains("UTF-8") && !error.contains("aaa"), "{error}");
        write(&("a".repeat(32) + "\n"));
        assert!(ProxyAuth::from_settings(&settings).is_ok());
        settings.secret_header = "x-forwarded-user".to_owned();
        assert!(refused(&settings).contains("differ"));
        settings.secret_header = "not a header".to_owned();
        assert!(refused(&settings).contains("secret_header"));
        settings.secret_header = "X-Secret".to_owned();
        settings.secret_file = "/no/such/file".to_owned();
        let error = refused(&settings);
        assert!(error.contains("secret_file") && error.contains("/no/such/file"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn the_last_forwarded_address_is_the_proxys_word() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().expect("a header's value"));
            }
            last_forwarded(&headers).map(|address| address.to_string())
        };
        for (lines, address) in [
            (&["192.0.2.66, 203.0.113.7"][..], Some("203.0.113.7")),
            (&["192.0.2.66", "203.0.113.7:8080"], Some("203.0.113.7")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]:8080"], Some("2001:db8::1")),
            (&["203.0.113.7, unknown"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(of(lines).as_deref(), address, "{lines:?}");
        }
    }
}
