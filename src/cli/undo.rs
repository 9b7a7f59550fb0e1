//! `batchshare jobs undo`: takes back what a share gave, and waits for the end; or says what that would be.

use crate::app;
use crate::cli::cancel::job_id;
use crate::cli::failure::EXIT_CODES;
use crate::cli::{Code, Failure, out, watch};
use crate::config::Settings;
use crate::contract::answer;
use crate::domain::JobId;
use crate::store::{Foreseen, NotUndone, Store, UndoBy, UndoOrder, UndoOrdered, UndoPreview};

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    #[arg(value_parser = job_id)]
    id: JobId,
    /// Look at no right: also where the job's requester has lost theirs
    #[arg(long)]
    as_operator: bool,
    /// Only print what an undo would do
    #[arg(long)]
    dry_run: bool,
    /// Print the undo's id and do not wait for its end
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
    /// Print the undo, or with --dry-run its counts, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(store: &Store, args: &Args, settings: &Settings) -> Result<Code, Failure> {
    let by = UndoBy::Operator { unchecked: args.as_operator };
    if args.dry_run {
        return foresee(store, args, by).await;
    }
    let order = UndoOrder { parent: args.id, by, idempotency_key: None, traceparent: None };
    let undo = match store.undo(order, app::begin_options(settings)).await? {
        UndoOrdered::Accepted(job) | UndoOrdered::Repeated(job) => job,
        UndoOrdered::UnknownJob => return Err(watch::not_found(args.id)),
        UndoOrdered::Refused(why) => return Err(refused(args.id, why)),
        // This is an answer only to an order with a key, and this one has none.
        UndoOrdered::KeyConflict => return Err(Failure::failed("the undo was not taken")),
    };
    let told = format!("job {} undoes {}", undo.job_id, args.id);
    watch::or_leave(store, &undo, &told, args.no_wait, args.json).await
}

async fn foresee(store: &Store, args: &Args, by: UndoBy) -> Result<Code, Failure> {
    let preview = match store.foresee_undo(args.id, by).await? {
        Foreseen::Preview(preview) => preview,
        Foreseen::UnknownJob => return Err(watch::not_found(args.id)),
        Foreseen::Refused(why) => return Err(refused(args.id, why)),
        Foreseen::RequesterNotValid => {
            return Err(Failure::failed(format!(
                "the requester of job {} may not act any more: undo it with --as-operator",
                args.id
            )));
        }
    };
    let UndoPreview { taken, rejected, values_read, exact } = preview;
    if args.json {
        out::json(&answer::UndoPreview::of(taken, rejected, values_read, exact))?;
        return Ok(Code::Done);
    }
    let more = if exact { "" } else { "at least " };
    let lines = [
        (taken.revoked, "would be taken back"),
        (taken.lowered, "would be lowered from edit to view"),
        (taken.kept, "would be kept: others shared them, too"),
        (taken.untouched, "have gone already, or were there before"),
        (rejected, "would be rejected: the requester may not share these secrets any more"),
        (values_read, "of the secrets were read since: their values want to be changed"),
    ];
    for (count, words) in lines.into_iter().filter(|(count, _)| *count > 0) {
        out::line(format!("  {more}{:>10} {words}", out::grouped(count)))?;
    }
    Ok(Code::Done)
}

fn refused(job: JobId, why: NotUndone) -> Failure {
    Failure::failed(format!("job {job} is not undone: {why}"))
}
