//! Errors as problem documents (RFC 9457), which name the field where one is wrong.
//!
//! No value of a request and no text of the database ever stands in such a document.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::contract::{Invalid, Unread, answer};
use crate::db::{DbError, FailureClass};

/// The answer to a request that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The last part of `type`, which is what programs look at.
    name: &'static str,
    title: &'static str,
    detail: String,
    field: Option<String>,
    preview: Option<Box<answer::SharePreview>>,
    retry_after_s: Option<u32>,
}

impl Problem {
    fn new(status: StatusCode, name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, name, title, detail: detail.into(), field: None, preview: None, retry_after_s: None }
    }

    /// Says that the problem is about this field.
    pub(crate) fn of_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// A parameter, a header or a field is wrong. `problem` says how, and is read after the field's name.
    pub(crate) fn invalid(field: impl Into<String>, problem: &str) -> Self {
        let field = field.into();
        let detail = format!("{field} {problem}");
        Self::new(StatusCode::BAD_REQUEST, "invalid_field", "A field is not valid", detail).of_field(field)
    }

    pub(crate) fn not_json(line: usize, column: usize) -> Self {
        let detail = format!("the body is not JSON at line {line}, column {column}");
        Self::new(StatusCode::BAD_REQUEST, "not_json", "The body is not JSON", detail)
    }

    pub(crate) fn unreadable() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "unreadable",
            "The request cannot be read",
            "the body ended too early",
        )
    }

    pub(crate) fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "The request took too long",
            "the body did not arrive in time",
        )
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let detail = format!("the body has more than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large", detail)
    }

    pub(crate) fn not_signed_in(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_signed_in", "Nobody is signed in", detail)
    }

    pub(crate) fn sign_in_refused(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "sign_in_refused", "This person cannot sign in", detail)
    }

    pub(crate) fn not_allowed(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_allowed", "You may not do this", detail)
    }

    pub(crate) fn cross_origin() -> Self {
        let detail = "the request comes from another origin";
        Self::new(StatusCode::FORBIDDEN, "cross_origin", "Another origin may not do this", detail)
    }

    /// There is no such thing, or the person may not see it. Both have the same answer, so that nobody learns what
    /// exists.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", "there is nothing here for you")
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this path does not know the method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
    }

    pub(crate) fn unknown_host() -> Self {
        let detail = "the Host of the request is not on the list gateway.hosts";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", "This server has another name", detail)
            .of_field("Host")
    }

    pub(crate) fn not_json_type() -> Self {
        let detail = "Content-Type must be application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json_type", "Only JSON is understood", detail)
            .of_field("Content-Type")
    }

    pub(crate) fn taken(field: &str) -> Self {
        let detail = format!("{field} is used by another secret");
        Self::new(StatusCode::CONFLICT, "taken", "The value is taken", detail).of_field(field)
    }

    /// The job has ended already, and not by a cancel. The state says how.
    pub(crate) fn job_ended(state: &str) -> Self {
        let detail = format!("the job has ended as {state} and cannot be cancelled any more");
        Self::new(StatusCode::CONFLICT, "job_ended", "The job has ended", detail)
    }

    /// Somebody held the job for longer than a cancel waits.
    pub(crate) fn job_held() -> Self {
        let detail =
            "the job is held by another transaction; it was not cancelled and nothing was done, try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "job_held", "The job is held at the moment", detail)
            .retry_after(2)
    }

    /// The state of a job does not allow what is asked for about it. `name` says why.
    pub(crate) fn conflict(name: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, name, title, detail)
    }

    /// A share would do something else than was expected. It was not accepted.
    pub(crate) fn not_as_expected(preview: answer::SharePreview) -> Self {
        let detail =
            "the share would not do what expect says; it was not accepted, and preview says what it would do";
        let problem = Self::new(StatusCode::CONFLICT, "not_as_expected", "Not as expected", detail);
        Self { preview: Some(Box::new(preview)), ..problem.of_field("expect") }
    }

    /// There was no time to find out whether a share would do what was expected. It was not accepted.
    pub(crate) fn not_checked() -> Self {
        let detail = "there was no time to find out whether the share would do what expect says; it was not accepted, try \
                      again, or without expect";
        Self::new(StatusCode::CONFLICT, "not_checked", "Not checked", detail).of_field("expect")
    }

    /// The database is being brought up to date, and this cannot be done before it is.
    pub(crate) fn not_ready(detail: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready yet", detail).retry_after(30)
    }

    pub(crate) fn over_limit(field: &str, detail: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "over_limit", "The job is too large", detail)
            .of_field(field)
    }

    pub(crate) fn nothing_matches() -> Self {
        let detail = "no secret that you may share matches secrets.all";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "nothing_matches", "There is nothing to share", detail)
            .of_field("secrets.all")
    }

    pub(crate) fn key_conflict() -> Self {
        let detail = "this Idempotency-Key was used for another request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key_conflict", "The key was used before", detail)
            .of_field("Idempotency-Key")
    }

    pub(crate) fn too_many_jobs(limit: i64) -> Self {
        let detail = format!("you have {limit} unfinished jobs, which is the most at a time");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_jobs", "Too many unfinished jobs", detail)
            .retry_after(10)
    }

    /// This person has too many requests in hand. Those of other people do not wait for them.
    pub(crate) fn too_many_at_once() -> Self {
        let detail = "you have as many requests in hand as one person may; wait for some to be answered";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests at once", detail)
            .retry_after(2)
    }

    pub(crate) fn too_many_streams(limit: usize) -> Self {
        let detail = format!("you have {limit} event streams open, which is the most at a time");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", "Too many event streams", detail)
            .retry_after(30)
    }

    pub(crate) fn too_many_exports(limit: usize) -> Self {
        let detail = format!("you read {limit} exports, which is the most at a time");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_exports", "Too many exports", detail)
            .retry_after(30)
    }

    pub(crate) fn too_much_an_hour(what: &str, limit: u64, seconds: u32) -> Self {
        let detail = format!("one person may ask for {limit} {what} in an hour; wait, or ask for less");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_much_an_hour", "Too much in this hour", detail)
            .retry_after(seconds)
    }

    pub(crate) fn busy_with_bodies() -> Self {
        let detail = "too many large requests are being read; nothing was read of this one, try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Busy at the moment", detail).retry_after(5)
    }

    /// The gateway stops, and the body of the request has not arrived yet.
    pub(crate) fn stopping() -> Self {
        let detail = "this server is stopping; nothing was done, try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Stopping", detail).retry_after(1)
    }

    pub(crate) fn unavailable() -> Self {
        let detail = "the database does not answer or is busy; nothing is lost, try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available at the moment", detail)
            .retry_after(5)
    }

    /// What has to be recorded cannot be, so it was not done.
    pub(crate) fn not_recorded() -> Self {
        let detail = "a reading of a client secret is recorded before the value is given, and the database takes no \
                      record now; the value is not given, try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The reading cannot be recorded", detail)
            .retry_after(5)
    }

    /// The program is starting and waits for its servers. `/readyz` says for which.
    pub(crate) fn starting() -> Self {
        let detail = "the program is starting and waits for its servers; nothing is lost, try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "starting", "Not started yet", detail).retry_after(5)
    }

    /// Something is wrong in this program. The caller has logged what.
    pub(crate) fn internal(detail: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong", detail)
    }

    /// Why nobody was signed in; `None` where the problem is another one.
    pub(crate) fn refused_sign_in(&self) -> Option<&str> {
        matches!(self.name, "not_signed_in" | "sign_in_refused").then_some(self.detail.as_str())
    }
}

impl From<Invalid> for Problem {
    fn from(error: Invalid) -> Self {
        Self::invalid(error.field, &error.problem)
    }
}

impl From<Unread> for Problem {
    fn from(error: Unread) -> Self {
        match error {
            Unread::NotJson { line, column } => Self::not_json(line, column),
            Unread::Invalid(invalid) => invalid.into(),
        }
    }
}

/// Logs the error, because the gateway is the boundary that handles it: the answer does not repeat it.
impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match error.class() {
            FailureClass::Outage => {
                tracing::warn!(%error, "a request was not served: the database is away");
                Self::unavailable()
            }
            FailureClass::Transient if error.is_busy() => {
                tracing::warn!(%error, "a request was not served: the database is busy");
                Self::unavailable()
            }
            FailureClass::Transient => {
                tracing::error!(%error, "a request failed");
                Self::internal("the request failed; the server's log says why")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = answer::Problem {
            detail: self.detail,
            field: self.field,
            preview: self.preview,
            status: self.status.as_u16(),
            title: self.title,
            kind: format!("urn:batchshare:problem:{}", self.name),
        };
        let mut response = (self.status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // HTTP requires this header with a 401. Its scheme is one that no browser knows, so that none asks for a
            // password.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Batchshare"));
        }
        response
    }
}
