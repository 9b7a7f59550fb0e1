//! `/received`: what was shared with a person and with their groups.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::contract::answer::{Page, Received, ReceivedPage, ReceivedSecret};
use crate::contract::write_cursor;
use crate::gateway::api::input::{JsonBody, Params, PathIds};
use crate::gateway::api::listing::numbered;
use crate::gateway::limits::turns::{Changing, Reading};
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;

/// `GET /received`: the newest first, with how many I have not seen.
pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<ReceivedPage<String>>, Problem> {
    params.only(&["limit", "cursor"])?;
    let limit = params.limit(50, 200)?;
    let before = params.number_cursor()?;
    let page = state.store.received(me.id, before, limit as i64).await?;
    Ok(Json(ReceivedPage {
        items: page.items.into_iter().map(Received::from).collect(),
        next_cursor: page.next.map(|next| write_cursor(&next.to_string())),
        unseen: page.unseen,
    }))
}

/// `GET /received/{id}/secrets`: the secrets of an entry of mine, in the order of the batch.
pub(in crate::gateway) async fn secrets(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<Page<ReceivedSecret>>, Problem> {
    params.only(&["limit", "cursor"])?;
    let limit = params.limit(100, 1_000)?;
    let from = usize::try_from(params.number_cursor()?.unwrap_or(0)).unwrap_or(usize::MAX);
    let found = state.store.received_secrets(me.id, path.id(0)?, from, limit + 1).await?;
    let mut found = found.ok_or_else(Problem::not_found)?;
    // The one item too many that was read is where the next page begins.
    let next = found.get(limit).and_then(|(place, _)| i64::try_from(*place).ok());
    found.truncate(limit);
    let names = state.store.secret_names_seen_by(me.id, found.iter().map(|(_, id)| *id).collect()).await?;
    let items = found.into_iter().map(|(_, id)| ReceivedSecret { id, name: names.get(&id).cloned() });
    Ok(Json(numbered(items.collect(), next)))
}

/// `POST /received/{id}/seen`: I have seen this entry and all older ones. 204, however often it is asked for. It needs
/// no body.
pub(in crate::gateway) async fn see(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    path: PathIds,
    JsonBody(_): JsonBody,
) -> Result<StatusCode, Problem> {
    if state.store.see_received(me.id, path.id(0)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}
