//! `batchshare.job.requested.v1`: from bytes to a validated request, and how a request is stored.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fields::{Fields, Invalid};
use super::{REQUEST_TYPE, SOURCE, is_traceparent, rfc3339};
use crate::domain::permission::{Permission, PrincipalKind};
use crate::domain::{
    AllFilter, DeadReason, JobId, PrincipalId, Recipient, SecretId, Selection, ShareRequest,
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

/// A message that can never be worked on, with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Poison {
    pub reason: DeadReason,
    /// What is wrong and where; never a value.
    pub detail: String,
    /// The event's `id`, where it is one.
    pub job_id: Option<JobId>,
    /// `data.requested_by`, where it is an id.
    pub requested_by: Option<PrincipalId>,
}

impl Poison {
    /// The job that this message failed, as far as the message tells: one is made only where it
    /// does not exist yet.
    #[must_use]
    pub fn failed_job(&self) -> Option<(JobId, PrincipalId)> {
        match self.reason {
            DeadReason::NotCloudevent | DeadReason::InvalidField => self.job_id.zip(self.requested_by),
            _ => None,
        }
    }
}

/// Reads a request. Only the body counts; unknown fields are ignored.
///
/// # Errors
/// Why it is a dead letter.
pub fn decode_request(body: &[u8], max_bytes: usize) -> Result<JobRequested, Poison> {
    let bare = |reason, detail: String| Poison { reason, detail, job_id: None, requested_by: None };
    if body.len() > max_bytes {
        let detail = format!("the message has {} bytes, more than the {max_bytes} allowed", body.len());
        return Err(bare(DeadReason::TooLarge, detail));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        // serde_json's own text may repeat a value: only the place is told.
        bare(DeadReason::NotJson, format!("not JSON at line {} column {}", error.line(), error.column()))
    })?;

    let job_id = value.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
    let requested_by = value.pointer("/data/requested_by").and_then(Value::as_i64).and_then(PrincipalId::new);
    let poison = |reason, detail: String| Poison { reason, detail, job_id, requested_by };
    let not_an_event = |error: Invalid| poison(DeadReason::NotCloudevent, error.to_string());

    let event = Fields::of(&value, "").map_err(not_an_event)?;
    let specversion = event.required_text("specversion").map_err(not_an_event)?;
    let kind = event.required_text("type").map_err(not_an_event)?;
    if specversion != "1.0" {
        return Err(poison(DeadReason::UnknownVersion, "specversion is not 1.0".to_owned()));
    }
    if kind != REQUEST_TYPE {
        let (reason, detail) = match kind.strip_prefix("batchshare.job.requested.v") {
            Some(version) if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) => {
                (DeadReason::UnknownVersion, format!("type is version {version:.20}, known is 1"))
            }
            _ => (DeadReason::UnknownType, format!("type is not {REQUEST_TYPE}")),
        };
        return Err(poison(reason, detail));
    }
    event.required_text("source").map_err(not_an_event)?;
    event.required_text("id").map_err(not_an_event)?;
    event.required("data").map_err(not_an_event)?;

    let invalid = |error: Invalid| poison(DeadReason::InvalidField, error.to_string());
    let job_id = job_id.ok_or_else(|| invalid(Invalid::new("id", "must be a UUID")))?;
    let data = event.object("data").map_err(invalid)?;
    let requested_by = data.id("requested_by").map_err(invalid)?;
    let request = share_data(&data, requested_by).map_err(invalid)?;
    let traceparent = event.text("traceparent").ok().flatten().filter(|text| is_traceparent(text));
    Ok(JobRequested { job_id, request, traceparent })
}

/// Reads the `data` of a request without `requested_by`, as HTTP's POST sends it.
///
/// # Errors
/// The field that is wrong.
pub fn decode_share_data(body: &Value, requested_by: PrincipalId) -> Result<ShareRequest, Invalid> {
    share_data(&Fields::of(body, "")?, requested_by)
}

fn share_data(data: &Fields<'_>, requested_by: PrincipalId) -> Result<ShareRequest, Invalid> {
    let selection = selection(&data.object("secrets")?)?;
    let recipients = recipients(data.required("recipients")?, &data.path("recipients"))?;
    Ok(ShareRequest::new(requested_by, selection, recipients))
}

fn selection(secrets: &Fields<'_>) -> Result<Selection, Invalid> {
    match (secrets.get("ids"), secrets.get("all")) {
        (Some(_), Some(_)) => Err(Invalid::new(secrets.path("all"), "must not come together with ids")),
        (None, None) => Err(Invalid::new(secrets.path("ids"), "is missing (or all in its place)")),
        (Some(_), None) => {
            let ids = secrets.ids("ids")?;
            if ids.is_empty() {
                return Err(Invalid::new(secrets.path("ids"), "must not be empty"));
            }
            Ok(Selection::Ids(ids))
        }
        (None, Some(_)) => {
            let all = secrets.object("all")?;
            Ok(Selection::All(AllFilter {
                search: all.text("search")?,
                tag: all.text("tag")?,
                shared: all.boolean("shared")?,
                except: all.ids("except")?,
            }))
        }
    }
}

fn recipients(value: &Value, path: &str) -> Result<Vec<Recipient>, Invalid> {
    let items = value.as_array().ok_or_else(|| Invalid::new(path, "must be an array"))?;
    if items.is_empty() {
        return Err(Invalid::new(path, "must not be empty"));
    }
    items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let item = Fields::of(item, &format!("{path}[{index}]"))?;
            let kind = PrincipalKind::from_name(&item.required_text("kind")?).ok_or_else(|| {
                Invalid::new(item.path("kind"), "must be user, user_group or personal_group")
            })?;
            let permission = match item.text("permission")? {
                None => Permission::View,
                Some(name) => Permission::from_name(&name)
                    .ok_or_else(|| Invalid::new(item.path("permission"), "must be view or edit"))?,
            };
            Ok(Recipient { kind, id: item.id("id")?, permission })
        })
        .collect()
}

/// Writes the message of a request that came over HTTP or from the command line.
#[must_use]
pub fn encode_request(job_id: JobId, request: &ShareRequest, traceparent: &str, now_ms: i64) -> Vec<u8> {
    let event = EventJson {
        data: DataJson {
            recipients: recipients_json(&request.recipients),
            requested_by: request.requested_by,
            secrets: selection_json(&request.selection),
        },
        datacontenttype: "application/json",
        id: job_id,
        source: SOURCE,
        specversion: "1.0",
        time: rfc3339(now_ms),
        traceparent,
        kind: REQUEST_TYPE,
    };
    text_of(&event).into_bytes()
}

/// The `message_id` of a request that we publish: the job's id; from the second run on with the run
/// behind it, so that a dead request of an older run is known.
#[must_use]
pub fn request_message_id(job: JobId, run: i32) -> String {
    if run > 1 { format!("{job}/{run}") } else { job.to_string() }
}

/// Which job and run a replayed request is of; `None` for the first run, and for a message that is not
/// ours.
#[must_use]
pub fn replayed_run(message_id: &str) -> Option<(JobId, i32)> {
    let (job, run) = message_id.split_once('/')?;
    Some((job.parse().ok()?, run.parse().ok().filter(|run| *run > 1)?))
}

// What we write is written from these: a tree of values of 100,000 ids would be ten times as large. The fields
// stand in the order of their names, on which the digests of stored requests rest.

#[derive(Serialize)]
struct EventJson<'a> {
    data: DataJson<'a>,
    datacontenttype: &'a str,
    id: JobId,
    source: &'a str,
    specversion: &'a str,
    time: String,
    traceparent: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Serialize)]
struct DataJson<'a> {
    recipients: Vec<RecipientJson<'a>>,
    requested_by: PrincipalId,
    secrets: SelectionJson<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum SelectionJson<'a> {
    Ids(&'a [SecretId]),
    All(AllJson<'a>),
}

#[derive(Serialize)]
struct AllJson<'a> {
    #[serde(skip_serializing_if = "<[SecretId]>::is_empty")]
    except: &'a [SecretId],
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct RecipientJson<'a> {
    id: PrincipalId,
    kind: &'a str,
    permission: &'a str,
}

fn selection_json(selection: &Selection) -> SelectionJson<'_> {
    match selection {
        Selection::Ids(ids) => SelectionJson::Ids(ids),
        Selection::All(filter) => SelectionJson::All(AllJson {
            except: &filter.except,
            search: filter.search.as_deref(),
            shared: filter.shared,
            tag: filter.tag.as_deref(),
        }),
    }
}

fn recipients_json(recipients: &[Recipient]) -> Vec<RecipientJson<'static>> {
    let json = |of: &Recipient| RecipientJson {
        id: of.id,
        kind: of.kind.as_str(),
        permission: of.permission.as_str(),
    };
    recipients.iter().map(json).collect()
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
    /// SHA-256 in hex of requester, selection and recipients: what makes two requests the same.
    pub digest: String,
}

impl StoredRequest {
    #[must_use]
    pub fn of(request: &ShareRequest) -> Self {
        let selection = text_of(&selection_json(&request.selection));
        let recipients = text_of(&recipients_json(&request.recipients));
        let mut hash = Sha256::new();
        for part in [&request.requested_by.to_string(), &selection, &recipients] {
            hash.update(part.as_bytes());
            hash.update(b"\n");
        }
        let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { selection, recipients, digest }
    }
}

/// Reads a stored selection.
///
/// # Errors
/// The field that is wrong: the row was not written by us.
pub fn selection_from_json(text: &str) -> Result<Selection, Invalid> {
    selection(&Fields::of(&stored(text)?, "selection")?)
}

/// Reads stored recipients.
///
/// # Errors
/// As [`selection_from_json`].
pub fn recipients_from_json(text: &str) -> Result<Vec<Recipient>, Invalid> {
    let wrong = || Invalid::new("the stored recipients", "are not as we write them");
    let stored: Vec<RecipientJson<'_>> = serde_json::from_str(text).map_err(|_| wrong())?;
    let read = |of: RecipientJson<'_>| {
        let kind = PrincipalKind::from_name(of.kind)?;
        Some(Recipient { kind, id: of.id, permission: Permission::from_name(of.permission)? })
    };
    stored.into_iter().map(|of| read(of).ok_or_else(wrong)).collect()
}

fn stored(text: &str) -> Result<Value, Invalid> {
    serde_json::from_str(text).map_err(|_| Invalid::new("the stored request", "is not JSON"))
}
