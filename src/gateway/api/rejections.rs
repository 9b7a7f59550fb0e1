//! `/share-jobs/{id}/rejections`: why some pairs of a job were not shared.

use axum::Json;
use axum::extract::State;

use crate::contract::answer;
use crate::contract::answer::{Page, RejectionKind};
use crate::domain::event::{Rejection, Subject};
use crate::domain::{JobId, PrincipalId};
use crate::gateway::api::input::{Params, PathIds};
use crate::gateway::api::listing::numbered;
use crate::gateway::limits::turns::Reading;
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;

/// `GET /share-jobs/{id}/rejections`, for the requester of the job: secrets by id, and then recipients.
pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<Page<answer::Rejection>>, Problem> {
    let id: JobId = path.parsed(0)?;
    params.only(&["limit", "cursor"])?;
    let limit = params.limit(100, 1_000)?;
    let offset = params.number_cursor()?.unwrap_or(0);
    let job = state.store.job(id).await?;
    job.filter(|job| job.requested_by == me.id).ok_or_else(Problem::not_found)?;
    let mut rejections = state.store.rejections(id, offset, limit as i64 + 1).await?;
    let more = rejections.len() > limit;
    rejections.truncate(limit);
    let next = more.then(|| offset.saturating_add(limit as i64));
    Ok(Json(numbered(named(&state, me.id, &rejections).await?, next)))
}

/// The rejections with those names that the reader may know. The ids came from the request, and the requester may
/// have guessed them.
pub(super) async fn named(
    state: &GatewayState,
    reader: PrincipalId,
    rejections: &[Rejection],
) -> Result<Vec<answer::Rejection>, Problem> {
    if rejections.is_empty() {
        return Ok(Vec::new());
    }
    let (mut secrets, mut principals) = (Vec::new(), Vec::new());
    for rejection in rejections {
        match rejection.subject {
            Subject::Secret(id) => secrets.push(id),
            Subject::Recipient(_, id) => principals.push(id),
        }
    }
    let secrets = state.store.secret_names_seen_by(reader, secrets).await?;
    let principals = state.store.principal_names_seen_by(reader, principals).await?;
    let item = |rejection: &Rejection| match rejection.subject {
        Subject::Secret(id) => answer::Rejection {
            email: None,
            id: id.get(),
            kind: RejectionKind::Secret,
            name: secrets.get(&id).cloned(),
            pairs: rejection.pairs,
            reason: rejection.reason,
            recipient_kind: None,
            username: None,
        },
        Subject::Recipient(kind, id) => {
            let found = principals.get(&id).filter(|found| found.kind == kind);
            answer::Rejection {
                email: found.and_then(|found| found.email.clone()),
                id: id.get(),
                kind: RejectionKind::Recipient,
                name: found.map(|found| found.name.clone()),
                pairs: rejection.pairs,
                reason: rejection.reason,
                recipient_kind: Some(kind),
                username: found.and_then(|found| found.username.clone()),
            }
        }
    };
    Ok(rejections.iter().map(item).collect())
}
