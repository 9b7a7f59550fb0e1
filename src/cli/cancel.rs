//! `batchshare jobs cancel`: ends one job, or all jobs of a person whose program has gone wild.

use crate::cli::failure::EXIT_CODES;
use crate::cli::recipients;
use crate::cli::recipients::Names;
use crate::cli::{Code, Failure, ask, out, report, watch};
use crate::domain::{EndedBy, JobId, JobSnapshot, PrincipalKind};
use crate::store::{Cancelled, Store};

/// How many ids of jobs are read at once.
const PAGE: i64 = 1_000;

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    #[arg(value_parser = job_id, required_unless_present = "all_of", conflicts_with = "all_of")]
    id: Option<JobId>,
    /// All jobs of this person that have not ended: username, e-mail address or name, each exactly
    #[arg(long, value_name = "USER")]
    all_of: Option<String>,
    /// Do not ask
    #[arg(long, requires = "all_of")]
    yes: bool,
    /// Print the job as it ended as JSON, or {"items":[…],"next_cursor":null} with --all-of
    #[arg(long)]
    json: bool,
}

/// A job's id, as it is typed.
pub(super) fn job_id(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|()| "is not a job's id (a UUID)".to_owned())
}

pub(super) async fn run(store: &Store, args: &Args) -> Result<Code, Failure> {
    match (args.id, &args.all_of) {
        (Some(id), _) => one(store, id, args.json).await,
        (None, Some(person)) => all_of(store, person, args).await,
        // The command line lets nobody leave out both.
        (None, None) => Err(Failure::usage("say which job to cancel")),
    }
}

async fn one(store: &Store, id: JobId, json: bool) -> Result<Code, Failure> {
    let job = match cancel(store, id).await? {
        Cancelled::Done(job) | Cancelled::Already(job) => job,
        Cancelled::Ended(job) => {
            let state = job.state;
            return Err(Failure::failed(format!("job {id} has ended as {state} and cannot be cancelled")));
        }
        Cancelled::NotFound => return Err(watch::not_found(id)),
    };
    if json {
        out::json(&report::body_with_rejections(store, &job, report::REJECTIONS_IN_JSON).await?)?;
    } else {
        report::notice(store, &job).await?;
    }
    Ok(Code::Done)
}

async fn cancel(store: &Store, id: JobId) -> Result<Cancelled, Failure> {
    store.cancel(id, EndedBy::Operator).await.map_err(|error| {
        if error.is_busy() {
            return Failure::failed(format!(
                "job {id} is held by another transaction; it was not cancelled, try again"
            ));
        }
        error.into()
    })
}

/// The jobs of a person that have not ended. Jobs that come while the command runs are not among them: it ends also
/// beside a program that asks for jobs without end.
async fn unfinished(store: &Store, person: &str) -> Result<Vec<JobId>, Failure> {
    let person = recipients::one(store, PrincipalKind::User, person, None, Names::Exact).await?.id;
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let (ids, next) = store.unfinished_ids(person, cursor, PAGE).await?;
        all.extend(ids);
        cursor = next;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

async fn all_of(store: &Store, person: &str, args: &Args) -> Result<Code, Failure> {
    let ids = unfinished(store, person).await?;
    if ids.is_empty() {
        return Err(Failure::not_found(format!("{person} has no job that has not ended")));
    }
    let jobs = out::counted(ids.len() as u64, "job");
    let question = format!("Cancel {jobs} of {person}? What they have done so far stays.");
    if !args.yes && !ask::confirmed(&question, "nobody is there to ask whether to cancel: say --yes")? {
        return Err(Failure::failed("nothing was cancelled"));
    }
    let mut ended = Vec::new();
    let mut held = 0;
    let result = async {
        for id in ids {
            match store.cancel(id, EndedBy::Operator).await {
                Ok(Cancelled::Done(job)) => {
                    if !args.json {
                        out::line(words(&job))?;
                    }
                    ended.push(job);
                }
                // It has ended since it was listed.
                Ok(_) => {}
                Err(error) if error.is_busy() => {
                    held += 1;
                    out::message(&format!("job {id} is held by another transaction and goes on"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    };
    let result: Result<(), Failure> = result.await;
    // What was done is told before the error that ended the command.
    if args.json {
        out::listing(ended.iter().map(report::body).collect(), None::<i64>)?;
    } else {
        let pairs = ended.iter().map(JobSnapshot::done).sum();
        let (jobs, pairs) = (out::counted(ended.len() as u64, "job"), out::counted(pairs, "pair"));
        out::message(&format!("{jobs} cancelled, with {pairs} done"));
    }
    result?;
    Ok(if held > 0 { Code::Failed } else { Code::Done })
}

fn words(job: &JobSnapshot) -> String {
    let of = job.pairs.map_or(String::new(), |pairs| format!(" of {}", out::grouped(pairs)));
    format!("job {}: cancelled, {}{of} pairs done", job.job_id, out::grouped(job.done()))
}
