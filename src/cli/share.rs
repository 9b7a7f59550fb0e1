//! `batchshare share`: asks for a job and waits for its end.

use clap::ArgGroup;

use crate::cli::failure::EXIT_CODES;
use crate::cli::pick::{Asked, Picked, leave_out_disabled, note, pick, search, secret_id, tag};
use crate::cli::recipients::Typed;
use crate::cli::{Code, Failure, foresee, open, out, watch};
use crate::config::Settings;
use crate::domain::share::OverLimit;
use crate::domain::{Permission, SecretId, ShareRequest};
use crate::store::{PREVIEW_TIME, ShareForeseen, Store, Submission, Submitted};

#[derive(Debug, clap::Args)]
#[command(
    after_help = EXIT_CODES,
    group(ArgGroup::new("what").required(true).multiple(true).args(["secret", "tag", "search", "all"])),
    group(ArgGroup::new("whom").required(true).multiple(true).args(["user", "group", "personal_group"])),
)]
pub(super) struct Args {
    /// Who shares: a username, an e-mail address or a name, each exactly
    #[arg(long = "as", value_name = "USER")]
    requester: String,
    /// Secrets by id
    #[arg(long, num_args = 1.., value_name = "ID", value_parser = secret_id, conflicts_with_all = ["tag", "search", "all"])]
    secret: Vec<SecretId>,
    /// All secrets that USER may share and that have this tag, without those that are disabled
    #[arg(long, value_parser = tag)]
    tag: Option<String>,
    /// All secrets that USER may share with each of these words in name, identifier or URL
    #[arg(long, value_name = "TEXT", value_parser = search)]
    search: Option<String>,
    /// All secrets that USER may share, without those that are disabled
    #[arg(long)]
    all: bool,
    /// With whom: username, e-mail address or name; with :edit after it, they may edit too
    #[arg(long, num_args = 1.., value_name = "USER[:edit]")]
    user: Vec<Typed>,
    /// With which user groups, likewise
    #[arg(long, num_args = 1.., value_name = "NAME[:edit]")]
    group: Vec<Typed>,
    /// With which personal groups, likewise
    #[arg(long, num_args = 1.., value_name = "NAME[:edit]")]
    personal_group: Vec<Typed>,
    /// All of them may edit, but for those with :view after the name
    #[arg(long)]
    edit: bool,
    /// A line for the recipients, who read it beside what they received
    #[arg(long, value_name = "TEXT", value_parser = note)]
    note: Option<String>,
    /// Only print what would be shared, and what would not and why
    #[arg(long)]
    dry_run: bool,
    /// Print the job's id and do not wait for its end
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
    /// Print the job, or with --dry-run what it would do, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let store = open::store(settings).await?;
    let request = request(&store, &args).await?;
    if args.dry_run {
        return dry_run(&store, request, &args, settings).await;
    }
    let submission = Submission { request, idempotency_key: None, traceparent: None };
    let submitted = store.submit(submission, settings.limits(), settings.limits.unfinished_jobs).await?;
    let job = match submitted {
        Submitted::Accepted(job) | Submitted::Repeated(job) => job,
        Submitted::NothingMatches => return Err(nothing_matches(&args)),
        Submitted::OverLimit(over) => return Err(over_limit(&over)),
        Submitted::TooManyUnfinished { limit } => {
            return Err(Failure::failed(format!(
                "{} has {limit} unfinished jobs already; wait for some to end (`batchshare jobs list`)",
                args.requester
            )));
        }
        // These are answers only to a request with a key or with an allowance, or to an unshare, and this is neither.
        Submitted::KeyConflict | Submitted::OverAllowance { .. } | Submitted::NotReady => {
            return Err(Failure::failed("the job was not taken"));
        }
    };
    let told = format!("job {}", job.job_id);
    watch::or_leave(&store, &job, &told, args.no_wait, args.json).await
}

async fn dry_run(
    store: &Store,
    request: ShareRequest,
    args: &Args,
    settings: &Settings,
) -> Result<Code, Failure> {
    match store.foresee_share(request, settings.limits(), PREVIEW_TIME).await? {
        ShareForeseen::Preview(preview) => foresee::tell(store, &preview, args.json).await,
        ShareForeseen::NothingMatches => Err(nothing_matches(args)),
        ShareForeseen::OverLimit(over) => Err(over_limit(&over)),
        ShareForeseen::RequesterNotValid => {
            Err(Failure::failed(format!("{} is not active or has no account", args.requester)))
        }
    }
}

fn nothing_matches(args: &Args) -> Failure {
    Failure::not_found(format!("{} may share no secret that matches", args.requester))
}

fn over_limit(over: &OverLimit) -> Failure {
    Failure::usage(format!("{over}; share in several jobs"))
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
        default: if args.edit { Permission::Edit } else { Permission::View },
    };
    let Picked { requester, mut selection, recipients } = pick(store, asked).await?;
    let disabled = leave_out_disabled(store, requester, &mut selection).await?;
    if disabled > 0 {
        let left_out = if disabled == 1 { "is left out: it is" } else { "are left out: they are" };
        out::message(&format!("{} {left_out} disabled", out::counted(disabled, "secret")));
    }
    Ok(ShareRequest::new(requester, selection, recipients).with_note(args.note.clone()))
}
