//! Searching whom to share with.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::domain::text;
use crate::gateway::GatewayState;
use crate::gateway::api::input::Params;
use crate::gateway::limits::turns::Reading;
use crate::gateway::problem::Problem;
use crate::store::RecipientItem;

const MIN_SEARCH: usize = 2;
const MOST: usize = 50;

pub(in crate::gateway) async fn search(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let search = params.checked("search", text::search)?;
    let search = search.trim();
    if search.chars().count() < MIN_SEARCH {
        return Err(Problem::invalid("search", "must have 2 characters or more"));
    }
    let limit = params.limit(MOST, MOST)?;
    let found = state.store.recipients(me.id, search.to_owned(), limit as i64).await?;
    let items: Vec<Value> = found.iter().map(item_json).collect();
    // Whoever is not among the first types more: there is no next page.
    Ok(Json(json!({"items": items, "next_cursor": null})))
}

fn item_json(item: &RecipientItem) -> Value {
    json!({
        "kind": item.kind,
        "id": item.id,
        "name": item.name,
        "username": item.username,
        "email": item.email,
        "eligible": item.reason.is_none(),
        "reason": item.reason,
    })
}
