//! Looks for policies of RabbitMQ that take messages away, where `broker.management_url` is set, and tells of them.

use std::time::Duration;

use crate::app::error::AppError;
use crate::broker::management::{Finding, Look, ManagementError, Policies};
use crate::broker::{Queue, Topology};
use crate::config::{ConfigError, Settings};
use crate::shutdown::Stop;
use crate::telemetry::metrics::Metrics;

/// A policy can be set at any time.
const EVERY: Duration = Duration::from_secs(60);
/// RabbitMQ tells of a new queue some seconds after it was declared.
const SOON: Duration = Duration::from_secs(5);
/// How often it is asked so soon again. A queue that is not known then will not be in the next minutes.
const SOON_TIMES: u32 = 6;

/// Where to look; none where no management API is set.
///
/// # Errors
/// A URL that cannot be read.
pub fn policies(settings: &Settings) -> Result<Option<Policies>, AppError> {
    let Some(url) = settings.management_url()? else { return Ok(None) };
    let broker = &settings.broker;
    let topology = Topology { prefix: broker.prefix.clone() };
    Policies::new(&url, &broker.url, topology, settings.broker_ca_file())
        .map(Some)
        .map_err(|error| ConfigError(error.to_string()).into())
}

/// Looks at once, and then once a minute until `stop`. An API that does not answer keeps nothing waiting.
pub(super) async fn watch(policies: Policies, metrics: Metrics, stop: Stop) {
    let mut told = Told::default();
    // Looks in a row that did not tell of every queue.
    let mut short: u32 = 0;
    loop {
        let look = tokio::select! {
            look = policies.look() => look,
            () = stop.wait() => return,
        };
        let is_whole = look.as_ref().is_ok_and(|look| look.unknown.is_empty());
        short = if is_whole { 0 } else { short.saturating_add(1) };
        let is_late = short > SOON_TIMES;
        for line in told.next(look, is_late) {
            line.tell();
        }
        for queue in Queue::ALL {
            metrics.policy(queue.suffix(), told.findings.iter().any(|finding| finding.queue == queue));
        }
        let wait = if is_whole || is_late { EVERY } else { SOON };
        if !stop.sleep(wait).await {
            return;
        }
    }
}

/// What this process has told.
#[derive(Default)]
struct Told {
    findings: Vec<Finding>,
    /// The kind of error that it was last.
    trouble: Option<&'static str>,
    unknown: Vec<Queue>,
}

/// A line of the log.
#[derive(Debug, PartialEq)]
enum Line {
    Found(Finding),
    Gone(Finding),
    Trouble(ManagementError),
    /// The API answers again.
    Answers,
    /// RabbitMQ does not say which policies these queues have.
    Unknown(Vec<Queue>),
}

impl Told {
    /// What is new in a look. `is_late`: queues that are still unknown are told, too.
    fn next(&mut self, look: Result<Look, ManagementError>, is_late: bool) -> Vec<Line> {
        let look = match look {
            Ok(look) => look,
            // What was found before may well be there.
            Err(error) if self.trouble == Some(error.kind()) => return Vec::new(),
            Err(error) => {
                self.trouble = Some(error.kind());
                return vec![Line::Trouble(error)];
            }
        };
        let mut lines = Vec::new();
        if self.trouble.take().is_some() {
            lines.push(Line::Answers);
        }
        let kept =
            |finding: &Finding| look.unknown.contains(&finding.queue) || look.findings.contains(finding);
        let (mut findings, gone): (Vec<_>, Vec<_>) = self.findings.drain(..).partition(kept);
        for finding in look.findings {
            if !findings.contains(&finding) {
                findings.push(finding.clone());
                lines.push(Line::Found(finding));
            }
        }
        // One that was changed is told as it is now, and not as gone.
        let is_there = |gone: &Finding| {
            findings.iter().any(|found| (found.queue, &found.source) == (gone.queue, &gone.source))
        };
        lines.extend(gone.into_iter().filter(|gone| !is_there(gone)).map(Line::Gone));
        self.findings = findings;
        let is_known = look.unknown.is_empty();
        if (is_late || is_known) && look.unknown != self.unknown {
            if !is_known {
                lines.push(Line::Unknown(look.unknown.clone()));
            }
            self.unknown = look.unknown;
        }
        lines
    }
}

impl Line {
    /// Names are fields, which the log escapes: whoever sets a policy chooses them.
    fn tell(self) {
        match self {
            Self::Found(found) => tracing::warn!(
                queue = found.queue_name,
                kind = found.source.kind(),
                policy = found.source.short_name(),
                keys = found.keys(),
                "a policy of RabbitMQ takes messages out of this queue that were confirmed: {}",
                found.text()
            ),
            Self::Gone(gone) => tracing::info!(
                queue = gone.queue_name,
                kind = gone.source.kind(),
                policy = gone.source.short_name(),
                "the policy of RabbitMQ takes no messages out of this queue any more"
            ),
            Self::Trouble(error) => tracing::warn!(
                reason = %error,
                "cannot look for policies of RabbitMQ that take messages away (broker.management_url); all else goes on"
            ),
            Self::Answers => tracing::info!("RabbitMQ's management API answers again"),
            Self::Unknown(queues) => {
                let queues: Vec<&str> = queues.into_iter().map(Queue::suffix).collect();
                tracing::info!(
                    queues = queues.join(", "),
                    "RabbitMQ's management API does not tell which policies apply to these queues: they are not declared, or \
                     its statistics are off"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::management::{Harm, Source};

    fn finding(queue: Queue, policy: &str, ttl: i64) -> Finding {
        let queue_name = format!("batchshare.{}", queue.suffix());
        let (source, harms) = (Source::Policy(policy.to_owned()), vec![Harm::MessageTtl(ttl)]);
        Finding { queue, queue_name, source, harms }
    }

    fn look(findings: &[Finding], unknown: &[Queue]) -> Result<Look, ManagementError> {
        Ok(Look { findings: findings.to_vec(), unknown: unknown.to_vec() })
    }

    #[test]
    fn each_finding_is_told_once_until_it_changes() {
        let (jobs, steps) = (finding(Queue::Jobs, "a", 1), finding(Queue::Steps, "a", 1));
        let changed = finding(Queue::Jobs, "a", 2);
        let away = || ManagementError::Unavailable("away".to_owned());
        let mut told = Told::default();
        assert_eq!(told.next(look(&[], &Queue::ALL), false), []);
        let both = [jobs.clone(), steps.clone()];
        assert_eq!(told.next(look(&both, &[]), true), both.clone().map(Line::Found));
        assert_eq!(told.next(look(&both, &[]), true), []);
        assert_eq!(told.next(Err(away()), true), [Line::Trouble(away())]);
        assert_eq!(told.next(Err(away()), true), []);
        assert_eq!(told.next(Err(ManagementError::Other), true), [Line::Trouble(ManagementError::Other)]);
        assert_eq!(told.next(look(&both, &[]), true), [Line::Answers]);
        let now = [changed.clone(), steps.clone()];
        assert_eq!(told.next(look(&now, &[]), true), [Line::Found(changed.clone())]);
        // A queue that is not known for a while has what it had.
        assert_eq!(told.next(look(std::slice::from_ref(&changed), &[Queue::Steps]), false), []);
        assert_eq!(told.next(look(&now, &[]), true), []);
        assert_eq!(told.next(look(&[], &[]), true), [Line::Gone(steps), Line::Gone(changed)]);
        assert_eq!(told.next(look(&both, &[]), true), both.map(Line::Found));
    }

    #[test]
    fn unknown_queues_are_told_once_and_not_while_they_are_new() {
        let mut told = Told::default();
        assert_eq!(told.next(look(&[], &Queue::ALL), false), []);
        assert_eq!(told.next(look(&[], &[Queue::Dead]), true), [Line::Unknown(vec![Queue::Dead])]);
        assert_eq!(told.next(look(&[], &[Queue::Dead]), true), []);
        assert_eq!(told.next(look(&[], &[]), false), []);
        assert_eq!(told.next(look(&[], &[Queue::Dead]), true), [Line::Unknown(vec![Queue::Dead])]);
    }
}
