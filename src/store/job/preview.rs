//! Foresees what an undo would do, without doing it.

use std::sync::Arc;
use std::time::Instant;

use crate::db::{Conn, DbError};
use crate::domain::{Counts, JobId, PrincipalId, Recipient, SecretId, Selection, Taken};
use crate::store::audit::values;
use crate::store::job::ending::Done;
use crate::store::job::row;
use crate::store::job::row::JobRow;
use crate::store::job::taking::{PREVIEW_PAIRS, PREVIEW_TIME};
use crate::store::job::undo::{NotUndone, UndoBy, may_order, refusal};
use crate::store::job::{parts, selection, taking};
use crate::store::transact::Store;
use crate::store::vault::claims::recipients_of;

/// What an undo would do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UndoPreview {
    pub taken: Taken,
    /// The pairs of secrets from which the person may not take access away.
    pub rejected: u64,
    /// How many of the secrets had their value read since the job began, by somebody else than their owner or the job's
    /// requester. Whoever has read a value keeps it, so these values want to be changed.
    pub values_read: u64,
    /// Whether all pairs of the job were looked at. If there was no time for it, the counts are those of the pairs that
    /// were, so each of them may be higher.
    pub exact: bool,
}

/// The answer to who wants to know what an undo would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen {
    Preview(UndoPreview),
    /// There is no such job, or it is the job of somebody else.
    UnknownJob,
    Refused(NotUndone),
    /// The person may not act, so the undo would fail.
    RequesterNotValid,
}

impl Store {
    /// Counts what the undo of a job would do if it ran now, by the same rule. Nothing is locked or written.
    pub async fn foresee_undo(&self, parent: JobId, by: UndoBy) -> Result<Foreseen, DbError> {
        self.db
            .read(move |conn| {
                let Some(parent) = row::find(conn, parent)?.filter(|parent| may_order(parent, by)) else {
                    return Ok(Foreseen::UnknownJob);
                };
                if let Some(why) = refusal(conn, &parent)? {
                    return Ok(Foreseen::Refused(why));
                }
                let by = (by != UndoBy::Operator { unchecked: true }).then_some(parent.requested_by);
                Ok(look(conn, &parent, by)?.map_or(Foreseen::RequesterNotValid, Foreseen::Preview))
            })
            .await
    }
}

/// Looks at the pairs of a job, part by part, until there is no time left.
fn look(conn: &mut Conn, parent: &JobRow, by: Option<PrincipalId>) -> Result<Option<UndoPreview>, DbError> {
    let began = Instant::now();
    let recipients: Arc<[Recipient]> = recipients_of(conn, parent.key)?.into();
    let parts = parent.has_parts().then_some(parent.key);
    let total = parent.secrets_total.and_then(|total| usize::try_from(total).ok()).unwrap_or(0);
    let named = if parent.has_snapshot { Vec::new() } else { named(conn, parent)? };
    let since = parent.started_at.unwrap_or(parent.requested_at);
    let mut values_read = 0;
    let mut sum = Done::default();
    let mut from = 0;
    while from < total && (from == 0 || began.elapsed() < PREVIEW_TIME) {
        let section = parts::section(conn, parts, &recipients, from)?;
        let step = (PREVIEW_PAIRS / section.recipients.len().max(1)).max(1);
        let to = from.saturating_add(step).min(section.to).min(total);
        let secrets = match parent.has_snapshot {
            true => selection::read_snapshot(conn, parent.key, from, to)?,
            false => named.get(from..to).unwrap_or_default().to_vec(),
        };
        let Some(part) = taking::foresee(conn, by, parent.key, &secrets, &section.recipients)? else {
            return Ok(None);
        };
        let rejected = part.rejections.iter().map(|line| line.pairs).sum();
        sum.counts = sum.counts + Counts { rejected, ..Counts::default() };
        sum.taken = sum.taken + part.taken;
        values_read += values::read_since(conn, &secrets, since, parent.requested_by)?;
        from = to;
    }
    let rejected = sum.counts.rejected;
    Ok(Some(UndoPreview { taken: sum.taken, rejected, values_read, exact: from >= total }))
}

/// The secrets that the request of a job names.
fn named(conn: &mut Conn, parent: &JobRow) -> Result<Vec<SecretId>, DbError> {
    let request = selection::stored_request(conn, parent)?;
    match request.map(|request| request.selection) {
        Some(Selection::Ids(ids)) => Ok(ids),
        _ => Err(DbError::Corrupt(format!("what job {} is about", parent.job_id))),
    }
}
