//! Asking for a batch share, and how it goes.

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::contract;
use crate::contract::{JobBody, write_cursor};
use crate::domain::event::{Rejection, Subject};
use crate::domain::share::OverLimit;
use crate::domain::{JobId, PrincipalId, Selection};
use crate::gateway::GatewayState;
use crate::gateway::api::input::{JsonBody, Params, PathIds};
use crate::gateway::auth::Me;
use crate::gateway::limits::growth::Hourly;
use crate::gateway::limits::turns::{Changing, Reading};
use crate::gateway::problem::Problem;
use crate::store::{Submission, Submitted};

/// Takes a job. The answer comes at once, whatever the job's size; a repeat with the same
/// Idempotency-Key gets the job as it is now.
pub(in crate::gateway) async fn submit(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let request = contract::decode_share_data(&body, me.id)?;
    // Not held while the database is waited for: many bodies at once would be a lot.
    drop(body);
    let idempotency_key = idempotency_key(&headers)?;
    let secrets_field = match request.selection {
        Selection::Ids(_) => "secrets.ids",
        Selection::All(_) => "secrets.all",
    };
    let submission = Submission { request, idempotency_key, traceparent: traceparent(&headers) };
    let allowance = state.growth().allowance(&state.store, me.id).await?;
    let store = &state.store;
    let (submitted, bytes) =
        store.submit_within(allowance, submission, state.limits, state.max_unfinished).await?;
    if let Submitted::Accepted(job) = &submitted {
        state.growth().add(me.id, job.pairs.unwrap_or(0), bytes);
    }
    match submitted {
        Submitted::Accepted(job) | Submitted::Repeated(job) => {
            let location = format!("/api/v1/share-jobs/{}", job.job_id);
            Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(JobBody::of(&job))).into_response())
        }
        Submitted::KeyConflict => Err(Problem::key_conflict()),
        Submitted::TooManyUnfinished { limit } => Err(Problem::too_many_jobs(limit)),
        Submitted::OverAllowance { what } => {
            let Hourly { pairs, bytes } = state.growth().limits();
            let limit = if what == "pairs" { pairs } else { bytes };
            Err(Problem::too_much_an_hour(what, limit, state.growth().wait(me.id)))
        }
        Submitted::NothingMatches => Err(Problem::nothing_matches()),
        Submitted::OverLimit(over) => {
            Err(Problem::over_limit(limited(&over, secrets_field), over.to_string()))
        }
    }
}

/// The field to shorten.
fn limited(over: &OverLimit, secrets_field: &'static str) -> &'static str {
    if over.what == "recipients" { "recipients" } else { secrets_field }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
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

/// The caller's trace, where it is one. A wrong one is dropped, as W3C asks.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    contract::is_traceparent(text).then(|| text.to_owned())
}

/// My jobs, newest first.
pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let limit = params.limit(50, 200)?;
    let before = params.number_cursor()?;
    let (jobs, next) = state.store.jobs(Some(me.id), before, limit as i64).await?;
    let items: Vec<JobBody<'_>> = jobs.iter().map(JobBody::of).collect();
    Ok(Json(json!({"items": items, "next_cursor": next.map(|next| write_cursor(&next.to_string()))})))
}

pub(in crate::gateway) async fn show(
    State(state): State<GatewayState>,
    Me(me): Me,
    path: PathIds,
) -> Result<Json<Value>, Problem> {
    let job = state.store.job(path.parsed(0)?).await?;
    let job = job.filter(|job| job.requested_by == me.id).ok_or_else(Problem::not_found)?;
    Ok(Json(json!(JobBody::of(&job))))
}

/// Why pairs of my job were not shared: secrets by id, then recipients.
pub(in crate::gateway) async fn rejections(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let id: JobId = path.parsed(0)?;
    let limit = params.limit(100, 1_000)?;
    let offset = params.number_cursor()?.unwrap_or(0);
    let job = state.store.job(id).await?;
    job.filter(|job| job.requested_by == me.id).ok_or_else(Problem::not_found)?;
    let mut rejections = state.store.rejections(id, offset, limit as i64 + 1).await?;
    let more = rejections.len() > limit;
    rejections.truncate(limit);
    let next = more.then(|| write_cursor(&(offset.saturating_add(limit as i64)).to_string()));
    let items = named(&state, me.id, &rejections).await?;
    Ok(Json(json!({"items": items, "next_cursor": next})))
}

/// Rejections with the names that the reader may know: the ids were the requester's own guess.
async fn named(
    state: &GatewayState,
    reader: PrincipalId,
    rejections: &[Rejection],
) -> Result<Vec<Value>, Problem> {
    let (mut secrets, mut principals) = (Vec::new(), Vec::new());
    for rejection in rejections {
        match rejection.subject {
            Subject::Secret(id) => secrets.push(id),
            Subject::Recipient(_, id) => principals.push(id),
        }
    }
    let secrets = state.store.secret_names_seen_by(reader, secrets).await?;
    let principals = state.store.principal_names_seen_by(reader, principals).await?;
    let item = |rejection: &Rejection| {
        let (kind, recipient_kind, id, name, principal) = match rejection.subject {
            Subject::Secret(id) => ("secret", None, id.get(), secrets.get(&id), None),
            Subject::Recipient(kind, id) => {
                let found = principals.get(&id).filter(|found| found.kind == kind);
                ("recipient", Some(kind), id.get(), found.map(|found| &found.name), found)
            }
        };
        json!({
            "kind": kind,
            "recipient_kind": recipient_kind,
            "id": id,
            "name": name,
            "username": principal.and_then(|principal| principal.username.as_ref()),
            "email": principal.and_then(|principal| principal.email.as_ref()),
            "reason": rejection.reason,
            "pairs": rejection.pairs,
        })
    };
    Ok(rejections.iter().map(item).collect())
}
