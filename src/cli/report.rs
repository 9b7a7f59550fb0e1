//! A job in words and as JSON.

use serde::Serialize;

use crate::cli::recipients::noun;
use crate::cli::{Failure, out, title};
use crate::contract::{JobBody, RejectionBody, rfc3339};
use crate::domain::event::{Rejection, Subject};
use crate::domain::{
    EndedBy, FailReason, JobKind, JobSnapshot, JobState, PrincipalId, PrincipalKind, RejectReason, Taken,
};
use crate::store::{Known, Store};

/// How many rejections are named in words.
pub(super) const REJECTIONS_IN_WORDS: usize = 20;
/// How many a job as JSON has, unless more are asked for.
pub(super) const REJECTIONS_IN_JSON: i64 = 100;

/// A rejection with the names of what it is about, as an operator may see them. The fields stand in the order of their
/// names. A name is null where nobody has the id any more.
#[derive(Serialize)]
pub(super) struct NamedRejection {
    email: Option<String>,
    id: i64,
    kind: &'static str,
    name: Option<String>,
    pairs: u64,
    reason: RejectReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_kind: Option<PrincipalKind>,
    username: Option<String>,
}

impl NamedRejection {
    pub(super) fn new(rejection: &Rejection, known: Option<Known>) -> Self {
        let RejectionBody { id, kind, reason, recipient_kind } = rejection.into();
        let (name, username, email) =
            known.map_or((None, None, None), |known| (Some(known.name), known.username, known.email));
        Self { email, id, kind, name, pairs: rejection.pairs, reason, recipient_kind, username }
    }
}

/// The job as HTTP shows it, with who asked for it and what its last try failed of. An operator sees the jobs of all
/// people, and may read what the database said.
pub(super) fn body(job: &JobSnapshot) -> JobBody {
    with_error(job, JobBody { requested_by: Some(job.requested_by), ..JobBody::of(job) })
}

/// As [`body`], with the job's first rejections by name.
pub(super) async fn body_with_rejections(
    store: &Store,
    job: &JobSnapshot,
    limit: i64,
) -> Result<JobBody<NamedRejection>, Failure> {
    let rejections = named(store, job, limit).await?;
    let rejections = rejections.into_iter().map(|(rejection, known)| NamedRejection::new(&rejection, known));
    let title = store.titles(None, vec![job.job_id]).await?.remove(&job.job_id);
    Ok(with_error(job, JobBody::with_rejections(job, rejections.collect()).titled(title)))
}

fn with_error<R>(job: &JobSnapshot, mut body: JobBody<R>) -> JobBody<R> {
    if let (Some(body), Some(retry)) = (&mut body.retry, &job.retry) {
        body.last_error = Some(retry.last_error.clone());
    }
    body
}

/// Prints how a job stands or how it ended.
pub(super) async fn notice(store: &Store, job: &JobSnapshot) -> Result<(), Failure> {
    let ender = match job.ended_by {
        Some(EndedBy::Person(person)) => Some(person),
        _ => None,
    };
    let names = store.principal_names(ender.into_iter().chain([job.requested_by])).await?;
    let name = |id: PrincipalId| names.get(&id).map_or_else(|| format!("user {id}"), Known::label);
    out::line(headline(job, &name(job.requested_by)))?;
    if let Some(about) = store.titles(None, vec![job.job_id]).await?.get(&job.job_id) {
        out::line(format!("  {}", title::title(job, about)))?;
    }
    match job.ended_by {
        Some(EndedBy::Person(person)) => out::line(format!("  cancelled by {}", name(person)))?,
        Some(EndedBy::Operator) => out::line("  cancelled by the operator")?,
        None => {}
    }
    if let Some(note) = &job.note {
        out::line(format!("  note: {note}"))?;
    }
    for line in related(job).into_iter().chain(attempts(job)) {
        out::line(line)?;
    }
    for line in counts(job) {
        out::line(line)?;
    }
    let rejections = named(store, job, REJECTIONS_IN_WORDS as i64).await?;
    for (rejection, name) in &rejections {
        out::line(format!("    {}", rejected(rejection, name.as_ref())))?;
    }
    let more = job.rejections_total.saturating_sub(rejections.len() as u64);
    if more > 0 {
        out::line(format!(
            "    and {} more: `batchshare jobs show {} --json --rejections N`",
            out::grouped(more),
            job.job_id
        ))?;
    }
    Ok(())
}

async fn named(
    store: &Store,
    job: &JobSnapshot,
    limit: i64,
) -> Result<Vec<(Rejection, Option<Known>)>, Failure> {
    with_names(store, store.rejections(job.job_id, 0, limit).await?).await
}

/// The rejections with the names of what they are about, as an operator may see them.
pub(super) async fn with_names(
    store: &Store,
    rejections: Vec<Rejection>,
) -> Result<Vec<(Rejection, Option<Known>)>, Failure> {
    let secrets = rejections.iter().filter_map(|rejection| match rejection.subject {
        Subject::Secret(id) => Some(id),
        Subject::Recipient(..) => None,
    });
    let secrets = store.secret_names(secrets).await?;
    let principals = rejections.iter().filter_map(|rejection| match rejection.subject {
        Subject::Secret(_) => None,
        Subject::Recipient(_, id) => Some(id),
    });
    let principals = store.principal_names(principals).await?;
    let name = |rejection: &Rejection| match rejection.subject {
        Subject::Secret(id) => secrets.get(&id).map(|name| Known::called(name)),
        Subject::Recipient(_, id) => principals.get(&id).cloned(),
    };
    Ok(rejections.iter().map(|rejection| (*rejection, name(rejection))).collect())
}

fn headline(job: &JobSnapshot, by: &str) -> String {
    let state = match job.state {
        JobState::Queued => "is queued",
        JobState::Running => "is running",
        JobState::Retrying => "waits for another try",
        JobState::Completed => "is completed",
        JobState::CompletedWithRejections => "is completed, with rejections",
        JobState::Failed => "failed",
        JobState::Cancelled => "was cancelled",
    };
    let reason = job.reason.map_or(String::new(), |reason| format!(": {}", why(reason)));
    let retry = job.retry.as_ref().map_or(String::new(), |retry| format!(" ({})", retry.last_error));
    let kind = match job.kind {
        JobKind::Share => "Job",
        JobKind::Undo => "Undo",
        JobKind::Unshare => "Unshare",
    };
    format!("{kind} {} of {by} {state}{reason}{retry}", job.job_id)
}

/// The jobs that this one has to do with.
fn related(job: &JobSnapshot) -> Vec<String> {
    let parent = job.parent.map(|parent| match job.kind {
        JobKind::Undo => format!("  takes back what job {parent} gave"),
        JobKind::Share | JobKind::Unshare => format!("  shares what job {parent} left"),
    });
    let undone = job.undone_by.map(|undo| format!("  undone by job {undo}"));
    parent.into_iter().chain(undone).collect()
}

/// How often an attempt failed, and when the next one is.
fn attempts(job: &JobSnapshot) -> Option<String> {
    let next = job.retry.as_ref().and_then(|retry| retry.next_attempt_at);
    let next = next.map_or(String::new(), |at| format!(", next at {}", rfc3339(at)));
    (job.attempts > 0).then(|| format!("  attempts {}{next}", job.attempts))
}

fn why(reason: FailReason) -> &'static str {
    match reason {
        FailReason::RequesterNotValid => "the requester does not exist, is not active or has no account",
        FailReason::NothingToShare => "there was nothing to share",
        FailReason::LimitExceeded => "it is larger than a job may be",
        FailReason::InvalidRequest => "the request is not valid",
        FailReason::AttemptsExhausted => "it was tried too often",
        FailReason::NothingToUndo => "there was nothing to take back",
        FailReason::NothingToUnshare => "there was nothing to take away",
        FailReason::JobNotEnded => "the job to take back has not ended",
        FailReason::AlreadyUndone => "the job is taken back already",
        FailReason::NotUndoable => "only a share can be taken back",
    }
}

/// How much an undo has taken back, and why not all, in a sentence each.
fn taken_back(job: &JobSnapshot) -> String {
    let Taken { revoked, lowered, kept, untouched } = job.taken;
    let mut words = format!("  Taken back: {} of ", out::grouped(revoked + lowered));
    words.push_str(&job.pairs.map_or("?".to_owned(), out::grouped));
    words.push('.');
    let are = |count: u64| if count == 1 { "is" } else { "are" };
    if lowered > 0 {
        words.push_str(&format!(" {} of them can still be viewed.", out::grouped(lowered)));
    }
    if kept > 0 {
        words.push_str(&format!(" {} {} kept: others shared them, too.", out::grouped(kept), are(kept)));
    }
    if untouched > 0 {
        words.push_str(&format!(" {} had gone already.", out::grouped(untouched)));
    }
    words
}

/// A line for each count that is not zero, and one for the pairs that were not touched.
fn counts(job: &JobSnapshot) -> Vec<String> {
    let done = job.done();
    let untouched = job.pairs.map_or(0, |pairs| pairs.saturating_sub(done));
    let undo = job.kind == JobKind::Undo && done > 0;
    let lines = [
        (job.counts.granted, "shared"),
        (job.counts.upgraded, "upgraded from view to edit"),
        (job.counts.unchanged, "had it already"),
        (if undo { 0 } else { job.taken.revoked }, "taken away"),
        (if undo { 0 } else { job.taken.lowered }, "lowered from edit to view"),
        (if undo { 0 } else { job.taken.untouched }, "had nothing to take"),
        (untouched, if job.state.is_terminal() { "not touched" } else { "still to do" }),
        (
            job.counts.rejected,
            if job.kind == JobKind::Share { "not shared" } else { "not taken: no right to" },
        ),
    ];
    let shown = lines.into_iter().filter(|(count, _)| *count > 0);
    let shown = shown.map(|(count, words)| format!("  {:>10} {words}", out::grouped(count)));
    undo.then(|| taken_back(job)).into_iter().chain(shown).collect()
}

/// What was rejected and why, in words.
pub(super) fn rejected(rejection: &Rejection, name: Option<&Known>) -> String {
    let (what, id) = match rejection.subject {
        Subject::Secret(id) => ("secret", id.get()),
        Subject::Recipient(kind, id) => (noun(kind), id.get()),
    };
    let known = name.is_some();
    let name = match name {
        None => id.to_string(),
        Some(Known { name, username: None, .. }) => format!("{name} ({id})"),
        Some(Known { name, username: Some(username), .. }) => format!("{name} ({username}, {id})"),
    };
    // An operator sees every name, and the requester may not.
    let reason = match rejection.reason {
        RejectReason::NotFound if known => "the requester may not see it",
        other => reason(other),
    };
    format!("{what} {name}: {reason}")
}

fn reason(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::NotFound => "does not exist",
        RejectReason::NotAllowed => "the requester may view it and may not share it",
        RejectReason::Disabled => "is disabled",
        RejectReason::Inactive => "is not active",
        RejectReason::NoAccount => "has no MySafe account",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Retry;
    use crate::domain::{Counts, JobId, SecretId};

    fn job(state: JobState, counts: Counts, pairs: u64) -> JobSnapshot {
        JobSnapshot {
            kind: crate::domain::JobKind::Share,
            parent: None,
            undone_by: None,
            ended_by: None,
            note: None,
            taken: crate::domain::Taken::default(),
            job_id: JobId::generate(),
            run: 1,
            requested_by: PrincipalId::new(1).expect("an id"),
            state,
            reason: None,
            secrets: Some(pairs),
            recipients: Some(1),
            pairs: Some(pairs),
            counts,
            rejections: Vec::new(),
            rejections_total: 0,
            attempts: 0,
            requested_at: 0,
            started_at: None,
            finished_at: None,
            retry: None,
        }
    }

    fn written(body: &JobBody) -> String {
        serde_json::to_string(body).expect("JSON")
    }

    #[test]
    fn the_notice_counts_what_was_done_and_what_was_not() {
        let some = Counts { granted: 2_380, upgraded: 10, unchanged: 0, rejected: 1_200 };
        let lines = counts(&job(JobState::CompletedWithRejections, some, some.done()));
        assert_eq!(
            lines,
            ["       2,380 shared", "          10 upgraded from view to edit", "       1,200 not shared"]
        );
        let failed = JobSnapshot {
            reason: Some(FailReason::AttemptsExhausted),
            ..job(JobState::Failed, some, 10_000)
        };
        assert!(counts(&failed).contains(&"       6,410 not touched".to_owned()));
        assert!(headline(&failed, "Ana Souza").ends_with(" of Ana Souza failed: it was tried too often"));
    }

    #[test]
    fn an_undo_says_how_much_it_took_back_and_why_not_all() {
        let taken = Taken { revoked: 478, lowered: 2, kept: 12, untouched: 8 };
        let undo = JobSnapshot {
            kind: JobKind::Undo,
            taken,
            parent: Some(JobId::generate()),
            ..job(JobState::Completed, Counts::default(), 500)
        };
        let words = "  Taken back: 480 of 500. 2 of them can still be viewed. 12 are kept: others shared them, too. \
                     8 had gone already.";
        assert_eq!(counts(&undo), [words]);
        assert!(headline(&undo, "Ana").starts_with("Undo "));
        assert_eq!(related(&undo).len(), 1);
    }

    #[test]
    fn a_job_that_waits_for_another_try_says_how_often_and_until_when() {
        let retry = Some(Retry { last_error: "a deadlock".to_owned(), next_attempt_at: Some(1_000) });
        let job = job(JobState::Running, Counts::default(), 4);
        assert_eq!(attempts(&job), None);
        let waiting = JobSnapshot { state: JobState::Retrying, attempts: 2, retry, ..job };
        assert!(headline(&waiting, "Ana").ends_with("waits for another try (a deadlock)"));
        assert_eq!(attempts(&waiting).as_deref(), Some("  attempts 2, next at 1970-01-01T00:00:01Z"));
        let failed = JobSnapshot { state: JobState::Failed, attempts: 5, retry: None, ..waiting };
        assert_eq!(attempts(&failed).as_deref(), Some("  attempts 5"));
    }

    #[test]
    fn an_operator_reads_what_the_last_try_failed_of_and_nobody_else() {
        let retry = Retry { last_error: "deadlock detected".to_owned(), next_attempt_at: None };
        let waiting = JobSnapshot { retry: Some(retry), ..job(JobState::Retrying, Counts::default(), 1) };
        assert!(written(&body(&waiting)).contains(r#""retry":{"last_error":"deadlock detected","#));
        assert!(headline(&waiting, "Ana Souza").ends_with("waits for another try (deadlock detected)"));
        assert!(!written(&JobBody::of(&waiting)).contains("deadlock"));
    }

    #[test]
    fn a_rejection_says_who_and_why() {
        let carla = Subject::Recipient(PrincipalKind::User, PrincipalId::new(3).expect("an id"));
        let rejection = Rejection { subject: carla, reason: RejectReason::NoAccount, pairs: 1 };
        let called = Known { username: Some("carla".to_owned()), ..Known::called("Carla Dias") };
        assert_eq!(rejected(&rejection, Some(&called)), "user Carla Dias (carla, 3): has no MySafe account");
        let gone = Subject::Secret(SecretId::new(9).expect("an id"));
        let rejection = Rejection { subject: gone, reason: RejectReason::NotFound, pairs: 1 };
        assert_eq!(rejected(&rejection, None), "secret 9: does not exist");
        let pix = Known::called("Pix");
        assert_eq!(rejected(&rejection, Some(&pix)), "secret Pix (9): the requester may not see it");
    }
}
