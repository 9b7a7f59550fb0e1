//! `/share-jobs`: asking for a batch share, and seeing how it goes.

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::contract;
use crate::contract::answer::Page;
use crate::contract::{JobBody, ShareAsked};
use crate::domain::{EndedBy, PrincipalId, Selection, ShareRequest};
use crate::gateway::api::input::{JsonBody, Params, PathIds};
use crate::gateway::api::limited::{limited, secrets_field};
use crate::gateway::api::listing::numbered;
use crate::gateway::api::share_preview::as_expected;
use crate::gateway::auth::Me;
use crate::gateway::limits::growth::Hourly;
use crate::gateway::limits::turns::{Changing, Held, Reading};
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::{Cancelled, LEDGER_NOT_READY, Submission, Submitted};

/// `POST /share-jobs`: accepts a job. The answer comes at once, whatever the job's size. Whoever repeats the request
/// with the same `Idempotency-Key` is answered with the job as it is now. If something is expected of the job, it is
/// accepted only if it would do that now.
pub(in crate::gateway) async fn submit(
    State(state): State<GatewayState>,
    Changing(me, turn): Changing,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let ShareAsked { request, expect } = contract::decode_share_data(&body, me.id)?;
    // The body is dropped before the database is asked: many waiting bodies together would take much memory.
    drop(body);
    if let Some(expect) = expect {
        as_expected(&state, &turn, &request, expect, idempotency_key(&headers)?).await?;
    }
    ask(&state, &turn, &headers, request).await
}

/// Accepts a job that shares or takes access away.
pub(super) async fn ask(
    state: &GatewayState,
    turn: &Held,
    headers: &HeaderMap,
    request: ShareRequest,
) -> Result<Response, Problem> {
    let me = request.requested_by;
    let idempotency_key = idempotency_key(headers)?;
    let secrets_field = secrets_field(&request);
    let submission = Submission { request, idempotency_key, traceparent: traceparent(headers) };
    // Which secrets "all" are is a search like that of a listing, and is as much of a person's share.
    let _reading = match submission.request.selection {
        Selection::All(_) => Some(turn.to_read_too().await?),
        Selection::Ids(_) => None,
    };
    let allowance = state.growth.allowance(&state.store, me).await?;
    let store = &state.store;
    let (submitted, bytes) =
        store.submit_within(allowance, submission, state.limits, state.max_unfinished).await?;
    if let Submitted::Accepted(job) = &submitted {
        state.growth.add(me, job.pairs.unwrap_or(0), bytes);
    }
    match submitted {
        Submitted::Accepted(job) | Submitted::Repeated(job) => {
            let location = format!("/api/v1/share-jobs/{}", job.job_id);
            Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(JobBody::of(&job))).into_response())
        }
        Submitted::KeyConflict => Err(Problem::key_conflict()),
        Submitted::TooManyUnfinished { limit } => Err(Problem::too_many_jobs(limit)),
        Submitted::OverAllowance { what } => Err(over_allowance(state, me, what)),
        Submitted::NothingMatches => Err(Problem::nothing_matches()),
        Submitted::NotReady => Err(Problem::not_ready(LEDGER_NOT_READY.to_owned())),
        Submitted::OverLimit(over) => {
            Err(Problem::over_limit(limited(&over, secrets_field), over.to_string()))
        }
    }
}

/// The person has asked for so many `pairs` or `bytes` in this hour that there is no room for more.
pub(super) fn over_allowance(state: &GatewayState, me: PrincipalId, what: &'static str) -> Problem {
    let Hourly { pairs, bytes } = state.growth.limits();
    let limit = if what == "pairs" { pairs } else { bytes };
    Problem::too_much_an_hour(what, limit, state.growth.wait(me))
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.as_bytes();
    let printable = key.iter().all(|byte| (0x20..=0x7e).contains(byte));
    if values.next().is_some() || !printable || !(1..=255).contains(&key.len()) {
        return Err(Problem::invalid(NAME, "must be 1 to 255 characters of printable ASCII"));
    }
    Ok(Some(String::from_utf8_lossy(key).into_owned()))
}

/// The caller's trace; `None` where there is none or where it cannot be read. W3C asks for this, rather than for an
/// error.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    contract::is_traceparent(text).then(|| text.to_owned())
}

/// `GET /share-jobs`: the person's own jobs, the newest first.
pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Page<JobBody>>, Problem> {
    params.only(&["limit", "cursor"])?;
    let limit = params.limit(50, 200)?;
    let before = params.number_cursor()?;
    let (jobs, next) = state.store.jobs(Some(me.id), before, limit as i64).await?;
    let mut titles = state.store.titles(Some(me.id), jobs.iter().map(|job| job.job_id).collect()).await?;
    let body = |job| JobBody::of(job).titled(titles.remove(&job.job_id));
    Ok(Json(numbered(jobs.iter().map(body).collect(), next)))
}

/// `GET /share-jobs/{id}`: one of the person's own jobs.
pub(in crate::gateway) async fn show(
    State(state): State<GatewayState>,
    Me(me): Me,
    path: PathIds,
) -> Result<Json<JobBody>, Problem> {
    let job = state.store.job(path.parsed(0)?).await?;
    let job = job.filter(|job| job.requested_by == me.id).ok_or_else(Problem::not_found)?;
    let title = state.store.titles(Some(me.id), vec![job.job_id]).await?.remove(&job.job_id);
    Ok(Json(JobBody::of(&job).titled(title)))
}

/// `POST /share-jobs/{id}/cancel`: ends one of the person's own jobs, and answers with the job as it ended, however
/// often it is asked for. It needs no body.
pub(in crate::gateway) async fn cancel(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    path: PathIds,
    JsonBody(_): JsonBody,
) -> Result<Json<JobBody>, Problem> {
    match state.store.cancel(path.parsed(0)?, EndedBy::Person(me.id)).await {
        Ok(Cancelled::Done(job) | Cancelled::Already(job)) => {
            // The job has ended by now. A failure to read its title must not look like a failure to end it.
            let titles = state.store.titles(Some(me.id), vec![job.job_id]).await.unwrap_or_default();
            Ok(Json(JobBody::of(&job).titled(titles.into_values().next())))
        }
        Ok(Cancelled::Ended(job)) => Err(Problem::job_ended(job.state.as_str())),
        Ok(Cancelled::NotFound) => Err(Problem::not_found()),
        Err(error) if error.is_busy() => {
            tracing::warn!(%error, "a job could not be cancelled: somebody holds it");
            Err(Problem::job_held())
        }
        Err(error) => Err(error.into()),
    }
}
