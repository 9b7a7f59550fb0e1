//! `/share-jobs/{id}/undo`: takes back what a share gave, and says before what that would be.

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::contract::{JobBody, answer};
use crate::gateway::answers;
use crate::gateway::api::input::{JsonBody, PathIds};
use crate::gateway::api::share_jobs::{idempotency_key, traceparent};
use crate::gateway::limits::turns::{Changing, Reading};
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::{Foreseen, NotUndone, UndoBy, UndoOrder, UndoOrdered};

/// `POST /share-jobs/{id}/undo`: makes the undo of one of the person's own jobs. The answer comes at once, whatever the
/// job's size, and it is a job of its own. Whoever repeats the request with the same `Idempotency-Key` is answered with
/// that job as it is now. It needs no body, and counts against no limit of jobs or pairs.
pub(in crate::gateway) async fn submit(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    headers: HeaderMap,
    path: PathIds,
    JsonBody(_): JsonBody,
) -> Result<Response, Problem> {
    let order = UndoOrder {
        parent: path.parsed(0)?,
        by: UndoBy::Person(me.id),
        idempotency_key: idempotency_key(&headers)?,
        traceparent: traceparent(&headers),
    };
    match state.store.undo(order, state.begin.clone()).await? {
        UndoOrdered::Accepted(job) | UndoOrdered::Repeated(job) => {
            let location = format!("/api/v1/share-jobs/{}", job.job_id);
            Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(JobBody::of(&job))).into_response())
        }
        UndoOrdered::KeyConflict => Err(Problem::key_conflict()),
        UndoOrdered::UnknownJob => Err(Problem::not_found()),
        UndoOrdered::Refused(why) => Err(refused(why)),
    }
}

/// `GET /share-jobs/{id}/undo`: what an undo would do now.
pub(in crate::gateway) async fn preview(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
) -> Result<Json<answer::UndoPreview>, Problem> {
    match state.store.foresee_undo(path.parsed(0)?, UndoBy::Person(me.id)).await? {
        Foreseen::Preview(preview) => Ok(Json(answers::undo_preview(preview))),
        Foreseen::UnknownJob => Err(Problem::not_found()),
        Foreseen::Refused(why) => Err(refused(why)),
        Foreseen::RequesterNotValid => Err(Problem::not_allowed("you may not act at the moment")),
    }
}

/// Why a job is not undone.
fn refused(why: NotUndone) -> Problem {
    let detail = why.to_string();
    match why {
        NotUndone::NotEnded(_) => Problem::conflict("job_not_ended", "The job has not ended", detail),
        NotUndone::Nothing => Problem::conflict("nothing_to_undo", "There is nothing to undo", detail),
        NotUndone::NotUndoable => Problem::conflict(
            "not_undoable",
            "This job cannot be undone",
            format!("{detail}; share again instead"),
        ),
        NotUndone::Already(_) => Problem::conflict("already_undone", "The job is undone", detail),
        NotUndone::NotReady => Problem::not_ready(detail),
    }
}
