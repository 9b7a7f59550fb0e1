//! What is answered while the program starts.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::gateway::probes::look::is_probe;
use crate::gateway::probes::startup::Startup;
use crate::gateway::problem::Problem;

/// The layer that answers 503 in place of every route but those for supervisors, until the start is over.
pub(in crate::gateway) async fn gate(
    State(startup): State<Startup>,
    request: Request,
    next: Next,
) -> Response {
    if startup.is_over() || is_probe(&request) {
        return next.run(request).await;
    }
    Problem::starting().into_response()
}
