//! Reading requests: path, query and body, with errors that name what is wrong and repeat no value.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use zeroize::Zeroizing;

use super::GatewayState;
use super::problem::Problem;
use super::serving::Caller;
use super::turns::{BodyTurn, SMALL_BODY, Turn};
use crate::domain::text::TextError;

/// A body that trickles in holds a connection no longer.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// How many times the limit a body may be long before its sender is cut off.
const PATIENCE: usize = 32;

/// The variable parts of a path, in order. What is not an id names nothing: 404.
pub(crate) struct PathIds(Vec<String>);

impl PathIds {
    /// The part at `index` as the id of a secret, a principal or a notice, in its one spelling.
    pub(crate) fn id<T: TryFrom<i64>>(&self, index: usize) -> Result<T, Problem> {
        let text = self.0.get(index).ok_or_else(Problem::not_found)?;
        let number: i64 = text.parse().map_err(|_| Problem::not_found())?;
        if number.to_string() != *text {
            return Err(Problem::not_found());
        }
        T::try_from(number).map_err(|_| Problem::not_found())
    }

    /// The part at `index` as something that is not a number.
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

/// The query's parameters. An empty one is like none; unknown ones are ignored.
pub(crate) struct Params(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid("query", "cannot be read"))?;
        let mut params = HashMap::new();
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            if params.contains_key(&name) {
                return Err(Problem::invalid(format!("{name:.100}"), "came more than once"));
            }
            params.insert(name, value);
        }
        Ok(Self(params))
    }
}

impl Params {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A text that passes this check; empty where it is not there.
    pub(crate) fn checked(
        &self,
        name: &str,
        check: fn(&str) -> Result<(), TextError>,
    ) -> Result<String, Problem> {
        let text = self.get(name).unwrap_or_default();
        check(text).map_err(|error| Problem::invalid(name, &error.to_string()))?;
        Ok(text.to_owned())
    }

    /// Ids with commas between them; none where it is not there.
    pub(crate) fn ids<T: TryFrom<i64>>(&self, name: &str, most: usize) -> Result<Vec<T>, Problem> {
        let Some(text) = self.get(name) else { return Ok(Vec::new()) };
        let read = |part: &str| part.parse().ok().and_then(|number: i64| T::try_from(number).ok());
        let ids: Option<Vec<T>> = text.split(',').map(read).collect();
        ids.filter(|ids| ids.len() <= most).ok_or_else(|| {
            Problem::invalid(name, &format!("must be at most {most} ids with commas between them"))
        })
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Problem::invalid(name, "must be true or false")),
        }
    }

    /// One of these names; the first where it is not there.
    pub(crate) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, Problem> {
        let wanted = self.get(name);
        let found = match wanted {
            None => choices.first(),
            Some(wanted) => choices.iter().find(|(choice, _)| *choice == wanted),
        };
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            Problem::invalid(name, &format!("must be one of {}", names.join(", ")))
        })
    }

    /// `limit`: how many items a page has. Asking for more than `most` gets `most`.
    pub(crate) fn limit(&self, default: usize, most: usize) -> Result<usize, Problem> {
        match self.get("limit").map(str::parse::<usize>) {
            None => Ok(default),
            Some(Ok(limit)) if limit > 0 => Ok(limit.min(most)),
            Some(_) => Err(Problem::invalid("limit", "must be a number from 1 on")),
        }
    }

    /// `cursor` as [`write_cursor`] made it.
    pub(crate) fn cursor(&self) -> Result<Option<String>, Problem> {
        let Some(text) = self.get("cursor") else { return Ok(None) };
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|text| !text.contains('\0'))
            .map(Some)
            .ok_or_else(bad_cursor)
    }

    /// A cursor that is a number.
    pub(crate) fn number_cursor(&self) -> Result<Option<i64>, Problem> {
        self.cursor()?
            .map(|text| text.parse().ok().filter(|number| *number >= 0).ok_or_else(bad_cursor))
            .transpose()
    }
}

/// Where the next page begins, as an opaque text.
pub(crate) fn write_cursor(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

pub(crate) fn bad_cursor() -> Problem {
    Problem::invalid("cursor", "is not one that this listing gave")
}

/// A body of JSON as it came, for `wire` to read. It is wiped when it is dropped: it may hold a client secret.
pub(crate) struct JsonBody(pub(crate) BodyBytes);

/// The bytes, and leave to hold them, where there are many: drop them once they are read.
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
            // Whoever is nobody yet has no turn, and nothing large to say.
            let limit =
                if turn.is_some() { state.max_body_bytes } else { SMALL_BODY.min(state.max_body_bytes) };
            let held = match turn {
                Some(turn) if length.is_none_or(|length| length > SMALL_BODY) => {
                    Some(state.turns().to_read_a_body(&turn, length.unwrap_or(limit).min(limit)).await?)
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

/// How long the body says to be. None: it comes in chunks, or there is none.
fn length(request: &Request) -> Option<usize> {
    request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Reads a body of `limit` bytes at the most. A longer one is read on for a while and thrown away:
/// whoever is still sending would lose the connection and never hear why.
async fn read(request: Request, length: Option<usize>, limit: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    if length.is_some_and(|length: usize| length > limit) && request.headers().contains_key(EXPECT) {
        // It waits for leave to send.
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
