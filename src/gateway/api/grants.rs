//! `/secrets/{id}/grants`: who has access to a secret, and taking access back.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::contract::answer;
use crate::contract::answer::Page;
use crate::domain::{PrincipalId, SecretId};
use crate::gateway::answers;
use crate::gateway::api::input::{Params, PathIds};
use crate::gateway::api::listing::page;
use crate::gateway::api::secrets::done;
use crate::gateway::limits::turns::{Changing, Reading};
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::Explained;

/// The most grants in a page. It is larger than the pages of other listings, because whoever looks wants to see
/// everybody.
const MOST: usize = 1_000;

/// `GET /secrets/{id}/grants`: who has access by a grant, for everybody who sees the secret.
pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<Page<answer::Grant>>, Problem> {
    let id = path.id(0)?;
    params.only(&["limit", "cursor"])?;
    let limit = params.limit(MOST, MOST)?;
    let after = params.number_cursor()?.unwrap_or(0);
    let grants = state.store.grants_of(me.id, id, after, limit as i64 + 1).await?;
    let grants = grants.ok_or_else(Problem::not_found)?;
    Ok(Json(page(grants, limit, |grant| grant.principal.to_string(), answers::grant)))
}

/// `DELETE /secrets/{id}/grants/{principal_id}`: takes a grant back. Where the person has access all the same, through a
/// group or as the owner, the answer is 200 and says why, so that nobody takes a person for gone who still reads the
/// value. It is 204 where nothing is left, for a group, and where the reader may not know.
pub(in crate::gateway) async fn revoke(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    path: PathIds,
) -> Result<Response, Problem> {
    let (secret, principal): (SecretId, PrincipalId) = (path.id(0)?, path.id(1)?);
    done(state.store.revoke(me.id, secret, principal).await?)?;
    tracing::info!(secret = secret.get(), principal = principal.get(), by = me.id.get(), "access taken back");
    // The grant is gone by now. A failure to read what is left must not look like a failure to take it back.
    let left = state.store.why(Some(me.id), secret, principal).await;
    Ok(match left {
        Ok(Explained::Access(access)) if access.effective.is_some() => {
            Json(answer::Access::from(access)).into_response()
        }
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            tracing::warn!(%error, secret = secret.get(), "what access is left was not read");
            StatusCode::NO_CONTENT.into_response()
        }
    })
}
