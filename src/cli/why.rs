//! `batchshare why USER SECRET`: explains to an operator why a person has access to a secret.

use crate::cli::failure::EXIT_CODES;
use crate::cli::recipients;
use crate::cli::recipients::{Names, noun};
use crate::cli::{Code, Failure, open, out};
use crate::config::Settings;
use crate::contract::{answer, rfc3339};
use crate::domain::access::{Asking, Because, Inactive, Way};
use crate::domain::{Permission, PrincipalKind, Reach};
use crate::store::Explained;

const EXAMPLES: &str = "\
Examples:
  batchshare why bruno 101
  batchshare why bruno@example.com stripe-prod --json
";

#[derive(Debug, clap::Args)]
#[command(before_help = EXAMPLES, after_help = EXIT_CODES)]
pub(super) struct Args {
    /// Whose access: username, e-mail address or name
    user: String,
    /// To which secret: its id or its identifier
    secret: String,
    /// Print {"effective":…,"because":[…]}
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let store = open::store(settings).await?;
    let user = recipients::one(&store, PrincipalKind::User, &args.user, None, Names::Folded).await?;
    let nothing = || Failure::not_found(format!("there is no secret \"{}\"", args.secret));
    let (id, name) = store.secret_named(&args.secret).await?.ok_or_else(nothing)?;
    let Explained::Access(access) = store.why(None, id, user.id).await? else { return Err(nothing()) };
    if args.json {
        out::json(&answer::Access::from(access))?;
        return Ok(Code::Done);
    }
    let person = user.username.map_or(user.name.clone(), |username| format!("{} ({username})", user.name));
    out::line(format!("{person} {} {name} ({id})", may(access.effective)))?;
    for way in &access.because {
        for line in lines(way) {
            out::line(line)?;
        }
    }
    Ok(Code::Done)
}

fn may(effective: Option<Reach>) -> &'static str {
    match effective {
        None => "has no access to",
        Some(Reach::View) => "may view",
        Some(Reach::Edit) => "may edit",
        Some(Reach::Owner) => "owns",
    }
}

/// A way in words: what it gives, then who asked for it.
fn lines(way: &Because) -> Vec<String> {
    let name = way.name.as_deref().unwrap_or("?");
    let through = match way.way {
        Way::Owner => "as the owner".to_owned(),
        Way::Direct => "by a grant of their own".to_owned(),
        Way::UserGroup | Way::PersonalGroup => {
            format!("as a member of the {} {name} ({})", noun(way.kind), way.principal)
        }
    };
    let since = way.since.map_or(String::new(), |since| format!(", since {}", rfc3339(since)));
    let nothing = way.inactive.map_or(String::new(), |cause| format!("; gives nothing now: {}", why(cause)));
    let mut lines = vec![format!("  {:<5}  {through}{since}{nothing}", way.reach.as_str())];
    for (permission, asking) in [(Permission::View, &way.view), (Permission::Edit, &way.edit)] {
        lines.extend(asking.as_ref().map(|asking| format!("         {permission} given {}", by(asking))));
    }
    for also in &way.also_asked_by {
        lines.push(format!("         {} also asked for {}", also.permission, by(&also.asking)));
    }
    lines
}

fn by(asking: &Asking) -> String {
    let requester = asking.requester.clone().unwrap_or_else(|| format!("user {}", asking.requested_by));
    let note = asking.note.as_ref().map_or(String::new(), |note| format!(": {note}"));
    format!("by {requester} at {}, job {}{note}", rfc3339(asking.requested_at), asking.job)
}

fn why(cause: Inactive) -> &'static str {
    match cause {
        Inactive::PersonInactive => "the person is not active",
        Inactive::PersonNoAccount => "the person has no MySafe account",
        Inactive::GroupInactive => "the group is not active",
    }
}
