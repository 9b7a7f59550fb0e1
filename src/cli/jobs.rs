//! `batchshare jobs list|show|watch|export|cancel|undo|rest`: shows jobs to an operator, ends and undoes them, and
//! shares what they left.

use crate::cli::cancel;
use crate::cli::cancel::job_id;
use crate::cli::examples;
use crate::cli::export;
use crate::cli::failure::EXIT_CODES;
use crate::cli::recipients;
use crate::cli::recipients::Names;
use crate::cli::{Code, Failure, open, out, report, rest, title, undo, watch};
use crate::config::Settings;
use crate::contract::rfc3339;
use crate::domain::{JobId, JobSnapshot, JobState, PrincipalKind};
use crate::store::{Known, Store};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Jobs, newest first
    #[command(before_help = examples::JOBS_LIST)]
    List(List),
    /// One job, with what was not shared and why
    #[command(before_help = examples::JOBS_SHOW)]
    Show(Show),
    /// Wait for a job's end and print its notice
    #[command(before_help = examples::JOBS_WATCH)]
    Watch(Watch),
    /// Write what became of each pair of a job, and what it has now, as CSV or JSON Lines
    #[command(before_help = examples::JOBS_EXPORT)]
    Export(export::Args),
    /// End a job that runs or waits; what it has done so far stays
    #[command(before_help = examples::JOBS_CANCEL)]
    Cancel(cancel::Args),
    /// Take back what a share gave and nobody else has asked for since
    #[command(before_help = examples::JOBS_UNDO)]
    Undo(undo::Args),
    /// Share what a share rejected or never came to
    #[command(before_help = examples::JOBS_REST)]
    Rest(rest::Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Of this person only: username, e-mail address or name
    #[arg(long)]
    user: Option<String>,
    /// In this state only: queued, running, retrying, completed, completed_with_rejections, failed, cancelled
    #[arg(long, value_parser = state)]
    state: Option<JobState>,
    /// How many at the most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Go on where an earlier listing ended: its next_cursor
    #[arg(long)]
    cursor: Option<i64>,
    /// Print {"items":[…],"next_cursor":…}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[arg(value_parser = job_id)]
    id: JobId,
    /// Print the job as JSON, with its rejections
    #[arg(long)]
    json: bool,
    /// How many rejections the JSON has at the most
    #[arg(long, default_value_t = report::REJECTIONS_IN_JSON, requires = "json", value_parser = clap::value_parser!(i64).range(0..))]
    rejections: i64,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Watch {
    #[arg(value_parser = job_id)]
    id: JobId,
    /// Print the ended job as JSON, with its first rejections
    #[arg(long)]
    json: bool,
}

fn state(text: &str) -> Result<JobState, String> {
    JobState::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
        format!("is none of {}", names.join(", "))
    })
}

pub(super) async fn run(command: Command, settings: &Settings) -> Result<Code, Failure> {
    let store = open::store(settings).await?;
    match command {
        Command::List(args) => list(&store, &args).await,
        Command::Show(args) => show(&store, &args).await,
        Command::Watch(args) => watch::until_ended(&store, args.id, args.json).await,
        Command::Export(args) => export::run(&store, &args).await,
        Command::Cancel(args) => cancel::run(&store, &args).await,
        Command::Undo(args) => undo::run(&store, &args, settings).await,
        Command::Rest(args) => rest::run(&store, args, settings).await,
    }
}

async fn list(store: &Store, args: &List) -> Result<Code, Failure> {
    let (jobs, next_cursor) = find(store, args).await?;
    let mut titles = store.titles(None, jobs.iter().map(|job| job.job_id).collect()).await?;
    if args.json {
        let body = |job| report::body(job).titled(titles.remove(&job.job_id));
        out::listing(jobs.iter().map(body).collect(), next_cursor)?;
        return Ok(Code::Done);
    }
    let names = store.principal_names(jobs.iter().map(|job| job.requested_by)).await?;
    for job in &jobs {
        let by = names.get(&job.requested_by).map_or_else(|| "?".to_owned(), Known::label);
        let pairs = job.pairs.map_or("?".to_owned(), out::grouped);
        let done = format!("{}/{pairs}", out::grouped(job.done()));
        let (state, at) = (job.state.as_str(), rfc3339(job.requested_at));
        let about = titles.remove(&job.job_id).unwrap_or_default();
        let about = title::title(job, &about);
        out::line(format!("{}  {state:<25}  {done:>21}  {at:<24}  {by}: {about}", job.job_id))?;
    }
    if jobs.is_empty() {
        out::message("no jobs");
    }
    if let Some(cursor) = next_cursor {
        out::message(&format!("more: --cursor {cursor}"));
    }
    Ok(Code::Done)
}

/// Reads pages until enough jobs are in the state that was asked for.
async fn find(store: &Store, args: &List) -> Result<(Vec<JobSnapshot>, Option<i64>), Failure> {
    let user = match &args.user {
        Some(name) => Some(recipients::one(store, PrincipalKind::User, name, None, Names::Folded).await?.id),
        None => None,
    };
    let limit = usize::from(args.limit);
    let mut found = Vec::new();
    let mut cursor = args.cursor;
    loop {
        // The page has only as many jobs as are missing. So all of it is kept at the most, and its cursor is right.
        let missing = i64::try_from(limit - found.len()).unwrap_or(1);
        let (page, next) = store.jobs(user, cursor, missing).await?;
        found.extend(page.into_iter().filter(|job| args.state.is_none_or(|state| job.state == state)));
        cursor = next;
        if cursor.is_none() || found.len() >= limit {
            return Ok((found, cursor));
        }
    }
}

async fn show(store: &Store, args: &Show) -> Result<Code, Failure> {
    let Some(job) = store.job(args.id).await? else { return Err(watch::not_found(args.id)) };
    if args.json {
        out::json(&report::body_with_rejections(store, &job, args.rejections).await?)?;
    } else {
        report::notice(store, &job).await?;
    }
    Ok(Code::Done)
}
