//! `/share-jobs/{id}/rest`: shares what a share rejected or never came to.

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::contract;
use crate::contract::JobBody;
use crate::gateway::api::input::{JsonBody, PathIds};
use crate::gateway::api::share_jobs::{idempotency_key, over_allowance, traceparent};
use crate::gateway::limits::turns::Changing;
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::{NoRest, RestLimits, RestOrder, RestOrdered};

/// `POST /share-jobs/{id}/rest`: makes a job of what one of the person's own shares left undone. The answer comes at
/// once, and the job counts against the person's limits, as every share does. Whoever repeats the request with the same
/// `Idempotency-Key`, or while that job runs, is answered with that job as it is now. The body may be empty.
pub(in crate::gateway) async fn submit(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    headers: HeaderMap,
    path: PathIds,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let order = RestOrder {
        parent: path.parsed(0)?,
        by: Some(me.id),
        reasons: contract::decode_rest_data(&body)?,
        idempotency_key: idempotency_key(&headers)?,
        traceparent: traceparent(&headers),
    };
    let allowance = state.growth.allowance(&state.store, me.id).await?;
    let limits = RestLimits { allowance, unfinished: state.max_unfinished };
    let ordered = state.store.share_rest(order, state.begin.clone(), limits).await?;
    if let RestOrdered::Accepted { job, bytes } = &ordered {
        state.growth.add(me.id, job.pairs.unwrap_or(0), *bytes);
    }
    match ordered {
        RestOrdered::Accepted { job, .. } | RestOrdered::Repeated(job) => {
            let location = format!("/api/v1/share-jobs/{}", job.job_id);
            Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(JobBody::of(&job))).into_response())
        }
        RestOrdered::KeyConflict => Err(Problem::key_conflict()),
        RestOrdered::UnknownJob => Err(Problem::not_found()),
        RestOrdered::TooManyUnfinished { limit } => Err(Problem::too_many_jobs(limit)),
        RestOrdered::OverAllowance { what } => Err(over_allowance(&state, me.id, what)),
        RestOrdered::OverLimit(over) => Err(Problem::over_limit("reasons", over.to_string())),
        RestOrdered::Refused(why) => Err(refused(why)),
    }
}

/// Why what a job left undone is not shared.
fn refused(why: NoRest) -> Problem {
    let (name, title) = match why {
        NoRest::NotAShare => ("not_a_share", "This job shares nothing"),
        NoRest::NotEnded(_) => ("job_not_ended", "The job has not ended"),
        NoRest::Undone => ("already_undone", "The job is undone"),
        NoRest::Running(_) => ("rest_running", "Another part of it is being shared"),
        NoRest::TooMany => ("too_many_rests", "It was shared in too many parts"),
        NoRest::NotRecorded => ("not_recorded", "It is not known what is left"),
        NoRest::Nothing => ("nothing_left", "There is nothing left to share"),
    };
    Problem::conflict(name, title, why.to_string())
}
