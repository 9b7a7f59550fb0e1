//! The request for a job, `batchshare.job.requested.v1` for a share and `batchshare.unshare.requested.v1` for an unshare:
//! how it is written and stored. asked.rs reads it.

use std::collections::BTreeSet;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::contract::message::names::{DATA_CONTENT_TYPE, REQUEST_TYPE, UNSHARE_TYPE};
use crate::contract::message::written::Written;
use crate::contract::time::rfc3339;
use crate::domain::hex::hex;
use crate::domain::{
    JobId, JobKind, Permission, PrincipalId, PrincipalKind, Recipient, RejectReason, SecretId, Selection,
    ShareRequest,
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

/// Writes the message of a request that came over HTTP or from the command line.
#[must_use]
pub fn encode_request(job_id: JobId, request: &ShareRequest, traceparent: &str, now_ms: i64) -> Vec<u8> {
    let data = RequestBody {
        note: request.note.as_deref(),
        recipients: recipients_body(&request.recipients),
        requested_by: request.requested_by,
        secrets: SelectionBody::of(&request.selection),
    };
    let id = job_id.to_string();
    let event = Written {
        datacontenttype: Some(DATA_CONTENT_TYPE),
        time: Some(rfc3339(now_ms)),
        ..Written::new(&id, type_of(request.kind), traceparent, data)
    };
    event.bytes()
}

fn type_of(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Unshare => UNSHARE_TYPE,
        JobKind::Share | JobKind::Undo => REQUEST_TYPE,
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
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

/// What an unshare takes from a recipient, as its job's row keeps it.
#[derive(Serialize)]
struct TakenBody {
    id: PrincipalId,
    kind: PrincipalKind,
    take: Permission,
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

fn taken_body(recipients: &[Recipient]) -> Vec<TakenBody> {
    let body = |&Recipient { kind, id, permission }: &Recipient| TakenBody { id, kind, take: permission };
    recipients.iter().map(body).collect()
}

/// Texts, numbers and lists of them cannot fail to be written.
fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// SHA-256, in hexadecimal, of what an undo is asked for with: by whom, and of which job. Two undos are asked for with
/// the same content if this is the same.
#[must_use]
pub fn undo_digest(requested_by: PrincipalId, parent: JobId) -> String {
    hex(&Sha256::digest(format!("undo\n{requested_by}\n{parent}\n")))
}

/// Does what [`undo_digest`] does for the order to share what a job left undone.
#[must_use]
pub fn rest_digest(requested_by: PrincipalId, parent: JobId, reasons: &BTreeSet<RejectReason>) -> String {
    let reasons: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
    hex(&Sha256::digest(format!("rest\n{requested_by}\n{parent}\n{}\n", reasons.join(","))))
}

/// The recipients of a job that shares what another left undone, as its row keeps them. Each has a `give` in the place of
/// its `permission`, so that a program that takes every share for a rectangle refuses to read them.
#[must_use]
pub fn rest_recipients(recipients: &[Recipient]) -> String {
    let body = |&Recipient { kind, id, permission }: &Recipient| GivenBody { give: permission, id, kind };
    text_of(&recipients.iter().map(body).collect::<Vec<_>>())
}

#[derive(Serialize)]
struct GivenBody {
    give: Permission,
    id: PrincipalId,
    kind: PrincipalKind,
}

/// A normalised request as its job's row keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// `{"ids":[…]}` or `{"all":{…}}`.
    pub selection: String,
    /// The array of recipients. In an unshare each has a `take` in the place of its `permission`, so that a program that
    /// knows no unshare refuses to read it, and two requests of different kinds never have the same digest.
    pub recipients: String,
    /// SHA-256 of requester, selection, recipients and note, if there is one, in hexadecimal. Two requests are the same
    /// if this is.
    pub digest: String,
}

impl StoredRequest {
    #[must_use]
    pub fn of(request: &ShareRequest) -> Self {
        let selection = text_of(&SelectionBody::of(&request.selection));
        let recipients = match request.kind {
            JobKind::Unshare => text_of(&taken_body(&request.recipients)),
            JobKind::Share | JobKind::Undo => text_of(&recipients_body(&request.recipients)),
        };
        let mut hash = Sha256::new();
        let by = request.requested_by.to_string();
        // A request without a note has the digest that it had before there were notes.
        for part in [&by, &selection, &recipients].into_iter().chain(&request.note) {
            hash.update(part.as_bytes());
            hash.update(b"\n");
        }
        let digest = hex(&hash.finalize());
        Self { selection, recipients, digest }
    }
}
