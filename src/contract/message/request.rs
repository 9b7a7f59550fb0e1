//! The request for a job, `batchshare.job.requested.v1`: how it is read and checked, written, and stored.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::contract::json::invalid::{Invalid, Unread};
use crate::contract::json::kinds::MUST_BE_A_UUID;
use crate::contract::message::envelope::{Data, Envelope};
use crate::contract::message::named::{Named, named};
use crate::contract::message::names::{DATA_CONTENT_TYPE, REQUEST_TYPE, SPECVERSION};
use crate::contract::message::trace::is_traceparent;
use crate::contract::message::written::Written;
use crate::contract::share::request_data;
use crate::contract::time::rfc3339;
use crate::domain::hex::hex;
use crate::domain::{
    DeadReason, JobId, Permission, PrincipalId, PrincipalKind, Recipient, SecretId, Selection, ShareRequest,
};

/// A request that can be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRequested {
    /// The event's `id`.
    pub job_id: JobId,
    pub request: ShareRequest,
    /// The trace that the publisher put into the event.
    pub traceparent: Option<String>,
}

/// A message that can never be worked on, and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Poison {
    pub reason: DeadReason,
    /// What is wrong and where. It never repeats a value.
    pub detail: String,
    /// The event's `id`, where it is one.
    pub job_id: Option<JobId>,
    /// `data.requested_by`, where it is an id.
    pub requested_by: Option<PrincipalId>,
}

impl Poison {
    /// The job that fails because of this message, if the message names one. A job is made for it only where there is
    /// none of that id.
    #[must_use]
    pub fn failed_job(&self) -> Option<(JobId, PrincipalId)> {
        match self.reason {
            DeadReason::NotCloudevent | DeadReason::InvalidField => self.job_id.zip(self.requested_by),
            _ => None,
        }
    }
}

/// Reads a request. Only the body counts, not the headers. Unknown members of the envelope are read over, and those
/// of the data are refused.
///
/// # Errors
/// Why the message has to become a dead letter.
pub fn decode_request(body: &[u8], max_bytes: usize) -> Result<JobRequested, Poison> {
    if body.len() > max_bytes {
        let detail = format!("the message has {} bytes, more than the {max_bytes} allowed", body.len());
        return Err(Poison { reason: DeadReason::TooLarge, detail, job_id: None, requested_by: None });
    }
    read(body).map_err(|fault| match named(body) {
        // That a body is not JSON comes before any other fault, wherever the reader stopped, because then nothing
        // that the body names can be relied on.
        Err(error) => {
            let detail = error.to_string();
            Poison { reason: DeadReason::NotJson, detail, job_id: None, requested_by: None }
        }
        Ok(Named { job_id, requested_by }) => {
            Poison { reason: fault.reason, detail: fault.detail, job_id, requested_by }
        }
    })
}

/// Why a message is no request.
struct Fault {
    reason: DeadReason,
    detail: String,
}

fn fault(reason: DeadReason, detail: impl ToString) -> Fault {
    Fault { reason, detail: detail.to_string() }
}

fn read(body: &[u8]) -> Result<JobRequested, Fault> {
    let not_an_event = |error: Invalid| fault(DeadReason::NotCloudevent, error);
    let invalid = |error: Invalid| fault(DeadReason::InvalidField, error);
    let mut event = Envelope::read(body).map_err(|error| fault(DeadReason::NotCloudevent, error))?;
    let specversion = event.required("specversion").map_err(not_an_event)?;
    let kind = event.required("type").map_err(not_an_event)?;
    if specversion != SPECVERSION {
        return Err(fault(DeadReason::UnknownVersion, format!("specversion is not {SPECVERSION}")));
    }
    if kind != REQUEST_TYPE {
        return Err(match kind.strip_prefix("batchshare.job.requested.v") {
            Some(version) if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) => {
                fault(DeadReason::UnknownVersion, format!("type is version {version:.20}, known is 1"))
            }
            _ => fault(DeadReason::UnknownType, format!("type is not {REQUEST_TYPE}")),
        });
    }
    event.required("source").map_err(not_an_event)?;
    let job_id = event.required("id").map_err(not_an_event)?;
    let data = event.data().map_err(not_an_event)?;
    let job_id = job_id.parse().map_err(|()| invalid(Invalid::new("id", MUST_BE_A_UUID)))?;
    let request = request_data(data.bytes()).map_err(|error| match (error, &data) {
        (Unread::NotJson { line, column }, Data::Decoded(_)) => {
            let problem = format!("is not JSON at line {line} column {column}");
            invalid(Invalid::new("data_base64", problem))
        }
        (error, _) => fault(DeadReason::InvalidField, error),
    })?;
    let traceparent = event.optional("traceparent").filter(|text| is_traceparent(text));
    Ok(JobRequested { job_id, request, traceparent })
}

/// Writes the message of a request that came over HTTP or from the command line.
#[must_use]
pub fn encode_request(job_id: JobId, request: &ShareRequest, traceparent: &str, now_ms: i64) -> Vec<u8> {
    let data = RequestBody {
        recipients: recipients_body(&request.recipients),
        requested_by: request.requested_by,
        secrets: SelectionBody::of(&request.selection),
    };
    let id = job_id.to_string();
    let event = Written {
        datacontenttype: Some(DATA_CONTENT_TYPE),
        time: Some(rfc3339(now_ms)),
        ..Written::new(&id, REQUEST_TYPE, traceparent, data)
    };
    event.bytes()
}

/// The `message_id` of a request that we publish. It is the job's id, from the second run on with the run behind it, so
/// that a dead letter of an older run is recognised.
#[must_use]
pub fn request_message_id(job: JobId, run: i32) -> String {
    if run > 1 { format!("{job}/{run}") } else { job.to_string() }
}

/// The job and the run of a request that was replayed. `None` for the first run, and for a message that is not ours.
#[must_use]
pub fn replayed_run(message_id: &str) -> Option<(JobId, i32)> {
    let (job, run) = message_id.split_once('/')?;
    Some((job.parse().ok()?, run.parse().ok().filter(|run| *run > 1)?))
}

// The fields of these stand in the order of their names, on which the digests of stored requests rest.

#[derive(Serialize)]
struct RequestBody<'a> {
    recipients: Vec<RecipientBody>,
    requested_by: PrincipalId,
    secrets: SelectionBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum SelectionBody<'a> {
    Ids(&'a [SecretId]),
    All(AllBody<'a>),
}

#[derive(Serialize)]
struct AllBody<'a> {
    #[serde(skip_serializing_if = "<[SecretId]>::is_empty")]
    except: &'a [SecretId],
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
}

#[derive(Serialize)]
struct RecipientBody {
    id: PrincipalId,
    kind: PrincipalKind,
    permission: Permission,
}

impl<'a> SelectionBody<'a> {
    fn of(selection: &'a Selection) -> Self {
        match selection {
            Selection::Ids(ids) => Self::Ids(ids),
            Selection::All(filter) => Self::All(AllBody {
                except: &filter.except,
                search: filter.search.as_deref(),
                shared: filter.shared,
                tag: filter.tag.as_deref(),
            }),
        }
    }
}

fn recipients_body(recipients: &[Recipient]) -> Vec<RecipientBody> {
    let body = |&Recipient { kind, id, permission }: &Recipient| RecipientBody { id, kind, permission };
    recipients.iter().map(body).collect()
}

/// Texts, numbers and lists of them cannot fail to be written.
fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A normalised request as its job's row keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// `{"ids":[…]}` or `{"all":{…}}`.
    pub selection: String,
    /// The array of recipients.
    pub recipients: String,
    /// SHA-256 of requester, selection and recipients in hexadecimal. Two requests are the same if this is.
    pub digest: String,
}

impl StoredRequest {
    #[must_use]
    pub fn of(request: &ShareRequest) -> Self {
        let selection = text_of(&SelectionBody::of(&request.selection));
        let recipients = text_of(&recipients_body(&request.recipients));
        let mut hash = Sha256::new();
        for part in [&request.requested_by.to_string(), &selection, &recipients] {
            hash.update(part.as_bytes());
            hash.update(b"\n");
        }
        let digest = hex(&hash.finalize());
        Self { selection, recipients, digest }
    }
}
