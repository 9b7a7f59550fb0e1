//! `batchshare jobs rest`: shares what a share rejected or never came to, and waits for the end.

use crate::app;
use crate::cli::cancel::job_id;
use crate::cli::failure::EXIT_CODES;
use crate::cli::{Code, Failure, watch};
use crate::config::Settings;
use crate::domain::{JobId, RejectReason};
use crate::store::{Allowance, RestLimits, RestOrder, RestOrdered, Store};

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    #[arg(value_parser = job_id)]
    id: JobId,
    /// Of the rejected pairs only those with this reason: not_found, not_allowed, disabled, inactive, no_account
    #[arg(long, num_args = 1.., value_parser = reason)]
    reason: Vec<RejectReason>,
    /// Print the new job's id and do not wait for its end
    #[arg(long)]
    no_wait: bool,
    /// Print the new job as JSON
    #[arg(long)]
    json: bool,
}

fn reason(text: &str) -> Result<RejectReason, String> {
    RejectReason::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = RejectReason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("is none of {}", names.join(", "))
    })
}

pub(super) async fn run(store: &Store, args: Args, settings: &Settings) -> Result<Code, Failure> {
    let order = RestOrder {
        parent: args.id,
        by: None,
        reasons: args.reason.into_iter().collect(),
        idempotency_key: None,
        traceparent: None,
    };
    let limits = RestLimits { allowance: Allowance::UNLIMITED, unfinished: settings.limits.unfinished_jobs };
    let refused = |why: String| Failure::failed(format!("what job {} left is not shared: {why}", args.id));
    let job = match store.share_rest(order, app::begin_options(settings), limits).await? {
        RestOrdered::Accepted { job, .. } | RestOrdered::Repeated(job) => job,
        RestOrdered::UnknownJob => return Err(watch::not_found(args.id)),
        RestOrdered::Refused(why) => return Err(refused(why.to_string())),
        RestOrdered::OverLimit(over) => return Err(refused(over.to_string())),
        RestOrdered::TooManyUnfinished { limit } => {
            return Err(refused(format!(
                "its requester has {limit} unfinished jobs, which is the most at a time"
            )));
        }
        // These are answers only to an order with a key, and to one with a limit.
        RestOrdered::KeyConflict | RestOrdered::OverAllowance { .. } => {
            return Err(refused("the order was not taken".to_owned()));
        }
    };
    let told = format!("job {} shares what {} left", job.job_id, args.id);
    watch::or_leave(store, &job, &told, args.no_wait, args.json).await
}
