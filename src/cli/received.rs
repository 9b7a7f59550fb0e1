//! `batchshare received --as USER`: what was shared with a person and with their groups.

use crate::cli::failure::EXIT_CODES;
use crate::cli::recipients;
use crate::cli::recipients::{Names, noun};
use crate::cli::{Code, Failure, open, out};
use crate::config::Settings;
use crate::contract::{answer, rfc3339};
use crate::domain::received::{Received, ReceivedState};
use crate::domain::{PrincipalId, PrincipalKind};

const EXAMPLES: &str = "\
Examples:
  batchshare received --as bruno
  batchshare received --as bruno --limit 5 --json
";

#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = EXIT_CODES)]
pub(super) struct Args {
    /// Who received: a username, an e-mail address or a name, each exactly
    #[arg(long = "as", value_name = "USER")]
    user: String,
    /// How many at the most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Go on where an earlier listing ended: its next_cursor
    #[arg(long)]
    cursor: Option<i64>,
    /// Print {"items":[…],"next_cursor":…,"unseen":…}
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let store = open::store(settings).await?;
    let user = recipients::one(&store, PrincipalKind::User, &args.user, None, Names::Exact).await?;
    let page = store.received(user.id, args.cursor, i64::from(args.limit)).await?;
    if args.json {
        let items = page.items.into_iter().map(answer::Received::from).collect();
        out::json(&answer::ReceivedPage { items, next_cursor: page.next, unseen: page.unseen })?;
        return Ok(Code::Done);
    }
    for item in &page.items {
        for line in lines(item, user.id) {
            out::line(line)?;
        }
    }
    if page.items.is_empty() {
        out::message("nothing was shared with this person");
    }
    if let Some(cursor) = page.next {
        out::message(&format!("more: --cursor {cursor}"));
    }
    Ok(Code::Done)
}

/// An entry in words, with its note on a line of its own.
fn lines(item: &Received, user: PrincipalId) -> Vec<String> {
    let by = item.sharer.clone().unwrap_or_else(|| format!("user {}", item.shared_by));
    let secrets = match item.secrets {
        1 => "1 secret".to_owned(),
        many => format!("{} secrets", out::grouped(u64::try_from(many).unwrap_or(0))),
    };
    let to = match &item.to_name {
        _ if item.to == user => String::new(),
        Some(name) => format!(" with the {} {name}", noun(item.to_kind)),
        None => format!(" with a {}", noun(item.to_kind)),
    };
    let state = match item.state {
        ReceivedState::Shared => "",
        ReceivedState::PartlyUndone => "; a part is no longer shared",
        ReceivedState::Undone => "; no longer shared",
    };
    let new = if item.seen { "" } else { "  new" };
    let mut lines = vec![format!(
        "{:<24}  {by} shared {secrets}{to}, to {}{state}{new}",
        rfc3339(item.at),
        item.permission.as_str()
    )];
    lines.extend(item.note.as_ref().map(|note| format!("{:<24}  {note}", "")));
    lines
}
