//! `/share-jobs/preview`: what a share would do, and whether that is what was expected.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tokio::time::timeout;

use crate::contract;
use crate::contract::answer;
use crate::domain::foresight::SharePreview;
use crate::domain::{Counts, PrincipalId, ShareRequest};
use crate::gateway::api::input::JsonBody;
use crate::gateway::api::limited::{limited, secrets_field};
use crate::gateway::api::rejections::named;
use crate::gateway::limits::turns::{Held, Reading};
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::{PREVIEW_TIME, ShareForeseen};

/// How long a POST waits for the answer whether its share would do what is expected. This includes the wait for a turn
/// and for a connection.
const EXPECT_TIME: Duration = Duration::from_millis(250);

/// `POST /share-jobs/preview`: what such a job would do now. Nothing is changed. It takes the body of the share, and
/// `expect` in it makes no difference.
pub(in crate::gateway) async fn preview(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    JsonBody(body): JsonBody,
) -> Result<Json<answer::SharePreview>, Problem> {
    let request = contract::decode_share_data(&body, me.id)?.request;
    drop(body);
    let field = secrets_field(&request);
    match state.store.foresee_share(request, state.limits, PREVIEW_TIME).await? {
        ShareForeseen::Preview(preview) => Ok(Json(told(&state, me.id, &preview).await?)),
        ShareForeseen::NothingMatches => Err(Problem::nothing_matches()),
        ShareForeseen::OverLimit(over) => Err(Problem::over_limit(limited(&over, field), over.to_string())),
        ShareForeseen::RequesterNotValid => Err(not_acting()),
    }
}

fn not_acting() -> Problem {
    Problem::not_allowed("you may not act at the moment")
}

/// The preview with those names that the reader may know.
async fn told(
    state: &GatewayState,
    reader: PrincipalId,
    preview: &SharePreview,
) -> Result<answer::SharePreview, Problem> {
    let rejections = named(state, reader, &preview.rejections).await?;
    Ok(answer::SharePreview::of(preview, rejections))
}

/// Checks that a share would do now what is expected of it.
///
/// A request with an idempotency key that was used before is let through whatever it would do: it may be a repetition,
/// and then its job has done, or will do, what was expected. If it is another request, it is refused for that.
pub(super) async fn as_expected(
    state: &GatewayState,
    turn: &Held,
    request: &ShareRequest,
    expect: Counts,
    key: Option<String>,
) -> Result<(), Problem> {
    let problem = match timeout(EXPECT_TIME, look(state, turn, request)).await {
        Ok(Ok(ShareForeseen::Preview(preview))) if !preview.exact => Problem::not_checked(),
        Ok(Ok(ShareForeseen::Preview(preview))) if preview.counts == expect => return Ok(()),
        Ok(Ok(ShareForeseen::Preview(preview))) => {
            Problem::not_as_expected(told(state, request.requested_by, &preview).await?)
        }
        // The request itself will be refused, for what is wrong with it.
        Ok(Ok(ShareForeseen::NothingMatches | ShareForeseen::OverLimit(_))) => return Ok(()),
        Ok(Ok(ShareForeseen::RequesterNotValid)) => not_acting(),
        Ok(Err(problem)) => problem,
        Err(_) => Problem::not_checked(),
    };
    let used = match key {
        Some(key) => state.store.is_key_used(request.requested_by, key).await?,
        None => false,
    };
    if used { Ok(()) } else { Err(problem) }
}

/// Looks at what a share would do, as one of the reads that its requester may have in hand.
async fn look(state: &GatewayState, turn: &Held, request: &ShareRequest) -> Result<ShareForeseen, Problem> {
    let _reading = turn.to_read_too().await?;
    Ok(state.store.foresee_share(request.clone(), state.limits, EXPECT_TIME).await?)
}
