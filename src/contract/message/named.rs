//! What a message names, whatever is wrong with it: the job's id and who asks for it. A job is failed by them, so
//! that the requester hears of it.

use serde::Deserialize;

use crate::contract::json::invalid::Unread;
use crate::contract::json::object::Object;
use crate::contract::json::read::{well_formed, without_mark};
use crate::contract::json::value::Checked;
use crate::contract::message::envelope::{Data, Envelope};
use crate::contract::message::names::{CANCEL_TYPE, UNDO_TYPE, UNSHARE_TYPE};
use crate::domain::{JobId, PrincipalId};

/// The job and the requester, as far as the message tells them. A member that came twice tells nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::contract) struct Named {
    pub(in crate::contract) job_id: Option<JobId>,
    pub(in crate::contract) requested_by: Option<PrincipalId>,
}

/// The one field that is read of the data.
#[derive(Deserialize)]
struct Asker {
    requested_by: Checked<PrincipalId>,
}

/// Reads what a message names. The whole body is held against the rules of JSON, and against no other rule.
///
/// # Errors
/// Where the body is not JSON.
pub(in crate::contract) fn named(body: &[u8]) -> Result<Named, Unread> {
    well_formed(body)?;
    let Ok(mut event) = Envelope::read(body) else { return Ok(Named::default()) };
    let kind = event.required("type").unwrap_or_default();
    let job_id = event.required("id").ok().and_then(|id| id.parse().ok());
    let requested_by = event.data_alone().ok().and_then(|data| asker(&data));
    Ok(match Family::of(&kind) {
        // The event's id is the order's own. No job has it.
        Family::Cancel => Named::default(),
        // A job that takes access away is made only from a request that can be read.
        Family::TakesAway => Named { job_id, requested_by: None },
        Family::Other => Named { job_id, requested_by },
    })
}

/// What the type of a message has to do with the job that has the event's id, in any version of the type.
enum Family {
    /// It is no job.
    Cancel,
    /// It is a job that takes access away.
    TakesAway,
    /// It is a share, or nobody knows what it is.
    Other,
}

impl Family {
    fn of(kind: &str) -> Self {
        let is = |name: &str| kind.starts_with(name.trim_end_matches('1'));
        if is(CANCEL_TYPE) {
            Self::Cancel
        } else if is(UNDO_TYPE) || is(UNSHARE_TYPE) {
            Self::TakesAway
        } else {
            Self::Other
        }
    }
}

fn asker(data: &Data<'_>) -> Option<PrincipalId> {
    if let Data::Decoded(bytes) = data {
        well_formed(bytes).ok()?;
    }
    let asker: Object<Asker> = serde_json::from_slice(without_mark(data.bytes())).ok()?;
    Some(asker.0.0.requested_by.0)
}
