//! The access log: a line a request, and a trace of sign-ins that were refused.
//!
//! Never the query of a request, and nothing of a header but the client's address, where the proxy names it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;

use crate::gateway::GatewayState;
use crate::gateway::auth::Auth;
use crate::gateway::serving::Caller;

/// The target of these lines: `access=off` in log.filter leaves them out.
const TARGET: &str = "access";

/// The longest part of a path that is shown, in bytes.
const PATH: usize = 200;

/// Asked for by machines all day: told at debug.
const QUIET: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/assets/"];

/// How often a refusal of the same cause and address is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Causes and addresses that are remembered; who comes beyond them is counted together.
const REMEMBERED: usize = 1_000;

/// The layer that writes the line.
pub(in crate::gateway) async fn log(
    State(state): State<GatewayState>,
    request: Request,
    next: Next,
) -> Response {
    let quiet = QUIET.iter().any(|path| request.uri().path().starts_with(path));
    let is_told = if quiet {
        tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
    } else {
        tracing::enabled!(target: TARGET, tracing::Level::INFO)
    };
    let caller = request.extensions().get::<Caller>().cloned();
    let (true, Some(caller)) = (is_told, caller) else { return next.run(request).await };
    let began = Instant::now();
    let client = client(&state.auth, request.headers(), &caller);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).await;
    let path = shown(uri.path());
    let (status, person) = (response.status().as_u16(), caller.person());
    let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    if quiet {
        tracing::debug!(target: TARGET, %method, path, status, us, person, %client, "answered");
    } else {
        tracing::info!(target: TARGET, %method, path, status, us, person, %client, "answered");
    }
    response
}

fn shown(path: &str) -> &str {
    path.get(..PATH).unwrap_or(if path.len() <= PATH { path } else { "…" })
}

/// Who asks: the peer, or whom a proxy that proved itself says to be behind it. A list is what came before, from
/// whoever, and at its end what our proxy has seen.
pub(in crate::gateway) fn client(auth: &Auth, headers: &HeaderMap, caller: &Caller) -> IpAddr {
    let named = || {
        let last =
            headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?.rsplit(',').next()?;
        let last = last.trim().trim_start_matches('[');
        let bare = last.split_once(']').map_or(last, |(address, _)| address);
        let without_port = bare.rsplit_once(':').filter(|(address, _)| !address.contains(':'));
        without_port.map_or(bare, |(address, _)| address).parse().ok()
    };
    match auth {
        Auth::Proxy(proxy) if proxy.names_clients(headers) => named().unwrap_or(caller.address),
        _ => caller.address,
    }
}

/// Sign-ins that were refused, so that each cause leaves a line and none leaves many.
#[derive(Default)]
pub(in crate::gateway) struct Refusals(Mutex<HashMap<(Option<IpAddr>, String), Told>>);

struct Told {
    at: Instant,
    /// Refused since, without a line.
    silent: u64,
}

impl Refusals {
    /// Tells it, unless that was just done. `cause` is a text of ours and never the name that was given.
    pub(in crate::gateway) fn tell(&self, address: IpAddr, cause: &str) {
        if let Some(before) = self.note(Some(address), cause, Instant::now()) {
            tracing::warn!(%address, cause, since_last_line = before, "a sign-in was refused");
        }
    }

    /// How many there were since the last line, where it is time for one.
    fn note(&self, address: Option<IpAddr>, cause: &str, now: Instant) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (address, cause.to_owned());
        if all.len() >= REMEMBERED && !all.contains_key(&key) {
            all.retain(|_, told| now.saturating_duration_since(told.at) < TELL_EVERY);
            if all.len() >= REMEMBERED {
                key.0 = None;
            }
        }
        match all.get_mut(&key) {
            Some(told) if now.saturating_duration_since(told.at) < TELL_EVERY => {
                told.silent += 1;
                None
            }
            Some(told) => Some(std::mem::replace(told, Told { at: now, silent: 0 }).silent),
            None => {
                all.insert(key, Told { at: now, silent: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_a_minute_and_cause_and_address_and_remembered_within_bounds() {
        let (refusals, began) = (Refusals::default(), Instant::now());
        let address = |last: u32| Some(IpAddr::from(last.to_be_bytes()));
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(refusals.note(address(1), "a", at(0)), Some(0));
        assert_eq!(refusals.note(address(1), "a", at(59)), None);
        assert_eq!(refusals.note(address(1), "b", at(59)), Some(0));
        assert_eq!(refusals.note(address(2), "a", at(59)), Some(0));
        assert_eq!(refusals.note(address(1), "a", at(60)), Some(1));
        let told = (0..100_000).filter(|last| refusals.note(address(*last), "c", at(61)).is_some()).count();
        assert!(told <= REMEMBERED, "{told}");
        assert!(refusals.0.lock().expect("all").len() <= REMEMBERED + 3);
    }

    #[test]
    fn a_path_is_shown_within_bounds() {
        assert_eq!(shown("/api/v1/me"), "/api/v1/me");
        assert_eq!(shown(&"/".repeat(1_000)).len(), PATH);
        assert_eq!(shown(&"é".repeat(1_000)).len(), PATH);
        assert_eq!(shown(&format!("/{}", "é".repeat(1_000))), "…");
    }
}
