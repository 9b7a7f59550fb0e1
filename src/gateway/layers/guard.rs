//! What every request is checked for before its route sees it, and the headers that every answer carries.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::gateway::probes::look::is_probe;
use crate::gateway::problem::Problem;

/// The names under which this server answers. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostList {
    names: Arc<[String]>,
}

/// The names of this machine for itself, which are answered in demo mode whatever the list says.
const LOOPBACK: &[&str] = &["localhost", "127.0.0.1", "[::1]"];

impl HostList {
    /// A name with a port is answered on that port only, and a name without a port on any.
    #[must_use]
    pub fn new(names: &[String], and_loopback: bool) -> Self {
        let loopback = LOOPBACK.iter().filter(|_| and_loopback).map(|name| (*name).to_owned());
        Self { names: names.iter().map(|name| name.trim().to_lowercase()).chain(loopback).collect() }
    }

    fn has(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        let bare = without_port(&host);
        self.names.iter().any(|name| *name == host || *name == bare)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// The layer that refuses what a browser was tricked into sending: a request for another host, of another origin, or
/// of a kind that a form on another site can send.
pub(in crate::gateway) async fn guard(
    State(hosts): State<HostList>,
    request: Request,
    next: Next,
) -> Response {
    let is_api = request.uri().path().starts_with("/api");
    let mut response = match check(&hosts, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    add_headers(response.headers_mut(), is_api);
    response
}

fn check(hosts: &HostList, request: &Request) -> Result<(), Problem> {
    if is_probe(request) {
        return Ok(());
    }
    let host = host_of(request).filter(|host| hosts.has(host)).ok_or_else(Problem::unknown_host)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) {
        // A form on another site can send neither JSON nor DELETE. A script can, and then the browser says in a
        // header from which site it comes.
        if *request.method() != Method::DELETE && !is_json(request.headers()) {
            return Err(Problem::not_json_type());
        }
        if is_cross_origin(request.headers(), host) {
            return Err(Problem::cross_origin());
        }
    }
    Ok(())
}

/// The one name that the request is for; `None` where it names none, or two.
fn host_of(request: &Request) -> Option<&str> {
    let mut values = request.headers().get_all(header::HOST).iter();
    let host = values.next()?.to_str().ok()?;
    let same_in_target = request.uri().authority().is_none_or(|authority| authority.as_str() == host);
    (values.next().is_none() && same_in_target).then_some(host)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Whether the request says that it comes from another site. Browsers send these headers, and programs send neither.
fn is_cross_origin(headers: &HeaderMap, host: &str) -> bool {
    const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    let foreign_site = headers.get_all(SEC_FETCH_SITE).iter().any(|value| value != "same-origin");
    let foreign_origin = headers
        .get_all(header::ORIGIN)
        .iter()
        .any(|origin| !origin.to_str().is_ok_and(|origin| is_own_origin(origin, host)));
    foreign_site || foreign_origin
}

/// Compares an `Origin` with the `Host` that the browser sent along. The scheme may be `http` or `https`, because a
/// proxy in front may have ended TLS.
fn is_own_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |text: &str| text.strip_suffix(default_port).unwrap_or(text).to_lowercase();
    bare(authority) == bare(host)
}

/// Tells the browser how to treat the answer, where the route has not done so itself.
fn add_headers(headers: &mut HeaderMap, is_api: bool) {
    const SAME_SITE_ONLY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (SAME_SITE_ONLY, "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if is_api {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_port_answers_on_any_and_a_name_with_port_on_that_one() {
        let list = HostList::new(&["Vault.example".to_owned(), "other.example:8443".to_owned()], true);
        for host in
            ["vault.example", "VAULT.example:80", "other.example:8443", "localhost:1", "[::1]:8080", "[::1]"]
        {
            assert!(list.has(host), "{host}");
        }
        for host in
            ["", "evil.example", "vault.example.evil", "other.example", "other.example:1", "::1", ":80"]
        {
            assert!(!list.has(host), "{host}");
        }
        assert!(!HostList::new(&[], false).has("localhost"));
    }

    #[test]
    fn an_origin_is_own_where_host_and_port_are_the_same() {
        for (origin, host) in [
            ("http://localhost:8080", "localhost:8080"),
            ("https://vault.example", "vault.example"),
            ("https://vault.example", "vault.example:443"),
            ("http://vault.example:80", "Vault.example"),
        ] {
            assert!(is_own_origin(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "localhost:8080"),
            ("http://localhost:3000", "localhost:8080"),
            ("http://localhost", "localhost:8080"),
            ("https://vault.example.evil", "vault.example"),
            ("ftp://vault.example", "vault.example"),
            ("https://vault.example/", "vault.example"),
        ] {
            assert!(!is_own_origin(origin, host), "{origin} {host}");
        }
    }
}
