//! Who I am; and, in demo mode, choosing who to be. Choosing needs nobody signed in.

use axum::Json;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::contract;
use crate::contract::write_cursor;
use crate::gateway::GatewayState;
use crate::gateway::api::input::{JsonBody, Params};
use crate::gateway::auth::{COOKIE_NAME, Me, escape, sign_in};
use crate::gateway::problem::Problem;
use crate::store::Person;

pub(in crate::gateway) async fn me(State(state): State<GatewayState>, Me(person): Me) -> Json<Value> {
    Json(me_json(&state, &person))
}

pub(in crate::gateway) fn me_json(state: &GatewayState, person: &Person) -> Value {
    json!({
        "id": person.id,
        "username": person.username,
        "name": person.name,
        "auth_mode": state.auth.mode_name(),
    })
}

/// The people to choose from: those who can sign in.
pub(in crate::gateway) async fn people(
    State(state): State<GatewayState>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let limit = params.limit(200, 200)?;
    let after = params.number_cursor()?.unwrap_or(0);
    let mut people = state.store.people(after, limit as i64 + 1).await?;
    let more = people.len() > limit;
    people.truncate(limit);
    let next = people.last().filter(|_| more).map(|last| write_cursor(&last.id.to_string()));
    let items: Vec<Value> = people
        .into_iter()
        .map(|person| json!({"id": person.id, "username": person.username, "name": person.name}))
        .collect();
    Ok(Json(json!({"items": items, "next_cursor": next})))
}

/// Chooses a person for this browser.
pub(in crate::gateway) async fn choose(
    State(state): State<GatewayState>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let username = contract::decode_username(&body)?;
    let person = sign_in(&state, username).await.map_err(|problem| problem.of_field("username"))?;
    let cookie = format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict", escape(&person.username));
    Ok(([(SET_COOKIE, cookie)], Json(me_json(&state, &person))).into_response())
}
