//! The one place where bytes become domain values, and back: messages, stored requests, imports.
//!
//! What is read is read straight into structs (`read.rs`): in the envelope of an event, which is open to extensions,
//! the unknown is read over; everywhere else it is an error, as is a member that comes twice.
//! Errors name the field and never repeat a value, which may be a secret.

mod http;
mod import;
mod json;
mod message;
mod share;

pub use http::answer;
pub use http::person::decode_username;
pub use http::query::{Query, write_cursor, write_secret_cursor};
pub use http::secret::decode_secret_patch;
pub use import::decode_import_line;
pub use json::invalid::{Invalid, Unread};
pub use message::binary::structured;
pub use message::event::{
    JobEvent, RETRY_REASON, decode_event, encode_event, event_type, job_json, rejection_json, rfc3339,
};
pub use message::request::{
    JobRequested, Poison, StoredRequest, decode_request, encode_request, recipients_from_json, replayed_run,
    request_message_id, selection_from_json,
};
pub use message::step::{STEP_TYPE, Step, decode_step, encode_step};
pub use share::decode_share_data;

/// The content type of every message (structured mode of CloudEvents).
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The `type` of a request.
pub const REQUEST_TYPE: &str = "batchshare.job.requested.v1";

/// The `source` of our own messages.
pub const SOURCE: &str = "/batchshare";

/// Whether a text is a W3C `traceparent` of version 00 that is worth keeping.
#[must_use]
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    matches!(parts[..], ["00", trace, span, flags]
        if hex(trace, 32) && hex(span, 16) && hex(flags, 2) && trace.bytes().any(|b| b != b'0') && span.bytes().any(|b| b != b'0'))
}

/// A new trace, for a request that came without one.
#[must_use]
pub fn new_traceparent() -> String {
    let span = uuid::Uuid::new_v4().as_u64_pair().1;
    format!("00-{}-{span:016x}-01", uuid::Uuid::new_v4().simple())
}
