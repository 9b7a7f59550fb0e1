//! `/recipients`: searching for people and groups to share with.

use axum::Json;
use axum::extract::State;

use crate::contract::answer;
use crate::contract::answer::Page;
use crate::domain::text;
use crate::gateway::answers;
use crate::gateway::api::input::Params;
use crate::gateway::limits::turns::Reading;
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;

/// The fewest characters of a search.
const MIN_SEARCH: usize = 2;

/// The most people and groups that a search answers.
const MOST: usize = 50;

/// `GET /recipients?search=…`. There is never a next page: whoever does not find somebody types more of the name.
pub(in crate::gateway) async fn search(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Page<answer::Recipient>>, Problem> {
    params.only(&["search", "limit"])?;
    let search = params.checked("search", text::search)?;
    let search = search.trim();
    if search.chars().count() < MIN_SEARCH {
        return Err(Problem::invalid("search", "must have 2 characters or more"));
    }
    let limit = params.limit(MOST, MOST)?;
    let found = state.store.recipients(me.id, search.to_owned(), limit as i64).await?;
    Ok(Json(Page { items: found.into_iter().map(answers::recipient).collect(), next_cursor: None }))
}
