//! `/secrets/{id}/access` and `/secrets/{id}/people`: why a person has access to a secret, and who has.

use axum::Json;
use axum::extract::State;

use crate::contract::answer;
use crate::contract::answer::Page;
use crate::gateway::answers;
use crate::gateway::api::input::{Params, PathIds};
use crate::gateway::api::listing::page;
use crate::gateway::limits::turns::Reading;
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::{Explained, Holders};

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

/// `GET /secrets/{id}/people`: every person who has access, by their own grant, through a group or as the owner, for
/// whoever may edit the secret.
pub(in crate::gateway) async fn people(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<Page<answer::Holder>>, Problem> {
    let secret = path.id(0)?;
    params.only(&["limit", "cursor"])?;
    let limit = params.limit(100, 1_000)?;
    let after = params.number_cursor()?.unwrap_or(0);
    match state.store.holders(me.id, secret, after, limit as i64 + 1).await? {
        Holders::People(people) => {
            Ok(Json(page(people, limit, |person| person.id.to_string(), answers::holder)))
        }
        Holders::NotSeen => Err(Problem::not_found()),
        Holders::NotAllowed => Err(Problem::not_allowed("you may view this secret only")),
    }
}
