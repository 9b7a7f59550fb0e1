//! Finds the policies of RabbitMQ that take away messages of ours that were confirmed.
//!
//! Only RabbitMQ can tell which of its policies applies to a queue, because it alone knows the patterns, the
//! priorities and the policies of operators. So we ask about each queue, and what RabbitMQ calls effective counts.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use crate::broker::rabbitmq::management::api::{Api, ManagementError};
use crate::broker::rabbitmq::management::harm::Harm;
use crate::broker::rabbitmq::place::Places;
use crate::broker::topology::{Queue, Topology};

/// The time for all queues together.
const DEADLINE: Duration = Duration::from_secs(5);
/// So many characters of a policy's name are shown.
const LONGEST_NAME: usize = 200;

/// A policy by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Policy(String),
    /// A policy that only administrators can set. RabbitMQ lays it over the other one.
    Operator(String),
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Self::Policy(name) | Self::Operator(name) => name,
        }
    }

    /// The name as it is shown, which is not longer than a line of a log should be.
    #[must_use]
    pub fn short_name(&self) -> String {
        self.name().chars().take(LONGEST_NAME).collect()
    }

    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Policy(_) => "policy",
            Self::Operator(_) => "operator policy",
        }
    }

    /// The resource under which the API has these policies.
    fn resource(&self) -> &'static str {
        match self {
            Self::Policy(_) => "policies",
            Self::Operator(_) => "operator-policies",
        }
    }
}

/// A policy that applies to a queue of ours and takes messages out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub queue: Queue,
    /// The queue's name at the broker.
    pub queue_name: String,
    pub source: Source,
    pub harms: Vec<Harm>,
}

impl Finding {
    /// The keys of the policy that take messages out, with commas between them.
    #[must_use]
    pub fn keys(&self) -> String {
        self.harms.iter().map(|harm| harm.key()).collect::<Vec<_>>().join(", ")
    }

    /// What the keys do, and what to do about it. The text has no names, since others choose those.
    #[must_use]
    pub fn text(&self) -> String {
        let does: Vec<String> = self.harms.iter().map(|harm| harm.text(self.queue)).collect();
        format!(
            "{}; give the queue no such {} (docs/operations.md, \"Policies that make messages vanish\")",
            does.join("; "),
            self.source.kind()
        )
    }
}

/// What was found at one time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub findings: Vec<Finding>,
    /// The queues about which RabbitMQ does not tell yet: they are not there, or new. It takes up to ten seconds to
    /// tell what applies to a queue, and it never tells if its statistics are off.
    pub unknown: Vec<Queue>,
}

/// Looks for policies over the management API.
pub struct Policies {
    api: Api,
    vhost: String,
    topology: Topology,
}

impl Policies {
    /// For the queues of `topology` in the virtual host of `broker_url`. Nothing is connected yet.
    ///
    /// # Errors
    /// One of the URLs cannot be read.
    pub fn new(
        management_url: &Url,
        broker_url: &str,
        topology: Topology,
        ca_file: Option<PathBuf>,
    ) -> Result<Self, ManagementError> {
        let places =
            Places::parse(broker_url).map_err(|form| ManagementError::Unavailable(form.to_owned()))?;
        Ok(Self { api: Api::new(management_url, ca_file)?, vhost: places.vhost().to_owned(), topology })
    }

    /// Looks at every queue, for five seconds at the most.
    ///
    /// # Errors
    /// Why nothing was told.
    pub async fn look(&self) -> Result<Look, ManagementError> {
        let all = async {
            let mut look = Look::default();
            for queue in Queue::ALL {
                match self.queue(queue).await? {
                    Some(mut found) => look.findings.append(&mut found),
                    None => look.unknown.push(queue),
                }
            }
            Ok(look)
        };
        let late = || ManagementError::Unavailable(format!("no answer within {DEADLINE:?}"));
        tokio::time::timeout(DEADLINE, all).await.unwrap_or_else(|_| Err(late()))
    }

    /// What was found for one queue; `None` if RabbitMQ does not tell yet.
    async fn queue(&self, queue: Queue) -> Result<Option<Vec<Finding>>, ManagementError> {
        let queue_name = self.topology.queue(queue);
        let columns = "?columns=policy,operator_policy,effective_policy_definition";
        let found = self.api.get(&["queues", &self.vhost, &queue_name], columns).await?;
        let Some((definition, sources)) = found.as_ref().and_then(applied) else { return Ok(None) };
        let harms = Harm::all(queue, &definition);
        let shares = match sources.len() {
            _ if harms.is_empty() => Vec::new(),
            0 | 1 => sources.into_iter().map(|source| (source, harms.clone())).collect(),
            _ => self.shared_out(sources, &harms).await?,
        };
        let finding = |(source, harms)| Finding { queue, queue_name: queue_name.clone(), source, harms };
        Ok(Some(shares.into_iter().map(finding).collect()))
    }

    /// Which of several policies has which key. If a definition may not be read, it is assumed to have all of them.
    async fn shared_out(
        &self,
        sources: Vec<Source>,
        harms: &[Harm],
    ) -> Result<Vec<(Source, Vec<Harm>)>, ManagementError> {
        let mut shares = Vec::new();
        for source in sources {
            let policy = match self.api.get(&[source.resource(), &self.vhost, source.name()], "").await {
                Ok(policy) => policy,
                Err(ManagementError::Refused(_)) => None,
                Err(error) => return Err(error),
            };
            let definition = policy.as_ref().and_then(|policy| policy.get("definition")?.as_object());
            let has = |harm: &&Harm| definition.is_none_or(|keys| keys.contains_key(harm.key()));
            let its: Vec<Harm> = harms.iter().filter(has).copied().collect();
            if !its.is_empty() {
                shares.push((source, its));
            }
        }
        Ok(shares)
    }
}

/// The effective definition of a queue's policies, and which policies they are. `None` if RabbitMQ does not tell.
fn applied(queue: &Value) -> Option<(Map<String, Value>, Vec<Source>)> {
    let definition = queue.get("effective_policy_definition")?;
    let named = |key: &str| -> Option<String> {
        queue.get(key)?.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    };
    let sources = [named("policy").map(Source::Policy), named("operator_policy").map(Source::Operator)];
    // Some versions say [] if there is none.
    let definition = definition.as_object().cloned().unwrap_or_default();
    Some((definition, sources.into_iter().flatten().collect()))
}
