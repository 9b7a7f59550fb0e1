//! What `batchshare dead` is told: which letters, and what to do with them.

use clap::ArgGroup;

use crate::domain::{DeadReason, DeadState};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct List {
    /// With this reason only: not_json, invalid_field, attempts_exhausted …
    #[arg(long, value_parser = reason)]
    pub(super) reason: Option<DeadReason>,
    /// In this state only: kept, replayed, discarded
    #[arg(long, value_parser = state)]
    pub(super) state: Option<DeadState>,
    /// How many at the most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) limit: u16,
    /// Go on where an earlier listing ended: its next_cursor
    #[arg(long)]
    pub(super) cursor: Option<i64>,
    /// Print {"items":[…],"next_cursor":…}
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Show {
    pub(super) id: i64,
    /// Show all of the body
    #[arg(long)]
    pub(super) full: bool,
    /// Write the body's bytes as they are; to a file or a pipe only, since a terminal might obey them
    #[arg(long, conflicts_with_all = ["full", "json"])]
    pub(super) raw: bool,
    /// Print the letter as JSON; a body that is no UTF-8 is in body_base64, and of a discarded one there is
    /// discarded_sha256
    #[arg(long)]
    pub(super) json: bool,
}

/// Which letters.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "reason", "all"])))]
pub(in crate::cli) struct Which {
    /// Letters by id
    pub(super) id: Vec<i64>,
    /// All that are kept with this reason
    #[arg(long, value_parser = reason)]
    pub(super) reason: Option<DeadReason>,
    /// All that are kept
    #[arg(long)]
    pub(super) all: bool,
    /// Print {"items":[…],"next_cursor":null}, each with what became of it
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Replay {
    #[command(flatten)]
    pub(super) which: Which,
    /// Also replay what was refused for its publisher (publisher_not_allowed), named by id or by that reason: you
    /// have looked at it and answer for it
    #[arg(long, conflicts_with = "all")]
    pub(super) trust_publisher: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Discard {
    #[command(flatten)]
    pub(super) which: Which,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

fn reason(text: &str) -> Result<DeadReason, String> {
    DeadReason::from_name(text).ok_or_else(|| none_of(DeadReason::ALL.iter().map(|name| name.as_str())))
}

fn state(text: &str) -> Result<DeadState, String> {
    DeadState::from_name(text).ok_or_else(|| none_of(DeadState::ALL.iter().map(|name| name.as_str())))
}

fn none_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("is none of {}", names.collect::<Vec<_>>().join(", "))
}
