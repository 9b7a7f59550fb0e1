//! The secrets that I own or can reach: listed, read, changed, and who else has access.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::try_unfold;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::contract::{decode_secret_patch, rfc3339, write_cursor, write_secret_cursor};
use crate::db::DbError;
use crate::domain::{PrincipalId, SecretId, SecretPatch, text};
use crate::gateway::GatewayState;
use crate::gateway::api::array::Array;
use crate::gateway::api::input::{JsonBody, Params, PathIds};
use crate::gateway::auth::Me;
use crate::gateway::limits::turns::{Changing, Reading};
use crate::gateway::problem::Problem;
use crate::store::{
    Edited, GrantItem, OwnedBy, Sealed, SecretCursor, SecretDetail, SecretFilter, SecretItem, SecretSort,
};

/// A page of grants. Larger than others: whoever looks wants to see everybody.
const GRANTS: usize = 1_000;

fn filter(params: &Params) -> Result<SecretFilter, Problem> {
    Ok(SecretFilter {
        search: params.checked("search", text::search)?,
        tag: params.checked("tag", text::tag_search)?,
        shared: params.boolean("shared")?,
        owner: params.choice("owner", OWNERS)?,
        ids: params.ids("ids", SecretFilter::MAX_IDS)?,
    })
}

const OWNERS: &[(&str, Option<OwnedBy>)] =
    &[("anybody", None), ("me", Some(OwnedBy::Me)), ("others", Some(OwnedBy::Others))];

const SORTS: &[(&str, SecretSort)] = &[
    ("name", SecretSort::Name),
    ("-name", SecretSort::NameDescending),
    ("id", SecretSort::Id),
    ("-id", SecretSort::IdDescending),
];

pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let filter = filter(&params)?;
    let sort = params.choice("sort", SORTS)?;
    let limit = params.limit(50, 200)?;
    let after = params.secret_cursor()?.map(|(id, key)| SecretCursor { id, key });
    let (secrets, next) = state.store.secrets(me.id, filter, sort, after, limit).await?;
    let items: Vec<Value> = secrets.iter().map(item_json).collect();
    Ok(Json(json!({"items": items, "next_cursor": next.map(|next| write_secret_cursor(next.id, &next.key))})))
}

/// Those that match now, all of them: a plain array, for "select all". It is read in parts and written piece by
/// piece: whoever reads slowly keeps a part waiting, and no connection to the database.
pub(in crate::gateway) async fn ids(
    State(state): State<GatewayState>,
    Reading(me, turn): Reading,
    params: Params,
) -> Result<Response, Problem> {
    let array = Array::begin(state.store.clone(), me.id, filter(&params)?).await?;
    // An error in the middle cuts the connection: what was written is no array, and nobody takes it for one.
    let pieces = try_unfold((array, turn), |(mut array, turn)| async move {
        Ok::<_, DbError>(array.next().await?.map(|piece| (piece, (array, turn))))
    });
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}

/// The tags of those that match, as a plain array: what a filter can offer.
pub(in crate::gateway) async fn tags(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Vec<String>>, Problem> {
    Ok(Json(state.store.secret_tags(me.id, filter(&params)?).await?))
}

pub(in crate::gateway) async fn detail(
    State(state): State<GatewayState>,
    Me(me): Me,
    path: PathIds,
) -> Result<Json<Value>, Problem> {
    let secret = state.store.secret(me.id, path.id(0)?).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(detail_json(&secret)))
}

/// Changes a secret and answers with what it is now.
pub(in crate::gateway) async fn patch(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    path: PathIds,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let id = path.id(0)?;
    let patch = decode_secret_patch(&body)?;
    drop(body);
    let sealed = seal(&state, id, &patch)?;
    answer(state.store.edit_secret(me.id, id, patch, sealed).await?)?;
    let secret = state.store.secret(me.id, id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(detail_json(&secret)))
}

fn seal(state: &GatewayState, id: SecretId, patch: &SecretPatch) -> Result<Option<Option<Sealed>>, Problem> {
    let Some(change) = &patch.client_secret else { return Ok(None) };
    let Some(value) = change else { return Ok(Some(None)) };
    let (bytes, key_id) = state.vault.seal(id, value).map_err(|error| {
        tracing::error!(%error, secret = id.get(), "a client secret was not sealed");
        Problem::internal("the client secret cannot be sealed; the server's log says why")
    })?;
    Ok(Some(Some(Sealed { bytes, key_id })))
}

fn answer(edited: Edited) -> Result<(), Problem> {
    match edited {
        Edited::Done => Ok(()),
        Edited::NotSeen => Err(Problem::not_found()),
        Edited::NotAllowed => Err(Problem::not_allowed("you may view this secret only")),
        Edited::IdentifierTaken => Err(Problem::taken("identifier")),
    }
}

/// The value itself, for whoever may view the secret; null where it has none.
pub(in crate::gateway) async fn client_secret(
    State(state): State<GatewayState>,
    Me(me): Me,
    path: PathIds,
) -> Result<Response, Problem> {
    let id = path.id(0)?;
    let sealed = state.store.client_secret(me.id, id).await?.ok_or_else(Problem::not_found)?;
    let Some(sealed) = sealed else {
        return Ok(Json(json!({"client_secret": null})).into_response());
    };
    let value = state.vault.open(id, &sealed.bytes, &sealed.key_id).map_err(|error| {
        tracing::error!(%error, secret = id.get(), "a client secret was not opened");
        Problem::internal("the client secret cannot be opened; the server's log says why")
    })?;
    // Written by hand into memory that is wiped once it is sent. JSON makes a byte six at the most.
    let mut body = Zeroizing::new(Vec::with_capacity(value.expose_secret().len() * 6 + 32));
    body.extend_from_slice(b"{\"client_secret\":");
    serde_json::to_writer(&mut *body, value.expose_secret())
        .map_err(|_| Problem::internal("the client secret cannot be written"))?;
    body.push(b'}');
    Ok(([(CONTENT_TYPE, "application/json")], Body::from(Bytes::from_owner(body))).into_response())
}

/// Who has access by a grant. Seen by whoever sees the secret.
pub(in crate::gateway) async fn grants(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    path: PathIds,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let id = path.id(0)?;
    let limit = params.limit(GRANTS, GRANTS)?;
    let after = params.number_cursor()?.unwrap_or(0);
    let grants = state.store.grants_of(me.id, id, after, limit as i64 + 1).await?;
    let mut grants = grants.ok_or_else(Problem::not_found)?;
    let more = grants.len() > limit;
    grants.truncate(limit);
    let next = grants.last().filter(|_| more).map(|last| write_cursor(&last.principal.to_string()));
    let items: Vec<Value> = grants.iter().map(grant_json).collect();
    Ok(Json(json!({"items": items, "next_cursor": next})))
}

/// Takes access back.
pub(in crate::gateway) async fn revoke(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    path: PathIds,
) -> Result<StatusCode, Problem> {
    let (secret, principal): (SecretId, PrincipalId) = (path.id(0)?, path.id(1)?);
    answer(state.store.revoke(me.id, secret, principal).await?)?;
    tracing::info!(secret = secret.get(), principal = principal.get(), by = me.id.get(), "access taken back");
    Ok(StatusCode::NO_CONTENT)
}

fn item_json(item: &SecretItem) -> Value {
    json!({
        "id": item.id,
        "name": item.name,
        "url": item.url,
        "identifier": item.identifier,
        "tags": item.tags,
        "shared": item.shared,
        "owner": {"id": item.owner, "name": item.owner_name, "username": item.owner_username},
        "disabled": item.disabled,
        "permission": item.reach.as_str(),
        "shareable": item.reach.may_edit() && !item.disabled,
    })
}

fn detail_json(secret: &SecretDetail) -> Value {
    json!({
        "id": secret.id,
        "name": secret.name,
        "url": secret.url,
        "client_id": secret.client_id,
        "has_client_secret": secret.has_client_secret,
        "identifier": secret.identifier,
        "method": secret.method,
        "tags": secret.tags,
        "notes": secret.notes,
        "shared": secret.shared,
        "owner": {"id": secret.owner, "name": secret.owner_name, "username": secret.owner_username},
        "disabled": secret.disabled,
        "permission": secret.reach.as_str(),
        "shareable": secret.reach.may_edit() && !secret.disabled,
        "updated_at": rfc3339(secret.updated_at),
    })
}

fn grant_json(grant: &GrantItem) -> Value {
    json!({
        "principal_id": grant.principal,
        "kind": grant.kind,
        "name": grant.name,
        "username": grant.username,
        "email": grant.email,
        "permission": grant.permission,
        "job_id": grant.job,
        "granted_at": rfc3339(grant.granted_at),
    })
}
