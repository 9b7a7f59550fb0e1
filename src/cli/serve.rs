//! `batchshare serve`: runs a gateway.

use crate::app;
use crate::app::Roles;
use crate::cli::{Code, Failure};
use crate::config::Settings;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Bring the database up to date first
    #[arg(long)]
    migrate: bool,
}

pub(super) async fn run(args: Args, settings: Settings) -> Result<Code, Failure> {
    app::run(settings, Roles::serve(args.migrate), |_| ()).await?;
    Ok(Code::Done)
}
