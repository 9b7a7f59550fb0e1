//! `batchshare dead list|show|replay|discard`.

mod settle;

use std::io::IsTerminal as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ArgGroup;
use serde_json::{Value, json};

use crate::cli::{Code, Failure, open, out, safe};
use crate::config::Settings;
use crate::contract::rfc3339;
use crate::domain::{DeadReason, DeadState};
use crate::store::{DeadFilter, DeadItem, KeptLetter, Store};

/// How much of a body is shown unless all of it is asked for.
const SHOWN_BYTES: usize = 4 * 1024;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Dead letters, newest first
    List(List),
    /// One dead letter with its headers and its body, escaped and cut
    Show(Show),
    /// Send letters on their way again: a job whose attempts are used up goes on where it stopped, any
    /// other message is published once more, byte for byte as it came, by batchshare's own user. --all leaves
    /// out what was refused: publisher_not_allowed and id_conflict
    Replay(Replay),
    /// Put letters aside for good; they stay in the table as discarded, without their bodies
    Discard(Discard),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// With this reason only: not_json, invalid_field, attempts_exhausted …
    #[arg(long, value_parser = reason)]
    reason: Option<DeadReason>,
    /// In this state only: kept, replayed, discarded
    #[arg(long, value_parser = state)]
    state: Option<DeadState>,
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
    id: i64,
    /// Show all of the body
    #[arg(long)]
    full: bool,
    /// Write the body's bytes as they are; to a file or a pipe only, since a terminal might obey them
    #[arg(long, conflicts_with_all = ["full", "json"])]
    raw: bool,
    /// Print the letter as JSON; a body that is no UTF-8 is in body_base64, and of a discarded one there is
    /// discarded_sha256
    #[arg(long)]
    json: bool,
}

/// Which letters.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "reason", "all"])))]
pub(super) struct Which {
    /// Letters by id
    id: Vec<i64>,
    /// All that are kept with this reason
    #[arg(long, value_parser = reason)]
    reason: Option<DeadReason>,
    /// All that are kept
    #[arg(long)]
    all: bool,
    /// Print {"items":[…],"next_cursor":null}, each with what became of it
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    which: Which,
    /// Also replay what was refused for its publisher (publisher_not_allowed), named by id or by that reason: you
    /// have looked at it and answer for it
    #[arg(long, conflicts_with = "all")]
    trust_publisher: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Discard {
    #[command(flatten)]
    which: Which,
    /// Do not ask
    #[arg(long)]
    yes: bool,
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

pub(super) async fn run(command: Command, settings: &Settings) -> Result<Code, Failure> {
    let store = open::store(settings).await?;
    match command {
        Command::List(args) => list(&store, &args).await,
        Command::Show(args) => show(&store, &args).await,
        Command::Replay(args) => {
            settle::replay(&store, &args, Duration::from_millis(settings.worker.lane_lease_ms)).await
        }
        Command::Discard(args) => settle::discard(&store, &args).await,
    }
}

async fn list(store: &Store, args: &List) -> Result<Code, Failure> {
    let filter = DeadFilter { reason: args.reason, state: args.state };
    let (items, next_cursor) = store.dead_letters(filter, args.cursor, i64::from(args.limit)).await?;
    if args.json {
        out::listing(items.iter().map(item_json).collect(), next_cursor)?;
        return Ok(Code::Done);
    }
    for item in &items {
        let (reason, state, at) = (item.reason.as_str(), item.state.as_str(), rfc3339(item.received_at));
        let job = item.job_id.map_or_else(|| "-".to_owned(), |job| job.to_string());
        let detail = safe::one_line(&item.detail);
        out::line(format!("{:>6}  {reason:<21}  {state:<9}  {at:<24}  {job:<36}  {detail}", item.id))?;
    }
    if items.is_empty() {
        out::message("no dead letters");
    }
    if let Some(cursor) = next_cursor {
        out::message(&format!("more: --cursor {cursor}"));
    }
    Ok(Code::Done)
}

/// A dead letter as every listing has it.
fn item_json(item: &DeadItem) -> Value {
    json!({
        "id": item.id,
        "reason": item.reason,
        "detail": item.detail,
        "job_id": item.job_id,
        "message_id": item.message_id,
        "bytes": item.bytes,
        "received_at": rfc3339(item.received_at),
        "state": item.state,
    })
}

async fn show(store: &Store, args: &Show) -> Result<Code, Failure> {
    let Some(letter) = store.dead_letter(args.id).await? else { return Err(not_found(args.id)) };
    if args.raw {
        if std::io::stdout().is_terminal() {
            let why = "--raw writes bytes that a terminal might obey: send them to a file or a pipe";
            return Err(Failure::usage(why));
        }
        if letter.freed.is_some() {
            return Err(Failure::failed(format!("the body of dead letter {} was discarded", args.id)));
        }
        out::bytes(&letter.body)?;
    } else if args.json {
        out::json(&letter_json(&letter))?;
    } else {
        print(&letter, args.full)?;
    }
    Ok(Code::Done)
}

fn letter_json(letter: &KeptLetter) -> Value {
    let mut value = item_json(&letter.item);
    value["run"] = letter.item.run.into();
    value["user_id"] = letter.user_id.clone().into();
    value["origin"] = letter.item.origin.as_str().into();
    value["state_at"] = letter.item.state_at.map(rfc3339).into();
    value["headers"] = letter.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    match (&letter.freed, std::str::from_utf8(&letter.body)) {
        (Some(digest), _) => {
            value["body"] = Value::Null;
            value["discarded_sha256"] = digest.as_str().into();
        }
        (None, Ok(text)) => value["body"] = text.into(),
        (None, Err(_)) => value["body_base64"] = STANDARD.encode(&letter.body).into(),
    }
    value
}

fn print(letter: &KeptLetter, full: bool) -> Result<(), Failure> {
    let item = &letter.item;
    let state = match item.state_at {
        Some(at) => format!("{} at {}", item.state, rfc3339(at)),
        None => item.state.to_string(),
    };
    let run = item.run.map_or(String::new(), |run| format!(", run {run}"));
    let job = item.job_id.map_or_else(|| "none".to_owned(), |job| format!("{job}{run}"));
    out::line(format!("Dead letter {}: {}", item.id, item.reason))?;
    out::line(format!("  detail    {}", safe::one_line(&item.detail)))?;
    out::line(format!("  state     {state}"))?;
    out::line(format!("  received  {}", rfc3339(item.received_at)))?;
    out::line(format!("  was a     {}", item.origin))?;
    out::line(format!("  job       {job}"))?;
    let message_id = item.message_id.as_deref().map_or_else(|| "none".to_owned(), safe::one_line);
    out::line(format!("  message   {message_id}"))?;
    let user_id = letter.user_id.as_deref().map_or_else(|| "not told".to_owned(), safe::one_line);
    out::line(format!("  publisher {user_id}"))?;
    for (name, value) in &letter.headers {
        out::line(format!("  header    {}: {}", safe::one_line(name), safe::one_line(value)))?;
    }
    if let Some(digest) = &letter.freed {
        let bytes = out::grouped(item.bytes);
        return out::line(format!("  body      discarded; it had {bytes} bytes with the SHA-256 {digest}"));
    }
    let shown = if full { letter.body.len() } else { letter.body.len().min(SHOWN_BYTES) };
    out::line(format!("  body      {} bytes", out::grouped(item.bytes)))?;
    for line in safe::body(&letter.body[..shown]) {
        // A bar before each line: none of them can pass for one of ours.
        out::line(format!("  | {line}"))?;
    }
    let more = letter.body.len() - shown;
    if more > 0 {
        out::message(&format!(
            "{} more bytes: --full shows them, --raw > FILE keeps them",
            out::grouped(more as u64)
        ));
    }
    Ok(())
}

fn not_found(id: i64) -> Failure {
    Failure::not_found(format!("there is no dead letter {id} in this database"))
}
