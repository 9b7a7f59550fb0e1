//! The chunk of a job that takes access away. It is set-based, as that of a share is: only the rows that somebody else
//! claims are read one by one.
//!
//! Whoever takes access away locks the secrets of the chunk first, in a statement of its own. So no share confirms
//! access to them while it is being taken, and what is read here is what the last of them has committed.

use std::time::Duration;

use crate::db::{Conn, DbError};
use crate::domain::event::{Rejection, Subject};
use crate::domain::share::pairs_of;
use crate::domain::unshare::secret_refusal;
use crate::domain::{JobKey, PrincipalId, Recipient, SecretId, Taken};
use crate::store::job::heirs;
use crate::store::job::row::JobRow;
use crate::store::vault::facts::Asked;
use crate::store::vault::take_back::{self, Pairs};
use crate::store::vault::{facts, givers};

/// How long a preview looks at the pairs of a job.
pub const PREVIEW_TIME: Duration = Duration::from_secs(2);
/// The most pairs that one step of a preview looks at, so that a step takes a small part of the time.
pub(in crate::store) const PREVIEW_PAIRS: usize = 10_000;

/// What a chunk of a job that takes access away has done.
#[derive(Debug, Default)]
pub(in crate::store) struct TakenChunk {
    pub(in crate::store) taken: Taken,
    /// The secrets from which nothing may be taken by the requester.
    pub(in crate::store) rejections: Vec<Rejection>,
}

/// Takes back what the job `parent` gave on these pairs. `undo` is the job that does it. `None` if its requester may not
/// act any more: nothing was done then.
pub(in crate::store) fn take_back(
    conn: &mut Conn,
    undo: &JobRow,
    parent: JobKey,
    secrets: &[SecretId],
    recipients: &[Recipient],
) -> Result<Option<TakenChunk>, DbError> {
    take_back::lock_secrets(conn, secrets)?;
    let by = if undo.as_operator { None } else { Some(undo.requested_by) };
    let Some((secrets, rejections)) = allowed(conn, by, secrets, recipients.len())? else { return Ok(None) };
    conn.read_in_key_order()?;
    // Where another job stands in for this one, or this one for another, the rows say so before they are looked at.
    let concerned = givers::concerned(conn, parent, &secrets)?;
    givers::settle(conn, &concerned)?;
    let pairs = Pairs { job: parent, secrets: &secrets, recipients };
    let locking = conn.for_update_of("g");
    let over = heirs::hand_over(conn, &pairs, "grants", &locking)?;
    take_back::hand_over(conn, &over.rows)?;
    givers::hand_over(conn, parent, &over.heirs)?;
    let mut taken = take_back::take(conn, &pairs, &over.kept)? + over.done;
    taken.untouched = pairs_of(secrets.len(), recipients.len()).saturating_sub(taken.done());
    Ok(Some(TakenChunk { taken, rejections }))
}

/// What [`take_back()`] would do now, for this person or, if it is nobody, for the operator. Nothing is locked or changed.
pub(in crate::store) fn foresee(
    conn: &mut Conn,
    by: Option<PrincipalId>,
    parent: JobKey,
    secrets: &[SecretId],
    recipients: &[Recipient],
) -> Result<Option<TakenChunk>, DbError> {
    let Some((secrets, rejections)) = allowed(conn, by, secrets, recipients.len())? else { return Ok(None) };
    let pairs = Pairs { job: parent, secrets: &secrets, recipients };
    // Reading through the heirs costs more, and few secrets have any.
    let grants =
        if givers::concerned(conn, parent, &secrets)?.is_empty() { "grants" } else { givers::GRANTS };
    let over = heirs::hand_over(conn, &pairs, grants, "")?;
    let plain = take_back::count(conn, &pairs, grants)?;
    // The two statements may see different rows, since nothing is locked, so a difference may be less than nothing.
    let (done, without) = (over.done, over.without);
    let mut taken = Taken {
        revoked: (plain.revoked + done.revoked).saturating_sub(without.revoked),
        lowered: (plain.lowered + done.lowered).saturating_sub(without.lowered),
        kept: (plain.kept + done.kept).saturating_sub(without.kept),
        untouched: 0,
    };
    taken.untouched = pairs_of(secrets.len(), recipients.len()).saturating_sub(taken.done());
    Ok(Some(TakenChunk { taken, rejections }))
}

/// The secrets from which somebody may take access away, and a rejection for each of the others.
type Allowed = (Vec<SecretId>, Vec<Rejection>);

/// Looks at each secret whether this person may take access to it away. The operator, who is nobody here, may do everything. `None` if the person may not
/// act.
fn allowed(
    conn: &mut Conn,
    by: Option<PrincipalId>,
    secrets: &[SecretId],
    recipients: usize,
) -> Result<Option<Allowed>, DbError> {
    let Some(requester) = by else { return Ok(Some((secrets.to_vec(), Vec::new()))) };
    let about = Asked { requester, secrets, recipients: &[] };
    let facts = facts::read(conn, &[about])?.pop().unwrap_or_default();
    if !facts.requester_valid {
        return Ok(None);
    }
    let mut may = Vec::with_capacity(secrets.len());
    let mut rejections = Vec::new();
    for &secret in secrets {
        match secret_refusal(facts.secrets.get(&secret)) {
            None => may.push(secret),
            Some(reason) => rejections.push(Rejection {
                subject: Subject::Secret(secret),
                reason,
                pairs: recipients as u64,
            }),
        }
    }
    Ok(Some((may, rejections)))
}
