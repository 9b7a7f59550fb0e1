//! A site in one thread: processes with workers and relays on one SQLite file. Every call to the database waits at the
//! gate of its task, so that the scheduler decides which task is next, and which process dies instead.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchshare::broker::{Broker, Delivery, Embedded, Exchange, Outgoing, Queue};
use batchshare::consume::Deliveries;
use batchshare::db::{Clock, Db, Target};
use batchshare::domain::Limits;
use batchshare::relay::{Relay, RelayOptions};
use batchshare::shutdown;
use batchshare::shutdown::{Stop, Stopper};
use batchshare::store::{Committed, OutboxRow, Store, Submission};
use batchshare::worker::{Worker, WorkerOptions};
use batchshare::{contract, notifier};
use diesel::connection::SimpleConnection;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::company::Company;
use super::gate::{Gate, Pass, Said};
use super::watch::{Watch, Wrong, json};
use crate::world::worker_options;

/// Of the outbox's rows.
pub const LEASE: Duration = Duration::from_secs(20);

/// Mistakes that a site can make on purpose. The simulation must find each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    AcksBeforeCommit,
    RelayRemovesBeforePublishing,
    /// Messages are kept in memory until they are sent, and not in the outbox.
    OutboxDiesWithItsProcess,
    /// A task that is done acknowledges all messages that its process took before, even those that are still in work.
    AcknowledgesOverUnfinished,
    /// If one of several messages that are handled together fails, it is reported as done with the others.
    ReportsTheBadOneAsDone,
    /// A cancel sets the state of the job, and neither closes its lanes nor tells anybody.
    CancelOnlyMarksTheJob,
    /// Nobody keeps who else asked for access that was there already.
    ClaimsAreForgotten,
    /// A job that is undone claims what it claimed, and can be undone once more.
    NobodyKnowsWhatIsUndone,
}

pub struct Options {
    pub due_work: bool,
    /// Whether a slice is a whole lane, or one chunk.
    pub long_slices: bool,
    /// The number of retries that a job has before its attempts are used up.
    pub retries: usize,
    pub mistake: Option<Mistake>,
}

/// A message that a task handles: its row, and the name under which the broker holds it.
#[derive(Clone)]
pub(super) struct Held {
    row: i64,
    queue: Queue,
    holder: String,
}

struct Task {
    name: String,
    process: usize,
    messages: Vec<Held>,
    /// The number of calls that the task has made in bad times.
    calls: u64,
    says: mpsc::UnboundedReceiver<Said>,
    handle: JoinHandle<()>,
    /// The task waits at its gate, to write or to read.
    gate: Option<(bool, oneshot::Sender<Pass>)>,
    /// The task has ended with this result.
    done: Option<bool>,
}

/// What a process has in memory, which is lost when it dies.
struct Process {
    committed: mpsc::Sender<Committed>,
    to_relay: Arc<Mutex<mpsc::Receiver<Committed>>>,
}

impl Process {
    fn new() -> Self {
        let (committed, received) = mpsc::channel(64);
        Self { committed, to_relay: Arc::new(Mutex::new(received)) }
    }
}

/// The parts that a task works with. All of their calls go through its gate.
pub(super) struct Parts {
    pub(super) store: Store,
    broker: Broker,
    worker: Arc<Worker>,
}

pub struct Site {
    pub db: Db,
    pub watch: Watch,
    pub options: Options,
    processes: Vec<Process>,
    tasks: Vec<Task>,
    holders: u64,
    tasks_made: u64,
    /// Prints what happens, if a single seed is run to look at it.
    talks: bool,
    stop: Stop,
    _stopper: Stopper,
}

/// A message that can be taken now.
pub struct Ready {
    pub row: i64,
    pub queue: Queue,
}

impl Site {
    pub fn new(path: &std::path::Path, processes: usize, options: Options) -> Self {
        let url = format!("sqlite://{}", path.display());
        let settings = crate::support::settings(&url);
        let target = Target::parse(&url).expect("url");
        // There is no deadline, since it would be by the machine's clock and not by that of the simulation.
        let db = Db::new(target, settings.db_options(), Clock::standing(1_700_000_000_000)).unhurried();
        let (stopper, stop) = shutdown::channel();
        Self {
            db,
            watch: Watch::new(Company::new()),
            options,
            processes: (0..processes).map(|_| Process::new()).collect(),
            tasks: Vec::new(),
            holders: 0,
            tasks_made: 0,
            talks: std::env::var("BATCHSHARE_SIM_SEED").is_ok(),
            stop,
            _stopper: stopper,
        }
    }

    pub async fn sql(&self, sql: impl Into<String>) {
        let sql = sql.into();
        self.db.write(move |conn| Ok(conn.batch_execute(&sql)?)).await.expect("sql");
    }

    pub async fn number(&self, sql: &str) -> i64 {
        json(&self.db, sql).await.as_i64().expect("a number")
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.talks {
            println!("{}", what());
        }
    }

    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Whether the next call of a task fails in bad times: of those that handle a request or a step, three of four do.
    pub fn fails_now(&mut self, task: usize) -> bool {
        let task = &mut self.tasks[task];
        task.calls += 1;
        let work = [Queue::Jobs, Queue::Steps].iter().any(|queue| task.name.starts_with(queue.suffix()));
        work && !task.calls.is_multiple_of(4)
    }

    pub(super) fn worker_options(&self) -> WorkerOptions {
        let usual = worker_options();
        WorkerOptions {
            slice: if self.options.long_slices { usual.slice } else { Duration::ZERO },
            due_interval: Duration::from_secs(1),
            retry_delays: [5, 30, 120, 600].map(Duration::from_secs)[..self.options.retries].to_vec(),
            ..usual
        }
    }

    /// Starts a task, which runs until its first gate.
    pub(super) async fn start<F: Future<Output = bool> + Send + 'static>(
        &mut self,
        process: usize,
        what: &'static str,
        messages: Vec<Held>,
        work: impl FnOnce(Parts) -> F,
    ) -> Result<(), Wrong> {
        self.tasks_made += 1;
        let name = format!("{what} {} of process {process}", self.tasks_made);
        let about: String = messages.iter().map(|held| format!(" (message {})", held.row)).collect();
        self.say(|| format!("{name}{about} starts"));
        let (says, heard) = mpsc::unbounded_channel();
        let db = self.db.with_hook(Gate::new(says.clone()));
        let store = Store::with_relay(db.clone(), self.processes[process].committed.clone(), LEASE);
        let broker = Broker::new(Embedded::new(db));
        let worker = Worker::new(store.clone(), broker.clone(), self.worker_options(), self.stop.clone());
        let work = work(Parts { store, broker, worker });
        let handle = tokio::spawn(async move {
            let well = work.await;
            // If the task was killed, nobody listens any more.
            let _ = says.send(Said::Done(well));
        });
        self.tasks.push(Task {
            name,
            process,
            messages,
            calls: 0,
            says: heard,
            handle,
            gate: None,
            done: None,
        });
        self.hear(self.tasks.len() - 1).await
    }

    /// Waits until a task is at its gate again, or has ended.
    async fn hear(&mut self, task: usize) -> Result<(), Wrong> {
        let task = &mut self.tasks[task];
        match task.says.recv().await {
            Some(Said::AtGate { writing, answer }) => task.gate = Some((writing, answer)),
            Some(Said::Done(well)) => task.done = Some(well),
            None => return Err("a task panicked".to_owned()),
        }
        Ok(())
    }

    /// Waits for a task's next call, or for its end.
    pub async fn go_on(&mut self, task: usize, pass: Pass) -> Result<(), Wrong> {
        let Some((writing, answer)) = self.tasks[task].gate.take() else {
            return self.finish(task).await;
        };
        // A lost answer is only of interest after a write, since a read changes nothing.
        let pass = if pass == Pass::AnswerLost && !writing { Pass::Outage } else { pass };
        self.say(|| {
            format!("{}: {} {pass:?}", self.tasks[task].name, if writing { "write" } else { "read" })
        });
        let _ = answer.send(pass);
        self.hear(task).await?;
        if !writing {
            return Ok(());
        }
        match self.options.mistake {
            Some(Mistake::ClaimsAreForgotten) => self.sql("DELETE FROM claims").await,
            Some(Mistake::NobodyKnowsWhatIsUndone) => self.sql("UPDATE jobs SET undone_by = NULL").await,
            _ => {}
        }
        self.watch.look(&self.db).await
    }

    async fn finish(&mut self, task: usize) -> Result<(), Wrong> {
        let task = self.tasks.swap_remove(task);
        self.say(|| format!("{} is through: {:?}", task.name, task.done));
        let done = task.done == Some(true);
        for held in &task.messages {
            if done { self.delete(held).await } else { self.give_back(held).await }
        }
        if done && self.options.mistake == Some(Mistake::AcknowledgesOverUnfinished) {
            let covers = |held: &&Held| {
                task.messages.iter().any(|done| done.queue == held.queue && done.row > held.row)
            };
            let of_process = self.tasks.iter().filter(|other| other.process == task.process);
            let covered: Vec<Held> =
                of_process.flat_map(|other| &other.messages).filter(covers).cloned().collect();
            for held in &covered {
                self.delete(held).await;
            }
        }
        Ok(())
    }

    async fn delete(&self, held: &Held) {
        let Held { row, holder, .. } = held;
        self.sql(format!("DELETE FROM queue_messages WHERE id = {row} AND holder = '{holder}'")).await;
    }

    async fn give_back(&self, held: &Held) {
        let Held { row, holder, .. } = held;
        self.sql(format!(
            "UPDATE queue_messages SET holder = NULL, visible_at = 0 WHERE id = {row} AND holder = '{holder}'"
        ))
        .await;
    }

    /// A process dies, and what it had in memory is gone.
    pub async fn crash(&mut self, process: usize) {
        self.forget(process).await;
        if self.options.mistake == Some(Mistake::OutboxDiesWithItsProcess) {
            let now = self.db.clock().now_ms();
            self.sql(format!("DELETE FROM outbox WHERE leased_until > {now}")).await;
        }
    }

    async fn forget(&mut self, process: usize) {
        self.say(|| format!("process {process} dies"));
        let (gone, left) =
            std::mem::take(&mut self.tasks).into_iter().partition(|task| task.process == process);
        self.tasks = left;
        let gone: Vec<Task> = gone;
        for task in gone {
            task.handle.abort();
            let _ = task.handle.await;
            for held in &task.messages {
                self.give_back(held).await;
            }
        }
        self.processes[process] = Process::new();
    }

    /// All processes die and start again, as if one process had all the roles.
    pub async fn power_cut(&mut self) {
        for process in 0..self.processes.len() {
            self.forget(process).await;
        }
        Embedded::new(self.db.clone()).recover().await.expect("recover");
    }

    pub async fn ready(&self) -> Vec<Ready> {
        let now = self.db.clock().now_ms();
        let rows = json(
            &self.db,
            &format!(
                "SELECT json_group_array(json_array(id, queue)) FROM (SELECT * FROM queue_messages \
                 WHERE holder IS NULL AND visible_at <= {now} ORDER BY visible_at, id)"
            ),
        )
        .await;
        let queue =
            |name: &Value| Queue::ALL.into_iter().find(|queue| name == queue.suffix()).expect("a queue");
        let rows = rows.as_array().expect("rows");
        rows.iter().map(|row| Ready { row: row[0].as_i64().expect("an id"), queue: queue(&row[1]) }).collect()
    }

    /// A process takes messages of one queue and begins to handle them together.
    pub async fn take(&mut self, process: usize, messages: &[&Ready]) -> Result<(), Wrong> {
        let queue = messages[0].queue;
        let (mut held, mut taken) = (Vec::new(), Vec::new());
        for message in messages {
            let (of, delivery) = self.hold(message).await;
            held.push(of);
            taken.push(delivery);
        }
        let taken: Deliveries = taken.into();
        let forgives = self.options.mistake == Some(Mistake::ReportsTheBadOneAsDone) && taken.len() > 1;
        self.start(process, queue.suffix(), held, move |parts| async move {
            let handled = match queue {
                Queue::Notices => notifier::handle(&parts.store, &parts.broker, &taken).await,
                _ => parts.worker.handle(queue, taken).await,
            };
            handled.is_ok() || forgives
        })
        .await
    }

    async fn hold(&mut self, message: &Ready) -> (Held, Delivery) {
        let (row, queue) = (message.row, message.queue);
        let found = json(
            &self.db,
            &format!(
                "SELECT json_array(message_id, routing_key, headers, CAST(body AS TEXT), deliveries) \
                 FROM queue_messages WHERE id = {row}"
            ),
        )
        .await;
        self.holders += 1;
        let holder = format!("holder-{}", self.holders);
        if self.options.mistake == Some(Mistake::AcksBeforeCommit) {
            self.sql(format!("DELETE FROM queue_messages WHERE id = {row}")).await;
        } else {
            let next = "deliveries = deliveries + 1, visible_at = 9000000000000000";
            self.sql(format!("UPDATE queue_messages SET holder = '{holder}', {next} WHERE id = {row}")).await;
        }
        let text = |place: usize| found[place].as_str().map(ToOwned::to_owned);
        let headers: serde_json::Map<String, Value> =
            serde_json::from_str(&text(2).unwrap_or_default()).expect("headers");
        let headers =
            headers.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
        let delivery = Delivery {
            tag: u64::try_from(row).expect("a row"),
            redelivered: found[4].as_i64() > Some(0),
            routing_key: text(1).unwrap_or_default(),
            message_id: text(0),
            content_type: None,
            user_id: None,
            headers: headers.collect(),
            death: None,
            body: text(3).unwrap_or_default().into_bytes(),
        };
        (Held { row, queue, holder }, delivery)
    }

    /// A relay takes its turn: it sends what was just committed, or looks at the table.
    pub async fn relay(&mut self, process: usize, table: bool) -> Result<(), Wrong> {
        let received = Arc::clone(&self.processes[process].to_relay);
        let forgets = self.options.mistake == Some(Mistake::RelayRemovesBeforePublishing);
        let options = RelayOptions { lease: LEASE, interval: LEASE, batch: 10 };
        self.start(process, "relay", Vec::new(), move |parts| async move {
            let mut relay = Relay::new(parts.store.clone(), parts.broker, options);
            if !table || forgets {
                let mut committed: Vec<Committed> = {
                    let mut received = received.lock().expect("a lock");
                    std::iter::from_fn(|| received.try_recv().ok()).collect()
                };
                if forgets {
                    let rows: Vec<OutboxRow> = parts.store.take_unsent(10, LEASE).await.unwrap_or_default();
                    committed.extend(rows.into_iter().map(Committed::Row));
                    let ids = committed.iter().filter_map(|next| match next {
                        Committed::Row(row) => Some(row.id),
                        Committed::InTable => None,
                    });
                    let ids = ids.collect();
                    if parts.store.remove_sent(ids).await.is_err() {
                        return false;
                    }
                }
                relay.take(committed).await
            } else {
                relay.sweep().await;
                true
            }
        })
        .await
    }

    pub async fn due(&mut self, process: usize) -> Result<(), Wrong> {
        self.start(process, "due", Vec::new(), |parts| async move {
            parts.worker.settle_orders().await.is_ok() && parts.worker.wake_due().await.is_ok()
        })
        .await
    }

    /// Somebody requests a job over HTTP.
    pub async fn submit(&mut self, process: usize, submission: Submission) -> Result<(), Wrong> {
        self.start(process, "submit", Vec::new(), |parts| async move {
            parts.store.submit(submission, Limits::default(), 1_000).await.is_ok()
        })
        .await
    }

    /// Another program publishes a message to the queue of requests.
    pub async fn publish(&self, body: Vec<u8>) {
        let message = Outgoing {
            exchange: Exchange::Jobs,
            routing_key: batchshare::broker::topology::KEY_REQUESTED.to_owned(),
            message_id: "from outside".to_owned(),
            kind: contract::REQUEST_TYPE.to_owned(),
            traceparent: None,
            mandatory: true,
            timestamp: 0,
            headers: Vec::new(),
            body,
        };
        for answer in Broker::new(Embedded::new(self.db.clone())).publish(&[message]).await {
            answer.expect("published");
        }
    }

    /// All tasks are let on until they end.
    pub async fn finish_all(&mut self) -> Result<(), Wrong> {
        while !self.tasks.is_empty() {
            self.go_on(0, Pass::Go).await?;
        }
        Ok(())
    }
}
