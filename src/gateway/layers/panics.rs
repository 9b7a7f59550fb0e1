//! What is answered where the handler of a request panics, which is a bug.

use std::any::Any;

use axum::response::{IntoResponse, Response};

use crate::gateway::problem::Problem;

/// The answer. The panic's own words are in the log, where the program's panic hook has written them: they may hold
/// what nobody outside is to see.
pub(in crate::gateway) fn answer(_words: Box<dyn Any + Send>) -> Response {
    Problem::internal("the request failed; the server's log says why").into_response()
}
