//! What I was told about my ended jobs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::contract::{rfc3339, write_cursor};
use crate::gateway::GatewayState;
use crate::gateway::api::input::{Params, PathIds};
use crate::gateway::limits::turns::{Changing, Reading};
use crate::gateway::problem::Problem;
use crate::store::Notice;

/// Those not dismissed; with `dismissed=true`, those dismissed.
pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let limit = params.limit(50, 200)?;
    let dismissed = params.boolean("dismissed")?.unwrap_or(false);
    let before = params.number_cursor()?;
    let (notices, next) = state.store.notices(me.id, dismissed, before, limit as i64).await?;
    let items: Vec<Value> = notices.iter().map(notice_json).collect();
    Ok(Json(json!({"items": items, "next_cursor": next.map(|next| write_cursor(&next.to_string()))})))
}

/// 204, and again 204. Needs no body.
pub(in crate::gateway) async fn dismiss(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    path: PathIds,
) -> Result<StatusCode, Problem> {
    if state.store.dismiss_notice(me.id, path.id(0)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}

/// A notice as HTTP and the stream show it.
pub(crate) fn notice_json(notice: &Notice) -> Value {
    json!({
        "id": notice.id,
        "job_id": notice.job_id,
        "run": notice.run,
        "state": notice.state,
        "secrets": notice.secrets,
        "recipients": notice.recipients,
        "pairs": notice.pairs,
        "done_pairs": notice.counts.done(),
        "counts": notice.counts,
        "reason": notice.reason,
        "rejections_total": notice.rejections_total,
        "created_at": rfc3339(notice.created_at),
        "dismissed_at": notice.dismissed_at.map(rfc3339),
    })
}
