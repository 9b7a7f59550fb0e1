//! `/share-jobs/{id}/recipients` and `/share-jobs/{id}/secrets`: what a job is about, by name.

use axum::Json;
use axum::extract::State;

use crate::contract::CountsBody;
use crate::contract::answer;
use crate::contract::answer::Page;
use crate::domain::{Counts, JobId, JobKind, Taken};
use crate::gateway::api::input::{Params, PathIds};
use crate::gateway::api::listing::numbered;
use crate::gateway::limits::turns::Reading;
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::Person;

/// The page that is asked for. Its numbers are places in the list of the job.
struct Asked {
    job: JobId,
    offset: usize,
    limit: usize,
}

impl Asked {
    /// Reads the page, and checks that the job is the person's own.
    async fn of(state: &GatewayState, me: &Person, path: &PathIds, params: &Params) -> Result<Self, Problem> {
        let id: JobId = path.parsed(0)?;
        params.only(&["limit", "cursor"])?;
        let limit = params.limit(100, 1_000)?;
        let offset = usize::try_from(params.number_cursor()?.unwrap_or(0)).unwrap_or(usize::MAX);
        let job = state.store.job(id).await?;
        job.filter(|job| job.requested_by == me.id).ok_or_else(Problem::not_found)?;
        Ok(Self { job: id, offset, limit })
    }

    /// Cuts off the one item too many that was read, and returns where the next page begins.
    fn next<T>(&self, items: &mut Vec<T>) -> Option<i64> {
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        more.then(|| i64::try_from(self.offset.saturating_add(self.limit)).unwrap_or(i64::MAX))
    }
}

/// Only of a share it is recorded what became of each pair.
fn shared(counts: Counts) -> CountsBody {
    CountsBody::of(JobKind::Share, counts, Taken::default())
}

/// `GET /share-jobs/{id}/recipients`, for the requester of the job.
pub(in crate::gateway) async fn recipients(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<Page<answer::JobRecipient>>, Problem> {
    let asked = Asked::of(&state, &me, &path, &params).await?;
    let mut found = state.store.job_recipients(asked.job, asked.offset, asked.limit + 1).await?;
    let next = asked.next(&mut found);
    let ids = found.iter().map(|(of, _)| of.id).collect();
    let names = state.store.principal_names_seen_by(me.id, ids).await?;
    let items = found.iter().map(|(of, counts)| {
        // The id came from the request. It names nobody if it has another kind.
        let known = names.get(&of.id).filter(|known| known.kind == of.kind);
        answer::JobRecipient {
            counts: counts.map(shared),
            email: known.and_then(|known| known.email.clone()),
            id: of.id,
            kind: of.kind,
            name: known.map(|known| known.name.clone()),
            permission: of.permission,
            username: known.and_then(|known| known.username.clone()),
        }
    });
    Ok(Json(numbered(items.collect(), next)))
}

/// `GET /share-jobs/{id}/secrets`, for the requester of the job.
pub(in crate::gateway) async fn secrets(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<Page<answer::JobSecret>>, Problem> {
    let asked = Asked::of(&state, &me, &path, &params).await?;
    let mut found = state.store.job_secrets(asked.job, asked.offset, asked.limit + 1).await?;
    let next = asked.next(&mut found);
    let names = state.store.secret_names_seen_by(me.id, found.iter().map(|(id, _)| *id).collect()).await?;
    let items = found.iter().map(|&(id, counts)| answer::JobSecret {
        counts: counts.map(shared),
        id,
        name: names.get(&id).cloned(),
    });
    Ok(Json(numbered(items.collect(), next)))
}
