//! `/demo`: choosing who to be. These routes are there in demo mode only, and need nobody who is signed in.

use axum::Json;
use axum::extract::State;
use axum_extra::extract::cookie::CookieJar;

use crate::contract;
use crate::contract::answer;
use crate::contract::answer::Page;
use crate::gateway::answers;
use crate::gateway::api::input::{JsonBody, Params};
use crate::gateway::api::listing::page;
use crate::gateway::auth::demo;
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;

/// `GET /demo/people`: the people who can sign in, by id.
pub(in crate::gateway) async fn people(
    State(state): State<GatewayState>,
    params: Params,
) -> Result<Json<Page<answer::DemoPerson>>, Problem> {
    params.only(&["limit", "cursor"])?;
    let limit = params.limit(200, 200)?;
    let after = params.number_cursor()?.unwrap_or(0);
    let people = state.store.people(after, limit as i64 + 1).await?;
    Ok(Json(page(people, limit, |person| person.id.to_string(), answers::demo_person)))
}

/// `PUT /demo/me`: makes a person the one who asks in this browser, by a cookie.
pub(in crate::gateway) async fn choose(
    State(state): State<GatewayState>,
    JsonBody(body): JsonBody,
) -> Result<(CookieJar, Json<answer::Me>), Problem> {
    let username = contract::decode_username(&body)?;
    let person = state.sign_ins.by_username(username).await;
    let person = person.map_err(|problem| problem.of_field("username"))?;
    let me = answers::me(&person, state.sign_ins.mode_name());
    Ok((CookieJar::new().add(demo::cookie(person.username)), Json(me)))
}
