//! The access log: one line for each request, which says who asked for what and how it was answered.
//!
//! The line never holds the query of a request, and nothing of its headers but the request's id and the client's
//! address.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use crate::gateway::auth::SignIns;
use crate::gateway::layers::request_id;
use crate::gateway::serving::Caller;

/// The target of these lines: `access=off` in log.filter leaves them out.
const TARGET: &str = "access";

/// The longest path that is shown, in bytes.
const PATH: usize = 200;

/// Machines ask for these all day, and their lines are written at the level debug.
const QUIET: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/assets/"];

/// The layer that writes the line. Every other line of the log that belongs to the request carries its id, too.
pub(in crate::gateway) async fn log(
    State(sign_ins): State<SignIns>,
    request: Request,
    next: Next,
) -> Response {
    let request_id = request_id::of(&request);
    let shown_id = request_id.as_ref().and_then(|id| id.to_str().ok());
    let span = tracing::info_span!("request", request_id = shown_id);
    let quiet = QUIET.iter().any(|path| request.uri().path().starts_with(path));
    let is_told = if quiet {
        tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
    } else {
        tracing::enabled!(target: TARGET, tracing::Level::INFO)
    };
    let caller = request.extensions().get::<Caller>().cloned();
    let (true, Some(caller)) = (is_told, caller) else { return next.run(request).instrument(span).await };
    let began = Instant::now();
    let client = sign_ins.client(request.headers(), &caller);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = next.run(request).instrument(span).await;
    let path = shown(uri.path());
    let (status, person) = (response.status().as_u16(), caller.person());
    let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let request_id = shown_id;
    if quiet {
        tracing::debug!(target: TARGET, %method, path, status, us, person, %client, request_id, "answered");
    } else {
        tracing::info!(target: TARGET, %method, path, status, us, person, %client, request_id, "answered");
    }
    response
}

/// A path, cut where it is too long. One whose cut would fall into a character is not shown.
fn shown(path: &str) -> &str {
    path.get(..PATH).unwrap_or(if path.len() <= PATH { path } else { "…" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_within_bounds() {
        assert_eq!(shown("/api/v1/me"), "/api/v1/me");
        assert_eq!(shown(&"/".repeat(1_000)).len(), PATH);
        assert_eq!(shown(&"é".repeat(1_000)).len(), PATH);
        assert_eq!(shown(&format!("/{}", "é".repeat(1_000))), "…");
    }
}
