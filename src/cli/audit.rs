//! `batchshare audit list`: what people and operators did, for an operator.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::recipients;
use crate::cli::recipients::Names;
use crate::cli::{Code, Failure, examples, open, out, safe};
use crate::config::Settings;
use crate::contract::rfc3339;
use crate::domain::{Actor, JobId, PrincipalId, PrincipalKind, SecretId};
use crate::store::{AuditCursor, AuditFilter, AuditItem, Known, Since, Store};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// What was done and by whom, newest first; jobs are in it, too
    #[command(before_help = examples::AUDIT_LIST)]
    List(List),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// From then on: 30m, 12h or 7d before now, a day like 2026-11-28, or a time like 2026-11-28T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// Of this secret, by id, with the jobs by which somebody has access to it
    #[arg(long, value_name = "ID", value_parser = secret_id)]
    secret: Option<SecretId>,
    /// What this person did, and what was done with this person's access: username, e-mail address or name
    #[arg(long, value_name = "USER")]
    person: Option<String>,
    /// Of this job, by id
    #[arg(long, value_name = "ID", value_parser = job_id)]
    job: Option<JobId>,
    /// How many at the most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Go on where an earlier listing ended: its next_cursor
    #[arg(long)]
    cursor: Option<AuditCursor>,
    /// Print {"items":[…],"next_cursor":…}
    #[arg(long)]
    json: bool,
}

fn secret_id(text: &str) -> Result<SecretId, String> {
    text.parse::<i64>().map_err(|_| "is not a number".to_owned()).and_then(SecretId::try_from)
}

fn job_id(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|()| "is not a job's id (a UUID)".to_owned())
}

/// Reads a span before now, a day (its beginning in UTC), or a time.
fn since(text: &str) -> Result<Since, String> {
    let unit = |last| match last {
        'm' => Some(60_000),
        'h' => Some(3_600_000),
        'd' => Some(86_400_000),
        _ => None,
    };
    if let Some(unit) = text.chars().next_back().and_then(unit)
        && let Ok(count) = text[..text.len() - 1].parse::<u32>()
    {
        return Ok(Since::Ago(i64::from(count) * unit));
    }
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let at = time(text).or_else(|| time(&format!("{text}T00:00:00Z")));
    let at = at.ok_or("is none of 30m, 12h, 7d, 2026-11-28 and 2026-11-28T10:00:00Z")?;
    Ok(Since::At(at.unix_timestamp() * 1_000 + i64::from(at.millisecond())))
}

pub(super) async fn run(command: Command, settings: &Settings) -> Result<Code, Failure> {
    let Command::List(args) = command;
    let store = open::store(settings).await?;
    let person = match &args.person {
        Some(name) => Some(recipients::one(&store, PrincipalKind::User, name, None, Names::Folded).await?.id),
        None => None,
    };
    let filter = AuditFilter { since: args.since, secret: args.secret, person, job: args.job };
    let (items, next) = store.audit(filter, args.cursor, usize::from(args.limit)).await?;
    let known = Labels::read(&store, &items).await?;
    let next = next.map(|cursor| cursor.to_string());
    if args.json {
        out::listing(items.into_iter().map(|item| known.body(item)).collect(), next)?;
        return Ok(Code::Done);
    }
    for item in &items {
        out::line(known.line(item))?;
    }
    if items.is_empty() {
        out::message("nothing is recorded");
    }
    if let Some(cursor) = next {
        out::message(&format!("more: --cursor {cursor}"));
    }
    Ok(Code::Done)
}

/// The names of those that a page is about. What was removed meanwhile has none.
struct Labels {
    people: HashMap<PrincipalId, Known>,
    secrets: HashMap<SecretId, String>,
}

/// An item as `--json` prints it.
#[derive(Serialize)]
struct ItemBody {
    action: String,
    at: String,
    by: Option<ByBody>,
    detail: Value,
    jobs: Vec<JobId>,
    principal: Option<PrincipalBody>,
    secret: Option<SecretBody>,
}

/// Who did something.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ByBody {
    Operator,
    Person(PrincipalBody),
}

#[derive(Serialize)]
struct PrincipalBody {
    id: PrincipalId,
    name: Option<String>,
    username: Option<String>,
}

#[derive(Serialize)]
struct SecretBody {
    id: SecretId,
    name: Option<String>,
}

impl Labels {
    async fn read(store: &Store, items: &[AuditItem]) -> Result<Self, Failure> {
        let actors = items.iter().filter_map(|item| match item.by {
            Actor::Person(id) => Some(id),
            Actor::Operator | Actor::Nobody => None,
        });
        let people = actors.chain(items.iter().filter_map(|item| item.principal));
        let people = store.principal_names(people).await?;
        let secrets = store.secret_names(items.iter().filter_map(|item| item.secret)).await?;
        Ok(Self { people, secrets })
    }

    fn principal(&self, id: PrincipalId) -> PrincipalBody {
        let known = self.people.get(&id);
        PrincipalBody {
            id,
            name: known.map(|known| known.name.clone()),
            username: known.and_then(|known| known.username.clone()),
        }
    }

    fn body(&self, item: AuditItem) -> ItemBody {
        ItemBody {
            at: rfc3339(item.at),
            by: match item.by {
                Actor::Person(id) => Some(ByBody::Person(self.principal(id))),
                Actor::Operator => Some(ByBody::Operator),
                Actor::Nobody => None,
            },
            principal: item.principal.map(|id| self.principal(id)),
            secret: item.secret.map(|id| SecretBody { id, name: self.secrets.get(&id).cloned() }),
            action: item.action,
            detail: item.detail,
            jobs: item.jobs,
        }
    }

    /// The name of a principal on one line, or the id where there is no name.
    fn label(&self, id: PrincipalId) -> String {
        self.people.get(&id).map_or_else(|| format!("id {id}"), |known| safe::one_line(&known.label()))
    }

    /// An item on one line. Names come from outside, so each is made to stay on it.
    fn line(&self, item: &AuditItem) -> String {
        let by = match item.by {
            Actor::Person(id) => self.label(id),
            Actor::Operator => "operator".to_owned(),
            Actor::Nobody => "-".to_owned(),
        };
        let mut line = format!("{:<24}  {:<22}  {by}", rfc3339(item.at), safe::one_line(&item.action));
        if let Some(id) = item.secret {
            let name =
                self.secrets.get(&id).map_or_else(String::new, |name| format!(" {}", safe::one_line(name)));
            line.push_str(&format!("  secret {id}{name}"));
        }
        if let Some(id) = item.principal {
            line.push_str(&format!("  of {}", self.label(id)));
        }
        for job in &item.jobs {
            line.push_str(&format!("  job {job}"));
        }
        for (name, value) in item.detail.as_object().into_iter().flatten() {
            if let Some(value) = shown(value) {
                line.push_str(&format!("  {}={}", safe::one_line(name), safe::one_line(&value)));
            }
        }
        line
    }
}

/// A value of a detail as text; `None` where there is nothing to show.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(shown).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_span_a_day_or_a_time() {
        for (text, expected) in [
            ("30m", Since::Ago(1_800_000)),
            ("12h", Since::Ago(43_200_000)),
            ("7d", Since::Ago(604_800_000)),
            ("4294967295d", Since::Ago(371_085_174_288_000_000)),
            ("1970-01-02", Since::At(86_400_000)),
            ("1970-01-01T01:00:00.250+01:00", Since::At(250)),
        ] {
            assert_eq!(since(text), Ok(expected), "{text}");
        }
        for text in ["", "d", "7", "-7d", "7w", "7 d", "2026-13-01", "yesterday", "7ä"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
