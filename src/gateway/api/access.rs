//! `/secrets/{id}/access`: why a person has access to a secret.

use axum::Json;
use axum::extract::State;

use crate::contract::answer;
use crate::gateway::api::input::{Params, PathIds};
use crate::gateway::limits::turns::Reading;
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::Explained;

/// `GET /secrets/{id}/access?user=ID`: who may edit the secret asks about anybody, and who may view it about themselves,
/// which is also what is meant where `user` is absent.
pub(in crate::gateway) async fn why(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<answer::Access>, Problem> {
    let secret = path.id(0)?;
    params.only(&["user"])?;
    let user = params.id("user")?.unwrap_or(me.id);
    match state.store.why(Some(me.id), secret, user).await? {
        Explained::Access(access) => Ok(Json(access.into())),
        Explained::NotSeen | Explained::Nobody => Err(Problem::not_found()),
        Explained::NotAllowed => {
            Err(Problem::not_allowed("you may view this secret only, and ask about yourself"))
        }
    }
}
