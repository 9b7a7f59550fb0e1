//! Taking a request's path, query and body, which `contract` then reads. Errors name what is wrong and repeat no
//! value.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::request::Parts;
use futures_util::StreamExt;
use zeroize::Zeroizing;

use crate::contract;
use crate::gateway::limits::turns::{BodyTurn, SMALL_BODY, Turn};
use crate::gateway::problem::Problem;
use crate::gateway::serving::Caller;
use crate::gateway::state::GatewayState;

/// How long a whole body may take to arrive. A body that trickles in would hold its connection otherwise.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// How many times as long as allowed a body may be before its sender is cut off.
const PATIENCE: usize = 32;

/// The variable parts of a path, in order. A part that is not an id names nothing, and the answer is 404.
pub(crate) struct PathIds(Vec<String>);

impl PathIds {
    /// The part at `index` as the id of a secret, a principal or a notice. Only one spelling of a number is an id.
    pub(crate) fn id<T: TryFrom<i64>>(&self, index: usize) -> Result<T, Problem> {
        let text = self.0.get(index).ok_or_else(Problem::not_found)?;
        let number: i64 = text.parse().map_err(|_| Problem::not_found())?;
        if number.to_string() != *text {
            return Err(Problem::not_found());
        }
        T::try_from(number).map_err(|_| Problem::not_found())
    }

    /// The part at `index` as an id that is not a number.
    pub(crate) fn parsed<T: FromStr>(&self, index: usize) -> Result<T, Problem> {
        self.0.get(index).and_then(|text| text.parse().ok()).ok_or_else(Problem::not_found)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        Ok(Self(params.iter().map(|(_, value)| value.to_owned()).collect()))
    }
}

/// The parameters of the query, as `contract` reads them.
pub(crate) struct Params(contract::Query);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid("query", "cannot be read"))?;
        Ok(Self(contract::Query::new(pairs)?))
    }
}

impl std::ops::Deref for Params {
    type Target = contract::Query;

    fn deref(&self) -> &contract::Query {
        &self.0
    }
}

/// A body of JSON, unread. It may hold a client secret, and is wiped when it is dropped.
pub(crate) struct JsonBody(pub(crate) BodyBytes);

/// The bytes of a body and, where there are many, the permission to hold them. A route drops them as soon as it has
/// read them.
pub(crate) struct BodyBytes {
    bytes: Zeroizing<Vec<u8>>,
    _turn: Option<BodyTurn>,
}

impl std::ops::Deref for BodyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl FromRequest<GatewayState> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &GatewayState) -> Result<Self, Problem> {
        let caller = request.extensions().get::<Caller>().cloned();
        let reading = async {
            let turn = request.extensions().get::<Arc<Turn>>().cloned();
            let length = length(&request);
            // Whoever has not signed in has no turn, and needs no large body.
            let limit =
                if turn.is_some() { state.max_body_bytes } else { SMALL_BODY.min(state.max_body_bytes) };
            let held = match turn {
                Some(turn) if length.is_none_or(|length| length > SMALL_BODY) => {
                    Some(state.turns.to_read_a_body(&turn, length.unwrap_or(limit).min(limit)).await?)
                }
                _ => None,
            };
            let read = tokio::time::timeout(BODY_DEADLINE, read(request, length, limit));
            read.await.map_err(|_| Problem::too_slow())?.map(|bytes| (bytes, held))
        };
        let stopping = async {
            match caller {
                Some(caller) => caller.stopped().await,
                None => std::future::pending().await,
            }
        };
        let (bytes, turn) = tokio::select! {
            biased;
            read = reading => read?,
            () = stopping => return Err(Problem::stopping()),
        };
        Ok(Self(BodyBytes { bytes, _turn: turn }))
    }
}

/// The length that the request announces; `None` where the body comes in chunks, or where there is none.
fn length(request: &Request) -> Option<usize> {
    request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Reads a body of `limit` bytes at the most. A longer body is read on for a while and thrown away: if we closed the
/// connection while the client still sends, the client would never read our answer.
async fn read(request: Request, length: Option<usize>, limit: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    if length.is_some_and(|length: usize| length > limit) && request.headers().contains_key(EXPECT) {
        // The client waits for our permission and has sent nothing yet, so that it reads the answer at once.
        return Err(Problem::too_large(limit));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.unwrap_or(0).min(limit)));
    let mut seen = 0;
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::unreadable())?;
        seen += chunk.len();
        if seen > limit.saturating_mul(PATIENCE) {
            break;
        }
        if seen <= limit {
            bytes.extend_from_slice(&chunk);
        }
    }
    if seen > limit { Err(Problem::too_large(limit)) } else { Ok(bytes) }
}
