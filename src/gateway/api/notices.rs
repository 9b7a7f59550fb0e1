//! `/notices`: what a person was told about their jobs that have ended.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::contract::answer;
use crate::contract::answer::Page;
use crate::gateway::answers;
use crate::gateway::api::input::{JsonBody, Params, PathIds};
use crate::gateway::api::listing::numbered;
use crate::gateway::limits::turns::{Changing, Reading};
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;

/// `GET /notices`: those that were not dismissed or, with `dismissed=true`, those that were. The newest comes first.
pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Page<answer::Notice>>, Problem> {
    params.only(&["dismissed", "limit", "cursor"])?;
    let limit = params.limit(50, 200)?;
    let dismissed = params.boolean("dismissed")?.unwrap_or(false);
    let before = params.number_cursor()?;
    let (notices, next) = state.store.notices(me.id, dismissed, before, limit as i64).await?;
    let titles =
        state.store.titles(Some(me.id), notices.iter().map(|notice| notice.job_id).collect()).await?;
    // An older run of a job may have a notice of its own, so that a title may be told twice.
    let titled = notices.into_iter().map(|notice| {
        let title = titles.get(&notice.job_id).cloned();
        answers::notice(notice).titled(title)
    });
    Ok(Json(numbered(titled.collect(), next)))
}

/// `POST /notices/dismiss?until=ID`: dismisses all of the person's notices up to this one, so that one which came after
/// they looked stays. 204, however often it is asked for.
///
/// It needs no body. One that is sent is read: a connection with an unread body is closed, and a client that has just
/// chosen it for its next request would get no answer.
pub(in crate::gateway) async fn dismiss_all(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    params: Params,
    JsonBody(_): JsonBody,
) -> Result<StatusCode, Problem> {
    params.only(&["until"])?;
    let until = params.id("until")?.ok_or_else(|| Problem::invalid("until", "must be there"))?;
    state.store.dismiss_notices(me.id, until).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /notices/{id}/dismiss`: 204, however often it is asked for. It needs no body, and reads one as the route above
/// does.
pub(in crate::gateway) async fn dismiss(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    path: PathIds,
    JsonBody(_): JsonBody,
) -> Result<StatusCode, Problem> {
    if state.store.dismiss_notice(me.id, path.id(0)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}
