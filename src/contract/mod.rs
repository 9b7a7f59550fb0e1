//! The one place where bytes become domain values and domain values become bytes: messages, HTTP bodies, stored
//! requests, lines of an import.
//!
//! Documents are structs, read and written by serde's derive. In the envelope of an event, which is open to
//! extensions, an unknown member is read over; in each other document it is an error, as is a member that comes
//! twice. Errors name the field and never repeat a value, which may be a secret.

mod export;
mod http;
mod import;
mod job;
mod json;
mod message;
mod secret;
mod share;
mod time;
mod title;

pub use export::{ExportFormat, ExportText};
pub use http::answer;
pub use http::person::decode_username;
pub use http::query::{Query, write_cursor, write_pair_cursor, write_secret_cursor};
pub use http::secret::decode_secret_patch;
pub use import::decode_import_line;
pub use job::{CountsBody, EndedByBody, JobBody, RETRY_REASON, RejectionBody, RetryBody};
pub use json::invalid::{Invalid, Unread};
pub use message::asked::{Asked, Poison, decode_asked};
pub use message::binary::structured;
pub use message::event::{JobEvent, decode_event, encode_event, event_type};
pub use message::names::{
    CANCEL_TYPE, CONTENT_TYPE, REQUEST_TYPE, SOURCE, STEP_TYPE, UNDO_TYPE, UNSHARE_TYPE,
};
pub use message::order::Order;
pub use message::request::{
    JobRequested, StoredRequest, encode_request, replayed_run, request_message_id, rest_digest,
    rest_recipients, undo_digest,
};
pub use message::step::{Step, decode_step, encode_step};
pub use message::trace::{is_traceparent, new_traceparent};
pub use share::{
    ShareAsked, decode_rest_data, decode_share_data, decode_unshare_data, recipients_from_json,
    selection_from_json,
};
pub use time::rfc3339;
pub use title::{FirstRecipientBody, FirstSecretBody, TITLE_CHARS, first_recipients, first_secrets};
