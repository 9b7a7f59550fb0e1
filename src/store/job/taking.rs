//! The chunk of a job that takes access away. It is set-based, as that of a share is: only the rows that somebody else
//! claims are read one by one.
//!
//! Whoever takes access away locks the secrets of the chunk first, in a statement of its own. So no share confirms
//! access to them while it is being taken, and what is read here is what the last of them has committed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use crate::db::{Conn, DbError};
use crate::domain::event::{Rejection, Subject};
use crate::domain::outcome::packed_codes;
use crate::domain::share::pairs_of;
use crate::domain::undo_outcome;
use crate::domain::undo_outcome::UndoOutcome;
use crate::domain::unshare::secret_refusal;
use crate::domain::{JobKey, PrincipalId, PrincipalKind, Recipient, SecretId, Taken};
use crate::store::job::heirs;
use crate::store::job::outcomes;
use crate::store::job::outcomes::{Outcomes, Record};
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

/// What became of a chunk of an undo.
#[derive(Debug)]
pub(in crate::store) enum TookBack {
    /// It is done, and what became of each pair is recorded. `differ` says whether the pairs came out differently.
    Done { chunk: TakenChunk, differ: bool },
    /// The pairs came out differently, and nobody asked which. The caller has to roll back, and comes again with
    /// `telling`.
    NotTold,
    /// Its requester may not act any more: nothing was done.
    RequesterNotValid,
}

/// The chunk that an undo works on.
pub(in crate::store) struct ToTakeBack<'a> {
    pub(in crate::store) undo: &'a JobRow,
    /// The job that gave the access.
    pub(in crate::store) parent: JobKey,
    /// The position of the first of the secrets in the list of the job.
    pub(in crate::store) from: usize,
    pub(in crate::store) secrets: &'a [SecretId],
    pub(in crate::store) recipients: &'a [Recipient],
    /// Whether the statements are to tell to which pairs they do something. If all pairs come out alike, nobody needs to
    /// know, and not to ask is faster.
    pub(in crate::store) telling: bool,
}

/// Takes back what the job `parent` gave on these pairs, and records what became of each. `undo` is the job that does
/// it.
pub(in crate::store) fn take_back(conn: &mut Conn, of: &ToTakeBack<'_>) -> Result<TookBack, DbError> {
    take_back::lock_secrets(conn, of.secrets)?;
    let by = if of.undo.as_operator { None } else { Some(of.undo.requested_by) };
    let Some((secrets, rejections)) = allowed(conn, by, of.secrets, of.recipients.len())? else {
        return Ok(TookBack::RequesterNotValid);
    };
    conn.read_in_key_order()?;
    // Where another job stands in for this one, or this one for another, the rows say so before they are looked at.
    let concerned = givers::concerned(conn, of.parent, &secrets)?;
    givers::settle(conn, &concerned)?;
    let pairs = Pairs { job: of.parent, secrets: &secrets, recipients: of.recipients };
    let locking = conn.for_update_of("g");
    let over = heirs::hand_over(conn, &pairs, "grants", &locking)?;
    take_back::hand_over(conn, &over.rows)?;
    givers::hand_over(conn, of.parent, &over.heirs)?;
    let mut told = of.telling.then_some(over.told);
    let mut taken = take_back::take(conn, &pairs, &over.kept, told.as_mut())? + over.done;
    taken.untouched = pairs_of(secrets.len(), of.recipients.len()).saturating_sub(taken.done());
    let chunk = TakenChunk { taken, rejections };
    let outcomes = match (alike(&chunk.taken), told) {
        // A chunk without a record has taken everything back. Of rejected secrets the report has a line.
        (Some(UndoOutcome::Revoked), _) => return Ok(TookBack::Done { chunk, differ: false }),
        (Some(outcome), _) => Outcomes::Alike(outcome.code()),
        (None, Some(told)) => {
            let doubles = kinds_of_doubles(conn, of.undo.requested_by, of.recipients)?;
            let changed = told.into_iter().collect();
            let each = undo_outcome::outcomes(of.secrets, of.recipients, &doubles, &changed);
            Outcomes::Packed(packed_codes(each.into_iter().map(UndoOutcome::code)))
        }
        (None, None) => return Ok(TookBack::NotTold),
    };
    let differ = matches!(outcomes, Outcomes::Packed(_));
    let (from, to) = (of.from, of.from + of.secrets.len());
    outcomes::write(conn, &[Record { job: of.undo.key, from, to, outcomes }])?;
    Ok(TookBack::Done { chunk, differ })
}

/// The outcome of all pairs that were not rejected. `None` if they differ.
fn alike(taken: &Taken) -> Option<UndoOutcome> {
    let Taken { revoked, lowered, kept, untouched } = *taken;
    let each = [
        (revoked, UndoOutcome::Revoked),
        (lowered, UndoOutcome::Lowered),
        (kept, UndoOutcome::Kept),
        (untouched, UndoOutcome::Untouched),
    ];
    let mut found = each.into_iter().filter(|(pairs, _)| *pairs > 0);
    match (found.next(), found.next()) {
        (Some((_, outcome)), None) => Some(outcome),
        // All secrets were rejected, and the report has a line for each of them.
        (None, _) => Some(UndoOutcome::Revoked),
        _ => None,
    }
}

/// The kinds of those principals that are among the recipients twice, as principals of two kinds.
fn kinds_of_doubles(
    conn: &mut Conn,
    requester: PrincipalId,
    recipients: &[Recipient],
) -> Result<HashMap<PrincipalId, PrincipalKind>, DbError> {
    let mut first: HashMap<PrincipalId, PrincipalKind> = HashMap::with_capacity(recipients.len());
    let mut doubles: Vec<Recipient> = Vec::new();
    for of in recipients {
        match first.entry(of.id) {
            Entry::Occupied(_) => doubles.push(*of),
            Entry::Vacant(entry) => {
                entry.insert(of.kind);
            }
        }
    }
    if doubles.is_empty() {
        return Ok(HashMap::new());
    }
    let about = Asked { requester, secrets: &[], recipients: &doubles };
    let facts = facts::read(conn, &[about])?.pop().unwrap_or_default();
    // One that is gone is taken for the first of the two.
    let kind =
        |of: &Recipient| facts.principals.get(&of.id).map(|fact| fact.kind).or(first.get(&of.id).copied());
    Ok(doubles.iter().filter_map(|of| Some((of.id, kind(of)?))).collect())
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

/// Looks at each secret whether this person may take access to it away. The operator, who is nobody here, may do
/// everything. `None` if the person may not act.
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
