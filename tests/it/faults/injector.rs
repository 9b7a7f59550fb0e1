//! Counts calls, and fails the n-th of them. It also counts what really is at the broker, and which
//! terminal events were sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use batchshare::broker::{BrokerError, Outgoing, Queue};
use batchshare::db::{CallHook, DbError};
use futures_util::future::BoxFuture;

use crate::faulty::{Call, Faults};
use crate::sim::gate::{answer_lost, outage, transient};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is not made: the server is away.
    Outage,
    /// It is not made, nor are the next: a lock, a deadlock, a timeout.
    Transient { calls: u64 },
    /// It takes effect, and the caller hears that it failed.
    AnswerLost,
}

#[derive(Default)]
pub struct Line {
    /// Which call fails, and how.
    plan: Option<(u64, How)>,
    calls: u64,
    pub fired: bool,
    /// Messages at the broker, taken or not, by the queue's name.
    pub waiting: BTreeMap<&'static str, i64>,
    pub acks: u64,
    /// Ids of the terminal events that were published, by the body's subject.
    pub told: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Default)]
pub struct Injector(Mutex<Line>);

impl Injector {
    pub fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().expect("a lock")
    }

    /// From now on.
    pub fn plan(&self, at: u64, how: How) {
        *self.line() = Line { plan: Some((at, how)), ..Line::default() };
    }

    /// Nothing fails any more.
    pub fn calm(&self) {
        self.line().plan = None;
    }

    /// The next call: how it fails before it is made, if it does.
    fn before(&self) -> Option<How> {
        let mut line = self.line();
        line.calls += 1;
        let (at, how) = line.plan?;
        let calls = match how {
            How::Outage => 1,
            How::Transient { calls } => calls,
            How::AnswerLost => return None,
        };
        let fails = (at..at + calls).contains(&line.calls);
        line.fired |= fails;
        fails.then_some(how)
    }

    /// Whether the answer to the present call is lost.
    fn after(&self) -> bool {
        let mut line = self.line();
        let lost = line.plan == Some((line.calls, How::AnswerLost));
        line.fired |= lost;
        lost
    }

    /// There are that many calls at least.
    pub fn reached(&self, at: u64) -> bool {
        self.line().calls >= at
    }

    pub fn published(&self, batch: &[Outgoing]) {
        let mut line = self.line();
        for message in batch {
            let binding = (message.exchange, message.routing_key.as_str());
            for queue in Queue::ALL.into_iter().filter(|queue| queue.bindings().contains(&binding)) {
                *line.waiting.entry(queue.suffix()).or_default() += 1;
                if queue == Queue::Notices {
                    let body: serde_json::Value = serde_json::from_slice(&message.body).expect("an event");
                    let subject = body["subject"].as_str().unwrap_or_default().to_owned();
                    assert_eq!(body["id"], message.message_id.as_str());
                    line.told.entry(subject).or_default().insert(message.message_id.clone());
                }
            }
        }
    }
}

impl CallHook for Injector {
    fn before_call(&self, _writing: bool) -> BoxFuture<'_, Result<(), DbError>> {
        let result = match self.before() {
            None => Ok(()),
            Some(How::Transient { .. }) => Err(transient()),
            Some(_) => Err(outage()),
        };
        Box::pin(std::future::ready(result))
    }

    fn after_write(&self) -> BoxFuture<'_, Result<(), DbError>> {
        let result = if self.after() { Err(answer_lost()) } else { Ok(()) };
        Box::pin(std::future::ready(result))
    }
}

fn unavailable() -> BrokerError {
    BrokerError::Unavailable("on purpose".to_owned())
}

impl Faults for Injector {
    fn before(&self, _call: Call<'_>) -> Result<(), BrokerError> {
        self.before().map_or(Ok(()), |_| Err(unavailable()))
    }

    fn after(&self, call: Call<'_>) -> Result<(), BrokerError> {
        match call {
            Call::Publish(batch) => self.published(batch),
            Call::Ack(count) => self.line().acks += count as u64,
            // Nobody was asked before.
            Call::Take(_) => Faults::before(self, call)?,
            _ => {}
        }
        if self.after() { Err(unavailable()) } else { Ok(()) }
    }
}
