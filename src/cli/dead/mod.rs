//! `batchshare dead list|show|replay|discard`: what an operator does with dead letters.

mod args;
mod body;
mod settle;
mod show;

use std::time::Duration;

use crate::cli::dead::args::{Discard, List, Replay, Show};
use crate::cli::{Code, Failure, examples, open};
use crate::config::Settings;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Dead letters, newest first
    #[command(before_help = examples::DEAD_LIST)]
    List(List),
    /// One dead letter with its headers and its body, escaped and cut
    #[command(before_help = examples::DEAD_SHOW)]
    Show(Show),
    /// Send letters on their way again: a job whose attempts are used up goes on where it stopped, any
    /// other message is published once more, byte for byte as it came, by batchshare's own user. --all leaves
    /// out what was refused: publisher_not_allowed and id_conflict
    #[command(before_help = examples::DEAD_REPLAY)]
    Replay(Replay),
    /// Put letters aside for good; they stay in the table as discarded, without their bodies
    #[command(before_help = examples::DEAD_DISCARD)]
    Discard(Discard),
}

pub(super) async fn run(command: Command, settings: &Settings) -> Result<Code, Failure> {
    let store = open::store(settings).await?;
    match command {
        Command::List(args) => show::list(&store, &args).await,
        Command::Show(args) => show::one(&store, &args).await,
        Command::Replay(args) => {
            settle::replay(&store, &args, Duration::from_millis(settings.worker.lane_lease_ms)).await
        }
        Command::Discard(args) => settle::discard(&store, &args).await,
    }
}
