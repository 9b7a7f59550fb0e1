//! What this process counts. The names are OpenTelemetry's where it has any, in the spelling of Prometheus.
//!
//! It is written by hand instead of with a crate, because a dozen names do not need one, and because so the type of a
//! label's value ensures that it is a word of ours (a state, a reason, a queue, the pattern of a route). No id and no
//! value of a message can become one.

mod process;
mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use process::write_process;
pub use text::{CONTENT_TYPE, Text};

use crate::domain::names::names;
use crate::domain::{Counts, FailReason, JobState};
use text::{Counter, Gauge, Histogram};

/// How bad a failure was (ARCHITECTURE.md, "Failures").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A server was away. Taking messages stopped for a while.
    Outage,
    /// An attempt of a job failed and was recorded.
    Transient,
    /// A message became a dead letter.
    Permanent,
}

names!(Class { Outage = "outage", Transient = "transient", Permanent = "permanent" });

/// What one transaction did. It is counted when the transaction is committed.
#[derive(Debug, Default)]
pub struct Tally {
    pub pairs: Counts,
    pub ended: Vec<Ended>,
    pub failed_attempts: u64,
    pub dead_letters: u64,
}

/// A job's run that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub state: JobState,
    pub reason: Option<FailReason>,
    /// Milliseconds since the job was asked for.
    pub after_ms: i64,
}

/// The bounds that OpenTelemetry advises for requests and messages, in seconds.
const SHORT: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Bounds for jobs in seconds, from a small one to a large one behind a backlog.
const LONG: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0];

/// The counters of a process. They are cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    /// The value of the label `messaging.system`.
    system: &'static str,
    /// The prefix of names at the broker.
    prefix: String,
    pairs: Counter,
    jobs_ended: Counter,
    job_duration: Histogram,
    failures: Counter,
    taking: Gauge,
    consumed: Counter,
    sent: Counter,
    mended: Counter,
    /// Of the queues that are checked, those whose dead letters do not come.
    stuck: Mutex<BTreeMap<&'static str, bool>>,
    /// Queues that a policy takes messages out of, of those that were looked at.
    policies: Mutex<BTreeMap<&'static str, bool>>,
    operation_duration: Histogram,
    process_duration: Histogram,
    http_duration: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new("embedded", "batchshare")
    }
}

impl Metrics {
    /// The counters of a process. `system` is the kind of the broker; `prefix` is that of its names.
    #[must_use]
    pub fn new(system: &'static str, prefix: &str) -> Self {
        let metrics = Self(Arc::new(Inner {
            system,
            prefix: prefix.to_owned(),
            pairs: Counter::new("batchshare_pairs_total", "Pairs of a secret and a recipient that are done."),
            jobs_ended: Counter::new("batchshare_jobs_ended_total", "Runs of jobs that have ended."),
            job_duration: Histogram::new(
                "batchshare_job_duration_seconds",
                "From asking for a job to its end.",
                LONG,
            ),
            failures: Counter::new("batchshare_failures_total", "Failures by class: see ARCHITECTURE.md."),
            taking: Gauge::new(
                "batchshare_consumers",
                "Whether this process takes messages of a queue: 1, or 0 while it cannot.",
            ),
            consumed: Counter::new("messaging_client_consumed_messages_total", "Messages taken."),
            sent: Counter::new(
                "messaging_client_sent_messages_total",
                "Messages published and confirmed, or not.",
            ),
            mended: Counter::new(
                "batchshare_messages_mended_total",
                "Messages whose properties or headers could only be read after they were mended.",
            ),
            stuck: Mutex::default(),
            policies: Mutex::default(),
            operation_duration: Histogram::new(
                "messaging_client_operation_duration_seconds",
                "Waiting for the broker, for messages published or acknowledged together.",
                SHORT,
            ),
            process_duration: Histogram::new(
                "messaging_process_duration_seconds",
                "Handling a message, its commit included.",
                SHORT,
            ),
            http_duration: Histogram::new("http_server_request_duration_seconds", "HTTP requests.", SHORT),
        }));
        process::started();
        // They are there from the start, so that the first one of a kind is a change and not a new series.
        metrics.pairs(Counts::default());
        metrics.0.mended.add(Vec::new(), 0);
        for class in Class::ALL {
            metrics.failures(*class, 0);
        }
        metrics
    }

    fn pairs(&self, done: Counts) {
        for (outcome, count) in [
            ("granted", done.granted),
            ("upgraded", done.upgraded),
            ("unchanged", done.unchanged),
            ("rejected", done.rejected),
        ] {
            self.0.pairs.add(vec![("outcome", outcome.into())], count);
        }
    }

    /// Counts failures of a class.
    pub fn failures(&self, class: Class, count: u64) {
        self.0.failures.add(vec![("class", class.as_str().into())], count);
    }

    /// Counts what a committed transaction did.
    pub fn committed(&self, tally: &Tally) {
        self.pairs(tally.pairs);
        self.failures(Class::Transient, tally.failed_attempts);
        self.failures(Class::Permanent, tally.dead_letters);
        for ended in &tally.ended {
            let state = ("state", Cow::from(ended.state.as_str()));
            let reason = ended.reason.map_or("", FailReason::as_str);
            self.0.jobs_ended.add(vec![state.clone(), ("reason", reason.into())], 1);
            let after = Duration::from_millis(u64::try_from(ended.after_ms).unwrap_or(0));
            self.0.job_duration.observe(vec![state], after.as_secs_f64());
        }
    }

    /// Notes whether messages of `queue` are being taken now.
    pub fn taking(&self, queue: &'static str, now: bool) {
        self.0.taking.set(vec![("queue", self.full_name(queue).into())], u64::from(now));
    }

    /// Counts messages that were taken from `queue` and handled together. `error` is empty if that went well;
    /// otherwise the messages come again.
    pub fn handled(&self, queue: &'static str, count: usize, took: Duration, error: &'static str) {
        self.0.consumed.add(self.at_broker("consume", queue), count as u64);
        let mut labels = self.at_broker("process", queue);
        labels.push(("error_type", error.into()));
        self.0.process_duration.observe(labels, took.as_secs_f64());
    }

    /// Counts a message that was published to `exchange`. `error` is empty if it was confirmed.
    pub fn sent(&self, exchange: &'static str, error: &'static str) {
        let mut labels = self.at_broker("publish", exchange);
        labels.push(("error_type", error.into()));
        self.0.sent.add(labels, 1);
    }

    /// Notes whether the dead letters of a queue do not come. The queue is given by the suffix of its name.
    pub fn stuck(&self, queue: &'static str, is_stuck: bool) {
        self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner).insert(queue, is_stuck);
    }

    /// The names of the queues whose dead letters do not come.
    #[must_use]
    pub fn stuck_queues(&self) -> Vec<String> {
        let stuck = self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.iter().filter(|of| *of.1).map(|of| self.full_name(of.0)).collect()
    }

    /// Notes whether a policy of RabbitMQ takes messages out of a queue (its name's suffix).
    pub fn policy(&self, queue: &'static str, takes: bool) {
        self.0.policies.lock().unwrap_or_else(PoisonError::into_inner).insert(queue, takes);
    }

    /// The names of queues that a policy takes messages out of.
    #[must_use]
    pub fn policy_queues(&self) -> Vec<String> {
        let policies = self.0.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.iter().filter(|of| *of.1).map(|of| self.full_name(of.0)).collect()
    }

    /// Counts a message that could only be read after it was mended.
    pub fn mended(&self) {
        self.0.mended.add(Vec::new(), 1);
    }

    /// Counts how long the broker was waited for. `error` is empty if the broker did what was asked.
    pub fn waited(&self, operation: &'static str, name: &'static str, took: Duration, error: &'static str) {
        let mut labels = self.at_broker(operation, name);
        labels.push(("error_type", error.into()));
        self.0.operation_duration.observe(labels, took.as_secs_f64());
    }

    /// The name that one of our exchanges or queues has at the broker.
    #[must_use]
    pub fn full_name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.0.prefix)
    }

    fn at_broker(&self, operation: &'static str, name: &'static str) -> text::Labels {
        vec![
            ("messaging_system", self.0.system.into()),
            ("messaging_operation_name", operation.into()),
            ("messaging_destination_name", self.full_name(name).into()),
        ]
    }

    /// Counts an HTTP request. `route` is the pattern that it matched, and never the path; it is empty if none
    /// matched.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let labels = vec![
            ("http_request_method", method.into()),
            ("http_route", route.to_owned().into()),
            ("http_response_status_code", status.to_string().into()),
        ];
        self.0.http_duration.observe(labels, took.as_secs_f64());
    }

    /// Writes everything that was counted.
    pub fn write(&self, text: &mut Text) {
        let m = &self.0;
        m.pairs.write(text);
        m.jobs_ended.write(text);
        m.job_duration.write(text);
        m.failures.write(text);
        m.taking.write(text);
        m.consumed.write(text);
        m.sent.write(text);
        m.mended.write(text);
        // Only a worker checks them.
        let stuck = "Whether RabbitMQ moves no dead letters out of the queue.";
        self.write_queues(text, "batchshare_dead_lettering_stuck", stuck, &m.stuck);
        // Only if a management API is set.
        let policies = "Whether a policy of RabbitMQ takes messages out of the queue that were confirmed.";
        self.write_queues(text, "batchshare_queue_policy_takes_messages", policies, &m.policies);
        m.operation_duration.write(text);
        m.process_duration.write(text);
        m.http_duration.write(text);
    }

    /// Which queues something is true of; nothing where none was looked at.
    fn write_queues(
        &self,
        text: &mut Text,
        name: &str,
        help: &str,
        queues: &Mutex<BTreeMap<&'static str, bool>>,
    ) {
        let queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
        if !queues.is_empty() {
            text.family(name, "gauge", help);
        }
        for (queue, is_so) in queues.iter() {
            let queue = self.full_name(queue);
            text.sample(name, &[("messaging_destination_name", queue.as_str())], u8::from(*is_so));
        }
    }
}
