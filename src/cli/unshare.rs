//! `batchshare unshare`: takes access away in a job and waits for its end, or says what that would be.

use clap::ArgGroup;

use crate::cli::failure::EXIT_CODES;
use crate::cli::pick::{Asked, Picked, pick, search, secret_id, tag};
use crate::cli::recipients::Typed;
use crate::cli::{Code, Failure, ask, open, out, watch};
use crate::config::Settings;
use crate::contract::answer;
use crate::domain::share::OverLimit;
use crate::domain::{Permission, SecretId, ShareRequest};
use crate::store::{LEDGER_NOT_READY, Store, Submission, Submitted, UnshareForeseen, UnsharePreview};

#[derive(Debug, clap::Args)]
#[command(
    after_help = EXIT_CODES,
    group(ArgGroup::new("what").required(true).multiple(true).args(["secret", "tag", "search", "all"])),
    group(ArgGroup::new("whom").required(true).multiple(true).args(["user", "group", "personal_group"])),
)]
pub(super) struct Args {
    /// Who takes access away: a username, an e-mail address or a name, each exactly
    #[arg(long = "as", value_name = "USER")]
    requester: String,
    /// Secrets by id
    #[arg(long, num_args = 1.., value_name = "ID", value_parser = secret_id, conflicts_with_all = ["tag", "search", "all"])]
    secret: Vec<SecretId>,
    /// All secrets that USER owns or may edit and that have this tag
    #[arg(long, value_parser = tag)]
    tag: Option<String>,
    /// All secrets that USER owns or may edit with each of these words in name, identifier or URL
    #[arg(long, value_name = "TEXT", value_parser = search)]
    search: Option<String>,
    /// All secrets that USER owns or may edit
    #[arg(long)]
    all: bool,
    /// From whom: username, e-mail address or name; with :edit after it, they may still view
    #[arg(long, num_args = 1.., value_name = "USER[:edit]")]
    user: Vec<Typed>,
    /// From which user groups, likewise
    #[arg(long, num_args = 1.., value_name = "NAME[:edit]")]
    group: Vec<Typed>,
    /// From which personal groups, likewise
    #[arg(long, num_args = 1.., value_name = "NAME[:edit]")]
    personal_group: Vec<Typed>,
    /// Lower all of them from edit to view, but for those with :view after the name, who lose everything
    #[arg(long)]
    lower: bool,
    /// Only print what would be taken away
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print the job's id and do not wait for its end
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
    /// Print the job, or with --dry-run its counts, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let store = open::store(settings).await?;
    let request = request(&store, &args).await?;
    if args.dry_run {
        return tell(&foresee(&store, request, &args, settings).await?, args.json);
    }
    if !args.yes && !confirmed(&store, request.clone(), &args, settings).await? {
        return Err(Failure::failed("nothing was taken away"));
    }
    let submission = Submission { request, idempotency_key: None, traceparent: None };
    let submitted = store.submit(submission, settings.limits(), settings.limits.unfinished_jobs).await?;
    let job = match submitted {
        Submitted::Accepted(job) | Submitted::Repeated(job) => job,
        Submitted::NothingMatches => return Err(nothing_matches(&args)),
        Submitted::OverLimit(over) => return Err(over_limit(&over)),
        Submitted::NotReady => return Err(not_ready()),
        Submitted::TooManyUnfinished { limit } => {
            return Err(Failure::failed(format!(
                "{} has {limit} unfinished jobs already; wait for some to end (`batchshare jobs list`)",
                args.requester
            )));
        }
        // These are answers only to a request with a key or with an allowance, and this one has neither.
        Submitted::KeyConflict | Submitted::OverAllowance { .. } => {
            return Err(Failure::failed("the job was not taken"));
        }
    };
    let told = format!("job {}", job.job_id);
    watch::or_leave(&store, &job, &told, args.no_wait, args.json).await
}

async fn request(store: &Store, args: &Args) -> Result<ShareRequest, Failure> {
    let asked = Asked {
        requester: &args.requester,
        secrets: &args.secret,
        search: args.search.as_ref(),
        tag: args.tag.as_ref(),
        users: &args.user,
        groups: &args.group,
        personal_groups: &args.personal_group,
        default: if args.lower { Permission::Edit } else { Permission::View },
    };
    let Picked { requester, selection, recipients } = pick(store, asked).await?;
    Ok(ShareRequest::taking(requester, selection, recipients))
}

async fn foresee(
    store: &Store,
    request: ShareRequest,
    args: &Args,
    settings: &Settings,
) -> Result<UnsharePreview, Failure> {
    match store.foresee_unshare(request, settings.limits()).await? {
        UnshareForeseen::Preview(preview) => Ok(preview),
        UnshareForeseen::NothingMatches => Err(nothing_matches(args)),
        UnshareForeseen::OverLimit(over) => Err(over_limit(&over)),
        UnshareForeseen::NotReady => Err(not_ready()),
        UnshareForeseen::RequesterNotValid => {
            Err(Failure::failed(format!("{} is not active or has no account", args.requester)))
        }
    }
}

/// Asks the person at the terminal, with the counts of what would be taken.
async fn confirmed(
    store: &Store,
    request: ShareRequest,
    args: &Args,
    settings: &Settings,
) -> Result<bool, Failure> {
    const NOBODY: &str = "nobody is there to ask whether to take access away: say --yes";
    if !ask::somebody_is_there() {
        return Err(Failure::usage(NOBODY));
    }
    let UnsharePreview { taken, secrets, recipients, exact, .. } =
        foresee(store, request, args, settings).await?;
    let more = if exact { "" } else { "at least " };
    let question = format!(
        "Take access to {} away from {}? {more}{} would be removed and {more}{} lowered from edit to view. This cannot be \
         undone.",
        out::counted(secrets, "secret"),
        out::counted(recipients, "recipient"),
        out::counted(taken.revoked, "grant"),
        out::grouped(taken.lowered),
    );
    ask::confirmed(&question, NOBODY)
}

/// Prints what would be taken away.
fn tell(preview: &UnsharePreview, json: bool) -> Result<Code, Failure> {
    let UnsharePreview { taken, rejected, secrets, recipients, exact } = *preview;
    if json {
        out::json(&answer::UnsharePreview::of(taken, rejected, secrets, recipients, exact))?;
        return Ok(Code::Done);
    }
    let more = if exact { "" } else { "at least " };
    let lines = [
        (taken.revoked, "would be taken away"),
        (taken.lowered, "would be lowered from edit to view"),
        (taken.untouched, "have nothing to take"),
        (rejected, "would be rejected"),
    ];
    for (count, words) in lines.into_iter().filter(|(count, _)| *count > 0) {
        out::line(format!("  {more}{:>10} {words}", out::grouped(count)))?;
    }
    Ok(Code::Done)
}

fn nothing_matches(args: &Args) -> Failure {
    Failure::not_found(format!("{} owns or may edit no secret that matches", args.requester))
}

fn over_limit(over: &OverLimit) -> Failure {
    Failure::usage(format!("{over}; take access away in several jobs"))
}

fn not_ready() -> Failure {
    Failure::failed(LEDGER_NOT_READY)
}
