//! Reads what other programs ask for: a share, a cancel, an undo, or to take access away. All of them come to one queue,
//! and the event's `type` says which of them it is.

use std::str::FromStr;

use crate::contract::json::invalid::{Invalid, Unread};
use crate::contract::json::kinds::MUST_BE_A_UUID;
use crate::contract::message::envelope::{Data, Envelope};
use crate::contract::message::named::{Named, named};
use crate::contract::message::names::{CANCEL_TYPE, REQUEST_TYPE, SPECVERSION, UNDO_TYPE, UNSHARE_TYPE};
use crate::contract::message::order::{Order, order_data};
use crate::contract::message::request::JobRequested;
use crate::contract::message::trace::is_traceparent;
use crate::contract::share::request_data;
use crate::domain::{DeadReason, JobId, JobKind, OrderKind, PrincipalId};

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Share(JobRequested),
    /// To cancel a job or to undo it.
    Order(Order),
    Unshare(JobRequested),
}

impl Asked {
    /// The trace that the publisher put into the event.
    pub fn traceparent_mut(&mut self) -> &mut Option<String> {
        match self {
            Self::Share(asked) | Self::Unshare(asked) => &mut asked.traceparent,
            Self::Order(order) => &mut order.traceparent,
        }
    }
}

/// A message that can never be worked on, and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Poison {
    pub reason: DeadReason,
    /// What is wrong and where. It never repeats a value.
    pub detail: String,
    /// The job that the message asks for, where it names one: the event's `id`. A cancel asks for none.
    pub job_id: Option<JobId>,
    /// `data.requested_by` of a message that may ask for a share, where it is an id.
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

/// Reads what a message asks for. Only the body counts, not the headers. Unknown members of the envelope are read over,
/// and those of the data are refused.
///
/// # Errors
/// Why the message has to become a dead letter.
pub fn decode_asked(body: &[u8], max_bytes: usize) -> Result<Asked, Poison> {
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

/// Why a message asks for nothing that we know.
struct Fault {
    reason: DeadReason,
    detail: String,
}

fn fault(reason: DeadReason, detail: impl ToString) -> Fault {
    Fault { reason, detail: detail.to_string() }
}

fn invalid(error: Invalid) -> Fault {
    fault(DeadReason::InvalidField, error)
}

/// What a type asks for.
#[derive(Clone, Copy)]
enum Type {
    Share,
    Order(OrderKind),
    Unshare,
}

/// The types that are read.
const TYPES: [(&str, Type); 4] = [
    (REQUEST_TYPE, Type::Share),
    (CANCEL_TYPE, Type::Order(OrderKind::Cancel)),
    (UNDO_TYPE, Type::Order(OrderKind::Undo)),
    (UNSHARE_TYPE, Type::Unshare),
];

fn read(body: &[u8]) -> Result<Asked, Fault> {
    let not_an_event = |error: Invalid| fault(DeadReason::NotCloudevent, error);
    let mut event = Envelope::read(body).map_err(|error| fault(DeadReason::NotCloudevent, error))?;
    let specversion = event.required("specversion").map_err(not_an_event)?;
    let kind = event.required("type").map_err(not_an_event)?;
    if specversion != SPECVERSION {
        return Err(fault(DeadReason::UnknownVersion, format!("specversion is not {SPECVERSION}")));
    }
    let known = TYPES.into_iter().find(|(name, _)| *name == kind);
    let (_, kind) = known.ok_or_else(|| unknown(&kind))?;
    event.required("source").map_err(not_an_event)?;
    let id = event.required("id").map_err(not_an_event)?;
    let data = event.data().map_err(not_an_event)?;
    let traceparent = event.optional("traceparent").filter(|text| is_traceparent(text));
    Ok(match kind {
        Type::Share => {
            let job_id = uuid(&id)?;
            let request =
                request_data(JobKind::Share, data.bytes()).map_err(|error| of_data(error, &data))?;
            Asked::Share(JobRequested { job_id, request, traceparent })
        }
        Type::Order(kind) => {
            let id = uuid(&id)?;
            let (requested_by, job_id) = order_data(data.bytes()).map_err(|error| of_data(error, &data))?;
            Asked::Order(Order { id, kind, job_id, requested_by, traceparent })
        }
        Type::Unshare => {
            let job_id = uuid(&id)?;
            let request =
                request_data(JobKind::Unshare, data.bytes()).map_err(|error| of_data(error, &data))?;
            Asked::Unshare(JobRequested { job_id, request, traceparent })
        }
    })
}

/// Why an event of this type is not read: it is another version of one of ours, or none of ours.
fn unknown(kind: &str) -> Fault {
    let is_version = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let version = TYPES.iter().find_map(|(name, _)| {
        let version = kind.strip_prefix(name.strip_suffix('1')?)?;
        Some(version).filter(is_version)
    });
    match version {
        Some(version) => {
            fault(DeadReason::UnknownVersion, format!("type is version {version:.20}, known is 1"))
        }
        None => {
            let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
            fault(DeadReason::UnknownType, format!("type is none of {}", names.join(", ")))
        }
    }
}

fn uuid<T: FromStr>(id: &str) -> Result<T, Fault> {
    id.parse().map_err(|_| invalid(Invalid::new("id", MUST_BE_A_UUID)))
}

/// What is wrong with the data.
fn of_data(error: Unread, data: &Data<'_>) -> Fault {
    match (error, data) {
        (Unread::NotJson { line, column }, Data::Decoded(_)) => {
            let problem = format!("is not JSON at line {line} column {column}");
            invalid(Invalid::new("data_base64", problem))
        }
        (error, _) => fault(DeadReason::InvalidField, error),
    }
}
