//! `batchshare topology`: prints the broker's names and permissions for its administrator, or declares them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::app;
use crate::app::AppError;
use crate::broker::management::Policies;
use crate::broker::topology::{Exchange, Queue, Topology};
use crate::broker::{BrokerError, Rabbit};
use crate::cli::{Code, Failure, open, out};
use crate::config::Settings;
use crate::consume::schedule::Schedule;

/// RabbitMQ tells of a new queue within ten seconds.
const LOOK_PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Declare exchanges, queues and bindings at the broker of the settings; safe to repeat
    #[arg(long)]
    declare: bool,
}

pub(super) async fn run(args: Args, settings: Settings) -> Result<Code, Failure> {
    if args.declare {
        if settings.is_embedded() {
            return Err(Failure::usage("broker.url is embedded:, where there is nothing to declare"));
        }
        declare(&settings).await?;
        out::message("declared");
        if let Some(policies) = app::policies(&settings)? {
            look(&policies).await;
        }
        return Ok(Code::Done);
    }
    let topology = Topology { prefix: settings.broker.prefix.clone() };
    out::line(text(&topology, &vhost(&settings.broker.url)).trim_end())?;
    Ok(Code::Done)
}

/// Declares the topology. It waits for a broker that cannot be reached, as each command waits for a server.
async fn declare(settings: &Settings) -> Result<(), Failure> {
    let start = Instant::now();
    let mut schedule = Schedule::new(Duration::from_millis(100), Duration::from_secs(1));
    loop {
        let error = match app::declare(settings).await {
            Ok(()) => return Ok(()),
            Err(AppError::Broker(error @ BrokerError::Unavailable(_))) => error,
            Err(error) => return Err(error.into()),
        };
        let wait = schedule.next_wait();
        if start.elapsed() + wait >= open::PATIENCE {
            return Err(open::unreachable(&error.to_string()));
        }
        tokio::time::sleep(wait).await;
    }
}

/// Tells which policies take messages out of the queues. RabbitMQ knows it of a new queue after some seconds. What cannot be
/// looked at is no failure: the topology is declared.
async fn look(policies: &Policies) {
    let start = Instant::now();
    let look = loop {
        match policies.look().await {
            Ok(look) if !look.unknown.is_empty() && start.elapsed() < LOOK_PATIENCE => {}
            other => break other,
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    match look {
        Ok(look) => {
            for found in &look.findings {
                let (kind, name) = (found.source.kind(), found.source.short_name());
                out::message(&format!(
                    "warning: the {kind} \"{name}\" takes messages out of {} that were confirmed: {}",
                    found.queue_name,
                    found.text()
                ));
            }
            if !look.unknown.is_empty() {
                out::message(
                    "RabbitMQ's management API does not tell yet which policies apply to each queue",
                );
            }
        }
        Err(error) => {
            out::message(&format!("cannot look for policies (broker.management_url): {error}"));
        }
    }
}

fn kind(exchange: Exchange) -> &'static str {
    match exchange {
        Exchange::Jobs | Exchange::Internal => "direct",
        Exchange::Events => "topic",
    }
}

/// Names and permissions. The lines for rabbitmqctl can be run as they are.
fn text(topology: &Topology, vhost: &str) -> String {
    let mut text = String::from("# Exchanges (durable)\n");
    // Writing to a String cannot fail.
    for exchange in Exchange::ALL {
        let _ = writeln!(text, "{:<28} {}", topology.exchange(exchange), kind(exchange));
    }
    text.push_str("\n# Queues (durable, quorum), and what they are bound to\n");
    for queue in Queue::ALL {
        for (exchange, key) in queue.bindings() {
            let _ = writeln!(text, "{:<28} {} {key}", topology.queue(queue), topology.exchange(*exchange));
        }
    }
    text.push_str("\n# Permissions, for users that exist (rabbitmqctl add_user NAME)\n");
    for user in users(topology) {
        let vhost = quoted(vhost);
        let [configure, write, read] = user.patterns.map(|pattern| quoted(&pattern));
        let _ = writeln!(text, "# {}", user.comment);
        let _ =
            writeln!(text, "rabbitmqctl set_permissions -p {vhost} {} {configure} {write} {read}", user.name);
    }
    text
}

struct User {
    comment: &'static str,
    name: String,
    /// Configure, write, read.
    patterns: [String; 3],
}

fn users(topology: &Topology) -> [User; 3] {
    let prefix = &topology.prefix;
    let ours = format!("^{}\\.", pattern(prefix));
    let exact = |exchange| format!("^{}$", pattern(&topology.exchange(exchange)));
    let none = || "^$".to_owned();
    // A queue of the listener's own: binding it takes write on the queue and read on the exchange.
    let listener = format!("{prefix}-listener");
    let own = format!("^{}\\.", pattern(&listener));
    let events = exact(Exchange::Events);
    [
        User {
            comment: "A UI: asks for jobs in the name of any person, and can do nothing else",
            name: format!("{prefix}-ui"),
            patterns: [none(), exact(Exchange::Jobs), none()],
        },
        User {
            comment: "A listener of events, with queues of its own",
            patterns: [own.clone(), own.clone(), format!("{own}|{events}")],
            name: listener,
        },
        User {
            comment: "batchshare itself: serve and work",
            name: prefix.clone(),
            patterns: [ours.clone(), ours.clone(), ours],
        },
    ]
}

/// A name as a regular expression. The prefix has letters, digits, '-', '_' and '.' only.
fn pattern(name: &str) -> String {
    name.replace('.', "\\.")
}

/// A text in single quotes, for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The virtual host that the URL names. It is "/" where the URL names none.
fn vhost(url: &str) -> String {
    Rabbit::vhost(url).filter(|name| !name.is_empty()).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permissions_are_those_of_the_design() {
        let text = text(&Topology { prefix: "batchshare".to_owned() }, "/");
        for line in [
            r"batchshare.jobs              direct",
            r"batchshare.events            topic",
            r"batchshare.steps             batchshare.internal job.step",
            r"batchshare.notices           batchshare.events job.cancelled",
            r"rabbitmqctl set_permissions -p '/' batchshare-ui '^$' '^batchshare\.jobs$' '^$'",
            r"rabbitmqctl set_permissions -p '/' batchshare-listener '^batchshare-listener\.' '^batchshare-listener\.' '^batchshare-listener\.|^batchshare\.events$'",
            r"rabbitmqctl set_permissions -p '/' batchshare '^batchshare\.' '^batchshare\.' '^batchshare\.'",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn the_prefix_takes_the_place_of_batchshare() {
        let text = text(&Topology { prefix: "a.b".to_owned() }, "/x'y");
        assert!(text.contains(r"-p '/x'\''y' a.b-ui '^$' '^a\.b\.jobs$' '^$'"), "{text}");
        assert!(!text.contains("batchshare."), "{text}");
    }

    #[test]
    fn the_vhost_is_read_from_the_url() {
        for (url, name) in [
            ("embedded:", "/"),
            ("amqp://host", "/"),
            ("amqp://user:pass@host:5672/", "/"),
            ("amqp://user:pass@host:5672/%2f?heartbeat=10", "/"),
            ("amqp://host/vault%20one", "vault one"),
        ] {
            assert_eq!(vhost(url), name, "{url}");
        }
    }
}
