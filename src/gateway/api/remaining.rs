//! `/share-jobs/{id}/access-left`: who still has access after a job that took access away.

use axum::Json;
use axum::extract::State;

use crate::contract::answer;
use crate::contract::answer::Page;
use crate::contract::write_pair_cursor;
use crate::domain::{JobId, JobKind};
use crate::gateway::api::input::{Params, PathIds};
use crate::gateway::limits::turns::Reading;
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::LeftCursor;

/// The most lines in a page. Each costs some look-ups by key.
const MOST: usize = 100;

/// `GET /share-jobs/{id}/access-left`, for the requester of an undo or an unshare: which of the people that it was about
/// still have access to which of its secrets, and through what. It looks at how things are now.
pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<Page<answer::AccessLeft>>, Problem> {
    let id: JobId = path.parsed(0)?;
    params.only(&["limit", "cursor"])?;
    let limit = params.limit(50, MOST)?;
    let (place, after) = params.pair_cursor()?.unwrap_or_default();
    let from = LeftCursor { place: usize::try_from(place).unwrap_or(usize::MAX), after };
    let job = state.store.job(id).await?.filter(|job| job.requested_by == me.id);
    // A share leaves access to everybody whom it names, so there is nothing to tell of it here.
    job.filter(|job| job.kind != JobKind::Share).ok_or_else(Problem::not_found)?;
    let (left, next) = state.store.access_left(me.id, id, from, limit).await?;
    let secrets =
        state.store.secret_names_seen_by(me.id, left.iter().map(|line| line.secret).collect()).await?;
    let people =
        state.store.principal_names_seen_by(me.id, left.iter().map(|line| line.user).collect()).await?;
    let items = left.into_iter().map(|line| {
        let known = people.get(&line.user);
        answer::AccessLeft {
            access: line.access.into(),
            secret: answer::JobSecretName { id: line.secret, name: secrets.get(&line.secret).cloned() },
            user: answer::JobUserName {
                id: line.user,
                name: known.map(|known| known.name.clone()),
                username: known.and_then(|known| known.username.clone()),
            },
        }
    });
    let place = |cursor: LeftCursor| i64::try_from(cursor.place).unwrap_or(i64::MAX);
    let next_cursor = next.map(|cursor| write_pair_cursor(place(cursor), cursor.after));
    Ok(Json(Page { items: items.collect(), next_cursor }))
}
