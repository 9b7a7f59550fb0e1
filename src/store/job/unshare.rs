//! The chunk of an unshare, and what it would do now.

use std::collections::HashMap;
use std::time::Instant;

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::{Conn, DbError, statement};
use crate::domain::outcome::packed_codes;
use crate::domain::plan::Facts;
use crate::domain::share::{OverLimit, pairs_of};
use crate::domain::unshare;
use crate::domain::unshare::{Changed, Pair, TakeOutcome, TakePlan, plan};
use crate::domain::{Limits, Permission, PrincipalId, Recipient, SecretId, Selection, ShareRequest, Taken};
use crate::store::job::ledger;
use crate::store::job::outcomes;
use crate::store::job::outcomes::{Outcomes, Record};
use crate::store::job::row::JobRow;
use crate::store::job::taking::{PREVIEW_PAIRS, PREVIEW_TIME, TakenChunk};
use crate::store::transact::Store;
use crate::store::vault::claims;
use crate::store::vault::facts;
use crate::store::vault::facts::Asked;
use crate::store::vault::secrets::{Shareable, shareable};
use crate::store::vault::take_away;
use crate::store::vault::take_away::{Held, Rectangle};
use crate::store::vault::take_back::lock_secrets;

/// What an unshare would do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnsharePreview {
    pub taken: Taken,
    /// The pairs from which nothing may be taken, or whose recipient does not exist.
    pub rejected: u64,
    pub secrets: u64,
    pub recipients: u64,
    /// Whether all pairs were looked at. If there was no time for it, the counts are those of the pairs that were, so
    /// each of them may be higher.
    pub exact: bool,
}

/// The answer to who wants to know what an unshare would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnshareForeseen {
    Preview(UnsharePreview),
    /// The request is about all secrets that match its filter, and no secret that the person may edit matches.
    NothingMatches,
    /// The request is larger than the configuration allows.
    OverLimit(OverLimit),
    /// The person may not act, so the job would fail.
    RequesterNotValid,
    /// Claims of older jobs are not written yet, so nothing can be taken away for now.
    NotReady,
}

impl Store {
    /// Counts what an unshare would do if it ran now, by the same rule. Nothing is locked or written.
    pub async fn foresee_unshare(
        &self,
        request: ShareRequest,
        limits: Limits,
    ) -> Result<UnshareForeseen, DbError> {
        if let Err(over) = request.check_limits(&limits, None) {
            return Ok(UnshareForeseen::OverLimit(over));
        }
        self.db.read(move |conn| look(conn, &request, &limits)).await
    }
}

/// Looks at the pairs of a request, part by part, until there is no time left.
fn look(conn: &mut Conn, request: &ShareRequest, limits: &Limits) -> Result<UnshareForeseen, DbError> {
    let began = Instant::now();
    if !ledger::is_complete(conn)? {
        return Ok(UnshareForeseen::NotReady);
    }
    let Shareable { ids: secrets, count } = match &request.selection {
        Selection::Ids(ids) => Shareable { count: ids.len(), ids: ids.clone() },
        Selection::All(filter) => shareable(conn, request.requested_by, filter, limits.secrets)?,
    };
    if count == 0 {
        return Ok(UnshareForeseen::NothingMatches);
    }
    if let Err(over) = request.check_limits(limits, Some(count)) {
        return Ok(UnshareForeseen::OverLimit(over));
    }
    let mut preview = UnsharePreview {
        secrets: secrets.len() as u64,
        recipients: request.recipients.len() as u64,
        exact: true,
        ..UnsharePreview::default()
    };
    let step = (PREVIEW_PAIRS / request.recipients.len().max(1)).max(1);
    for (place, part) in secrets.chunks(step).enumerate() {
        if place > 0 && began.elapsed() >= PREVIEW_TIME {
            preview.exact = false;
            break;
        }
        let Some(chunk) = foresee(conn, request.requested_by, part, &request.recipients)? else {
            return Ok(UnshareForeseen::RequesterNotValid);
        };
        preview.taken = preview.taken + chunk.taken;
        preview.rejected += chunk.rejections.iter().map(|line| line.pairs).sum::<u64>();
    }
    Ok(UnshareForeseen::Preview(preview))
}

/// How long a request that came too early waits for its next attempt, in milliseconds.
const WAIT_MS: i64 = 5_000;

/// Puts off an unshare that cannot begin before the claims of older jobs are written. Due work sends its request again.
pub(in crate::store) fn put_off(conn: &mut Conn, row: &JobRow) -> Result<(), DbError> {
    let sql = "UPDATE jobs SET not_before = now_ms() + $1, due_at = now_ms() + $2 WHERE id = $3";
    statement(sql)
        .bind::<BigInt, _>(WAIT_MS)
        .bind::<BigInt, _>(WAIT_MS)
        .bind::<BigInt, _>(row.key.get())
        .execute(conn)?;
    Ok(())
}

/// Takes the recipients' own grants on these secrets away, whoever gave them. `None` if the requester may not act any
/// more: nothing was done then. The first of the secrets is at the position `from` of the job's list.
pub(in crate::store) fn take_away(
    conn: &mut Conn,
    job: &JobRow,
    from: usize,
    secrets: &[SecretId],
    recipients: &[Recipient],
) -> Result<Option<TakenChunk>, DbError> {
    lock_secrets(conn, secrets)?;
    let facts = facts_of(conn, job.requested_by, secrets, recipients)?;
    let Some(plan) = plan(secrets, recipients, &facts) else {
        return Ok(None);
    };
    conn.read_in_key_order()?;
    if !plan.is_alike() {
        let mut recipients: Vec<PrincipalId> = recipients.iter().map(|of| of.id).collect();
        recipients.sort_unstable();
        take_away::lock(conn, &losing(&plan, &recipients))?;
    }
    let hidden = Hidden::read(conn, &plan)?;
    take_away::revoke_each(conn, &hidden.revoked)?;
    take_away::lower_each(conn, &hidden.lowered)?;
    let revoked = take_away::revoke(conn, &losing(&plan, &plan.all))?;
    let lowered = take_away::lower(conn, &losing(&plan, &plan.edit))?;
    claims::strike(conn, &plan.secrets, &plan.losing_all())?;
    let chunk = hidden.told(&plan, revoked.len() as u64, lowered.len() as u64);
    let total = pairs_of(secrets.len(), recipients.len());
    let outcomes = match alike(&chunk, total) {
        // A chunk without a record has taken everything.
        Some(TakeOutcome::Revoked) => return Ok(Some(chunk)),
        Some(outcome) => Outcomes::Alike(outcome.code()),
        None => {
            let changed = hidden.changed(revoked, lowered);
            let each = unshare::outcomes(&plan, secrets, recipients, &changed);
            Outcomes::Packed(packed_codes(each.map(TakeOutcome::code)))
        }
    };
    outcomes::write(conn, &[Record { job: job.key, from, to: from + secrets.len(), outcomes }])?;
    Ok(Some(chunk))
}

/// The outcome of all pairs of a chunk. `None` if they differ.
fn alike(chunk: &TakenChunk, total: u64) -> Option<TakeOutcome> {
    let Taken { revoked, lowered, untouched, .. } = chunk.taken;
    let each = [
        (revoked, TakeOutcome::Revoked),
        (lowered, TakeOutcome::Lowered),
        (untouched, TakeOutcome::Untouched),
        (chunk.rejections.iter().map(|line| line.pairs).sum(), TakeOutcome::Rejected),
    ];
    each.into_iter().find(|(pairs, _)| *pairs == total).map(|(_, outcome)| outcome)
}

/// What [`take_away()`] would do now. Nothing is locked or changed.
fn foresee(
    conn: &mut Conn,
    requester: PrincipalId,
    secrets: &[SecretId],
    recipients: &[Recipient],
) -> Result<Option<TakenChunk>, DbError> {
    let Some(plan) = plan(secrets, recipients, &facts_of(conn, requester, secrets, recipients)?) else {
        return Ok(None);
    };
    let hidden = Hidden::read(conn, &plan)?;
    let revoked = take_away::count(conn, &losing(&plan, &plan.all), Permission::View)?;
    let lowered = take_away::count(conn, &losing(&plan, &plan.edit), Permission::Edit)?;
    Ok(Some(hidden.told(&plan, revoked, lowered)))
}

fn facts_of(
    conn: &mut Conn,
    requester: PrincipalId,
    secrets: &[SecretId],
    recipients: &[Recipient],
) -> Result<Facts, DbError> {
    let about = Asked { requester, secrets, recipients };
    Ok(facts::read(conn, &[about])?.pop().unwrap_or_default())
}

fn losing<'a>(plan: &'a TakePlan, recipients: &'a [PrincipalId]) -> Rectangle<'a> {
    Rectangle { secrets: &plan.secrets, recipients, owners: plan.owners }
}

/// The grants of the recipients whom the requester does not see.
#[derive(Default)]
struct Hidden {
    held: Vec<Held>,
    /// Those of them that are taken.
    revoked: Vec<Held>,
    /// Those of them that are lowered.
    lowered: Vec<Held>,
}

impl Hidden {
    /// Reads these grants. There are few such recipients, if any, so each grant is looked at by itself.
    fn read(conn: &mut Conn, plan: &TakePlan) -> Result<Self, DbError> {
        let mut recipients: Vec<PrincipalId> = plan.hidden.iter().map(|of| of.id).collect();
        recipients.sort_unstable();
        // A recipient who is not seen is a group, and no group owns a secret.
        let pairs = Rectangle { secrets: &plan.secrets, recipients: &recipients, owners: false };
        let held = take_away::held(conn, &pairs)?;
        let mut all: Vec<PrincipalId> =
            plan.hidden.iter().filter(|of| of.permission == Permission::View).map(|of| of.id).collect();
        all.sort_unstable();
        let loses_all = |of: &&Held| all.binary_search(&of.principal).is_ok();
        let revoked = held.iter().filter(loses_all).copied().collect();
        let loses_edit = |of: &&Held| !loses_all(of) && of.permission == Permission::Edit;
        let lowered = held.iter().filter(loses_edit).copied().collect();
        Ok(Self { revoked, lowered, held })
    }

    /// All that the chunk has changed, with what was taken from the other recipients.
    fn changed(self, revoked: Vec<Pair>, lowered: Vec<Pair>) -> Changed {
        let pairs = |held: Vec<Held>| held.into_iter().map(|of| (of.secret, of.principal));
        Changed {
            revoked: pairs(self.revoked).chain(revoked).collect(),
            lowered: pairs(self.lowered).chain(lowered).collect(),
            hidden: pairs(self.held).collect(),
        }
    }

    /// The chunk with these grants taken, and with so many of the other recipients.
    fn told(&self, plan: &TakePlan, revoked: u64, lowered: u64) -> TakenChunk {
        let mut granted: HashMap<PrincipalId, u64> = HashMap::new();
        for of in &self.held {
            *granted.entry(of.principal).or_default() += 1;
        }
        let granted = |id: PrincipalId| granted.get(&id).copied().unwrap_or(0);
        let taken = Taken {
            revoked: revoked + self.revoked.len() as u64,
            lowered: lowered + self.lowered.len() as u64,
            ..Taken::default()
        };
        let looked_at = plan.pairs() + self.held.len() as u64;
        let untouched = looked_at.saturating_sub(taken.done());
        TakenChunk { taken: Taken { untouched, ..taken }, rejections: plan.rejected(granted) }
    }
}
