//! `/secrets`: the secrets that a person owns or has access to, listed, read and changed.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::try_unfold;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::contract::answer::{self, Page};
use crate::contract::{decode_secret_patch, write_secret_cursor};
use crate::db::DbError;
use crate::domain::{SecretId, SecretPatch, text};
use crate::gateway::answers;
use crate::gateway::api::array::Array;
use crate::gateway::api::input::{JsonBody, Params, PathIds};
use crate::gateway::auth::Me;
use crate::gateway::limits::turns::{Changing, Reading};
use crate::gateway::problem::Problem;
use crate::gateway::state::GatewayState;
use crate::store::{ClientSecret, Edited, OwnedBy, Sealed, SecretCursor, SecretFilter, SecretSort};

/// Which secrets a listing is for. `further` are the parameters that it has besides.
fn filter(params: &Params, further: &[&str]) -> Result<SecretFilter, Problem> {
    params.only(&[&["search", "tag", "shared", "owner", "ids"], further].concat())?;
    Ok(SecretFilter {
        search: params.checked("search", text::search)?,
        tag: params.checked("tag", text::tag_search)?,
        shared: params.boolean("shared")?,
        owner: params.choice("owner", OWNERS)?,
        ids: params.ids("ids", SecretFilter::MAX_IDS)?,
    })
}

/// The values of the parameter `owner`.
const OWNERS: &[(&str, Option<OwnedBy>)] =
    &[("anybody", None), ("me", Some(OwnedBy::Me)), ("others", Some(OwnedBy::Others))];

/// The values of the parameter `sort`.
const SORTS: &[(&str, SecretSort)] = &[
    ("name", SecretSort::Name),
    ("-name", SecretSort::NameDescending),
    ("id", SecretSort::Id),
    ("-id", SecretSort::IdDescending),
];

/// `GET /secrets`: the secrets that match, page by page.
pub(in crate::gateway) async fn list(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Page<answer::SecretItem>>, Problem> {
    let filter = filter(&params, &["sort", "limit", "cursor"])?;
    let sort = params.choice("sort", SORTS)?;
    let limit = params.limit(50, 200)?;
    let after = params.secret_cursor()?.map(|(id, key)| SecretCursor { id, key });
    let (secrets, next) = state.store.secrets(me.id, filter, sort, after, limit).await?;
    let next_cursor = next.map(|next| write_secret_cursor(next.id, &next.key));
    Ok(Json(Page { items: secrets.into_iter().map(answers::secret_item).collect(), next_cursor }))
}

/// `GET /secrets/ids`: all secrets that match now, as a plain array, for "select all". The array is read in parts and
/// written piece by piece, so that a client that reads slowly keeps a part waiting and no connection to the database.
pub(in crate::gateway) async fn ids(
    State(state): State<GatewayState>,
    Reading(me, turn): Reading,
    params: Params,
) -> Result<Response, Problem> {
    let array = Array::begin(state.store.clone(), me.id, filter(&params, &[])?).await?;
    // An error in the middle cuts the connection. What was sent is then no whole array, and no client takes it for
    // one.
    let pieces = try_unfold((array, turn), |(mut array, turn)| async move {
        Ok::<_, DbError>(array.next().await?.map(|piece| (piece, (array, turn))))
    });
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}

/// `GET /secrets/tags`: the tags of the secrets that match, as a plain array. The page offers them as filters.
pub(in crate::gateway) async fn tags(
    State(state): State<GatewayState>,
    Reading(me, _turn): Reading,
    params: Params,
) -> Result<Json<Vec<String>>, Problem> {
    Ok(Json(state.store.secret_tags(me.id, filter(&params, &[])?).await?))
}

/// `GET /secrets/{id}`: one secret.
pub(in crate::gateway) async fn detail(
    State(state): State<GatewayState>,
    Me(me): Me,
    path: PathIds,
) -> Result<Json<answer::Secret>, Problem> {
    let secret = state.store.secret(me.id, path.id(0)?).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(answers::secret(secret)))
}

/// `PATCH /secrets/{id}`: changes a secret, and answers with the secret as it is now.
pub(in crate::gateway) async fn patch(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    path: PathIds,
    JsonBody(body): JsonBody,
) -> Result<Json<answer::Secret>, Problem> {
    let id = path.id(0)?;
    let patch = decode_secret_patch(&body)?;
    drop(body);
    let sealed = seal(&state, id, &patch)?;
    done(state.store.edit_secret(me.id, id, patch, sealed).await?)?;
    let secret = state.store.secret(me.id, id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(answers::secret(secret)))
}

/// The new client secret under the vault's key: `None` where it does not change, `Some(None)` where it is taken away.
fn seal(state: &GatewayState, id: SecretId, patch: &SecretPatch) -> Result<Option<Option<Sealed>>, Problem> {
    let Some(change) = &patch.client_secret else { return Ok(None) };
    let Some(value) = change else { return Ok(Some(None)) };
    let (bytes, key_id) = state.vault.seal(id, value).map_err(|error| {
        tracing::error!(%error, secret = id.get(), "a client secret was not sealed");
        Problem::internal("the client secret cannot be sealed; the server's log says why")
    })?;
    Ok(Some(Some(Sealed { bytes, key_id })))
}

/// Whether a change was made, and the problem where it was not.
pub(super) fn done(edited: Edited) -> Result<(), Problem> {
    match edited {
        Edited::Done => Ok(()),
        Edited::NotSeen => Err(Problem::not_found()),
        Edited::NotAllowed => Err(Problem::not_allowed("you may view this secret only")),
        Edited::IdentifierTaken => Err(Problem::taken("identifier")),
    }
}

/// `GET /secrets/{id}/client-secret`: the value itself, for whoever may view the secret; null where it has none. The
/// reading is recorded before the value is given, so this has a turn like a change.
pub(in crate::gateway) async fn client_secret(
    State(state): State<GatewayState>,
    Changing(me, _turn): Changing,
    path: PathIds,
) -> Result<Response, Problem> {
    let id = path.id(0)?;
    let vault = state.clone();
    let open = move |sealed: Sealed| vault.vault.open(id, &sealed.bytes, &sealed.key_id);
    let read = state.store.client_secret(me.id, id, open).await.map_err(|error| {
        tracing::warn!(%error, secret = id.get(), "a client secret was not given: its reading was not recorded");
        Problem::not_recorded()
    })?;
    let value = match read {
        ClientSecret::NotSeen => return Err(Problem::not_found()),
        ClientSecret::Empty => return Ok(Json(answer::NoClientSecret::default()).into_response()),
        ClientSecret::Given(value) => value,
        ClientSecret::NotOpened(error) => {
            tracing::error!(%error, secret = id.get(), "a client secret was not opened");
            return Err(Problem::internal("the client secret cannot be opened; the server's log says why"));
        }
    };
    // The answer is written by hand into memory that is wiped once it is sent. A byte becomes six bytes of JSON at
    // the most, so that the memory never has to grow: growing would leave a copy behind.
    let mut body = Zeroizing::new(Vec::with_capacity(value.expose_secret().len() * 6 + 32));
    body.extend_from_slice(b"{\"client_secret\":");
    serde_json::to_writer(&mut *body, value.expose_secret())
        .map_err(|_| Problem::internal("the client secret cannot be written"))?;
    body.push(b'}');
    Ok(([(CONTENT_TYPE, "application/json")], Body::from(Bytes::from_owner(body))).into_response())
}
