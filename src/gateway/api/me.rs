//! `/me`: who the person is who asks.

use axum::Json;
use axum::extract::State;

use crate::contract::answer;
use crate::gateway::answers;
use crate::gateway::auth::Me;
use crate::gateway::state::GatewayState;

/// `GET /me`.
pub(in crate::gateway) async fn me(State(state): State<GatewayState>, Me(person): Me) -> Json<answer::Me> {
    Json(answers::me(&person, state.sign_ins.mode_name()))
}
