//! Dead letters as `--json` prints them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::contract::rfc3339;
use crate::domain::{DeadReason, DeadState, JobId};
use crate::store::{DeadItem, KeptLetter};

/// A dead letter in a listing.
#[derive(Serialize)]
pub(super) struct ItemBody {
    bytes: u64,
    detail: String,
    id: i64,
    job_id: Option<JobId>,
    message_id: Option<String>,
    reason: DeadReason,
    received_at: String,
    state: DeadState,
}

impl From<DeadItem> for ItemBody {
    fn from(item: DeadItem) -> Self {
        Self {
            bytes: item.bytes,
            detail: item.detail,
            id: item.id,
            job_id: item.job_id,
            message_id: item.message_id,
            reason: item.reason,
            received_at: rfc3339(item.received_at),
            state: item.state,
        }
    }
}

/// A dead letter with what it consists of.
#[derive(Serialize)]
pub(super) struct LetterBody {
    #[serde(flatten)]
    item: ItemBody,
    #[serde(flatten)]
    content: Content,
    headers: BTreeMap<String, String>,
    origin: &'static str,
    run: Option<i32>,
    state_at: Option<String>,
    user_id: Option<String>,
}

/// The body of a letter.
#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Text {
        body: String,
    },
    /// It is no UTF-8.
    Bytes {
        body_base64: String,
    },
    /// A discard has freed it. `body` is null.
    Discarded {
        body: (),
        discarded_sha256: String,
    },
}

impl From<KeptLetter> for LetterBody {
    fn from(letter: KeptLetter) -> Self {
        let content = match (letter.freed, String::from_utf8(letter.body)) {
            (Some(discarded_sha256), _) => Content::Discarded { body: (), discarded_sha256 },
            (None, Ok(body)) => Content::Text { body },
            (None, Err(no_text)) => Content::Bytes { body_base64: STANDARD.encode(no_text.as_bytes()) },
        };
        Self {
            content,
            headers: letter.headers.into_iter().collect(),
            origin: letter.item.origin.as_str(),
            run: letter.item.run,
            state_at: letter.item.state_at.map(rfc3339),
            user_id: letter.user_id,
            item: letter.item.into(),
        }
    }
}

/// What became of a letter that was to be replayed or discarded.
#[derive(Serialize)]
pub(super) struct SettledBody {
    #[serde(flatten)]
    letter: Named,
    result: ResultBody,
}

/// A letter that was named.
#[derive(Serialize)]
#[serde(untagged)]
enum Named {
    Kept(ItemBody),
    Absent { id: i64 },
}

impl SettledBody {
    pub(super) fn new(id: i64, item: Option<DeadItem>, result: ResultBody) -> Self {
        let letter = item.map_or(Named::Absent { id }, |item| Named::Kept(item.into()));
        Self { letter, result }
    }
}

/// What was done with a letter.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResultBody {
    /// Its job goes on as this run.
    Reopened {
        job_id: JobId,
        run: i32,
    },
    /// Its message was sent again.
    Sent,
    Discarded,
    /// Nothing was done, for this reason.
    Refused(String),
}
