//! `batchshare dead list` and `batchshare dead show`.

use std::io::IsTerminal as _;

use crate::cli::dead::args::{List, Show};
use crate::cli::dead::body::{ItemBody, LetterBody};
use crate::cli::{Code, Failure, out, safe};
use crate::contract::rfc3339;
use crate::store::{DeadFilter, KeptLetter, Store};

/// How much of a body is shown unless all of it is asked for.
const SHOWN_BYTES: usize = 4 * 1024;

/// Lists dead letters, newest first.
pub(super) async fn list(store: &Store, args: &List) -> Result<Code, Failure> {
    let filter = DeadFilter { reason: args.reason, state: args.state };
    let (items, next_cursor) = store.dead_letters(filter, args.cursor, i64::from(args.limit)).await?;
    if args.json {
        out::listing(items.into_iter().map(ItemBody::from).collect(), next_cursor)?;
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

/// Shows one dead letter.
pub(super) async fn one(store: &Store, args: &Show) -> Result<Code, Failure> {
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
        out::json(&LetterBody::from(letter))?;
    } else {
        print(&letter, args.full)?;
    }
    Ok(Code::Done)
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
        // With a bar before it, no line of the body can pass for a line of ours.
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
