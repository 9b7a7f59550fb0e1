//! `/unshare-jobs`: taking access away in a batch. The job is then seen under `/share-jobs`, as every job is.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::contract;
use crate::contract::answer::UnsharePreview;
use crate::gateway::answers;
use crate::gateway::api::input::JsonBody;
use crate::gateway::api::limited::{limited, secrets_field};
use crate::gateway::api::share_jobs::ask;
use crate::gateway::limits::turns::{Changing, Reading};
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::{LEDGER_NOT_READY, UnshareForeseen};

/// `POST /unshare-jobs`: accepts a job that takes access away, as `POST /share-jobs` accepts one that shares.
pub(in crate::gateway) async fn submit(
    State(state): State<GatewayState>,
    Changing(me, turn): Changing,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let request = contract::decode_unshare_data(&body, me.id)?;
    drop(body);
    ask(&state, &turn, &headers, request).await
}

/// `POST /unshare-jobs/preview`: what such a job would do now. Nothing is changed.
pub(in crate::gateway) async fn preview(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    JsonBody(body): JsonBody,
) -> Result<Json<UnsharePreview>, Problem> {
    let request = contract::decode_unshare_data(&body, me.id)?;
    drop(body);
    let field = secrets_field(&request);
    match state.store.foresee_unshare(request, state.limits).await? {
        UnshareForeseen::Preview(preview) => Ok(Json(answers::unshare_preview(&preview))),
        UnshareForeseen::NothingMatches => Err(Problem::nothing_matches()),
        UnshareForeseen::OverLimit(over) => Err(Problem::over_limit(limited(&over, field), over.to_string())),
        UnshareForeseen::RequesterNotValid => Err(Problem::not_allowed("you may not act at the moment")),
        UnshareForeseen::NotReady => Err(Problem::not_ready(LEDGER_NOT_READY.to_owned())),
    }
}
