//! Two gateways and two workers behind relays, and the faults that they have to survive.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use batchshare::broker::{Broker, Rabbit, RabbitOptions, Topology};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;

use super::relay::{Mode, TcpRelay};
use super::servers::{Servers, signal};
use crate::process::{Env, Program, file, run};

pub const ANA: i64 = 1;
/// The recipients have the ids from 2 on.
pub const RECIPIENTS: i64 = 20;
pub const FIRST_SECRET: i64 = 1_001;
pub const SECRETS: i64 = 400;
/// The secrets after those, which are shared once and then taken back.
pub const TO_TAKE_BACK: i64 = 2_000;
pub const PREFIX: &str = "chaos";
/// The secrets after those are in regions of so many, each of which belongs to one who shares, cancels, undoes and
/// unshares.
pub const REGIONS: u64 = 4;
pub const REGION_SECRETS: i64 = 40;
pub const FIRST_OF_REGIONS: i64 = FIRST_SECRET + SECRETS + TO_TAKE_BACK;
const LANE_LEASE: Duration = Duration::from_secs(8);

pub struct Site {
    pub servers: Servers,
    pub pg: TcpRelay,
    pub mq: TcpRelay,
    env: Env,
    pub serve: Vec<Program>,
    pub work: Vec<Program>,
    pub addresses: Arc<Mutex<Vec<String>>>,
    /// The logs of all processes that have ended.
    pub logs: Vec<String>,
    _folder: tempfile::TempDir,
}

/// The faults that can happen. Each of them is over when `fault` returns.
const FAULTS: &[&str] = &[
    "kill a worker",
    "kill a worker",
    "kill a gateway",
    "stop a worker",
    "stop a gateway",
    "pause a worker",
    "pause a worker until its work is given away",
    "pause a gateway",
    "kill PostgreSQL",
    "stop PostgreSQL",
    "pause PostgreSQL",
    "cut PostgreSQL",
    "stall PostgreSQL",
    "slow PostgreSQL",
    "kill RabbitMQ",
    "stop RabbitMQ",
    "pause RabbitMQ",
    "cut RabbitMQ",
    "cut RabbitMQ",
    "stall RabbitMQ",
    "slow RabbitMQ",
    "alarm of RabbitMQ",
    "cut both",
];

impl Site {
    pub async fn start() -> Self {
        // The servers are started by this thread, since they are stopped when the thread that started them ends.
        let servers = tokio::task::block_in_place(Servers::start);
        let (pg, mq) = (TcpRelay::start(servers.pg_port).await, TcpRelay::start(servers.mq_port).await);
        let folder = tempfile::tempdir().expect("a folder");
        let mut env: Env = [
            ("DATABASE__URL", servers.pg_url(pg.port, "batchshare")),
            ("BROKER__URL", servers.amqp_url(mq.port)),
            ("BROKER__PREFIX", PREFIX.to_owned()),
            ("GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
            // These settings are short for the chaos run: what takes seconds here takes minutes by default.
            ("BROKER__HEARTBEAT_S", "3".to_owned()),
            ("BROKER__CONNECT_TIMEOUT_MS", "3000".to_owned()),
            ("BROKER__OPERATION_TIMEOUT_MS", "4000".to_owned()),
            ("DATABASE__CONNECT_TIMEOUT_S", "3".to_owned()),
            ("DATABASE__CALL_TIMEOUT_MS", "6000".to_owned()),
            ("DATABASE__STATEMENT_TIMEOUT_MS", "5000".to_owned()),
            ("DATABASE__LOCK_TIMEOUT_MS", "3000".to_owned()),
            ("DATABASE__IDLE_IN_TRANSACTION_TIMEOUT_MS", "5000".to_owned()),
            ("DATABASE__TCP_USER_TIMEOUT_MS", "5000".to_owned()),
            ("RELAY__LEASE_MS", "5000".to_owned()),
            ("WORKER__LANE_LEASE_MS", LANE_LEASE.as_millis().to_string()),
            ("WORKER__RETRY_DELAYS_MS", "500,1000,2000,2000".to_owned()),
            // Chunks are small, so that a process can be killed in the middle of a job.
            ("WORKER__CHUNK_PAIRS", "100".to_owned()),
            ("WORKER__SLICE_MS", "50".to_owned()),
            ("LIMITS__UNFINISHED_JOBS", "100000".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (&*format!("BATCHSHARE__{name}").leak(), value))
        .collect();
        let (_, key, _) = run(&["keygen"], &Vec::new());
        let key = file(&folder, "key", &key);
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
        env.push(("BATCHSHARE__VAULT__KEY_FILE", key.display().to_string()));
        let (code, _, err) = run(&["migrate"], &env);
        assert_eq!(code, 0, "{err}");
        let lines = file(&folder, "company.jsonl", &company());
        let (code, _, err) = run(&["import", lines.to_str().expect("a path")], &env);
        assert_eq!(code, 0, "{err}");
        let mut site = Self {
            servers,
            pg,
            mq,
            env,
            serve: Vec::new(),
            work: Vec::new(),
            addresses: Arc::default(),
            logs: Vec::new(),
            _folder: folder,
        };
        for _ in 0..2 {
            let mut serve = Program::start(&["serve"], &site.env);
            site.addresses.lock().expect("addresses").push(serve.address());
            site.serve.push(serve);
            site.work.push(Program::start(&["work"], &site.env));
        }
        site
    }

    /// The URL of the broker itself and not of the relay, for those that publish and those that check.
    pub fn broker(&self) -> Broker {
        Broker::new(Rabbit::new(RabbitOptions {
            url: self.servers.amqp_url(self.servers.mq_port),
            topology: Topology { prefix: PREFIX.to_owned() },
            heartbeat: 3,
            connect_timeout: Duration::from_secs(3),
            operation_timeout: Duration::from_secs(4),
            name: "chaos".to_owned(),
            ca_file: None,
            metrics: batchshare::telemetry::metrics::Metrics::default(),
        }))
    }

    /// Lets one fault happen, chosen by the seed, and ends it. Returns its name.
    pub async fn fault(&mut self, rng: &mut StdRng) -> &'static str {
        let name = FAULTS[rng.random_range(0..FAULTS.len())];
        let which = rng.random_range(0..2);
        let hold = Duration::from_millis(rng.random_range(300..2_500));
        let wait = || tokio::time::sleep(hold);
        match name {
            "kill a worker" => {
                self.work[which].kill();
                wait().await;
                self.restart_worker(which);
            }
            "kill a gateway" => {
                self.serve[which].kill();
                self.restart_gateway(which);
            }
            "stop a worker" => {
                // If no other worker runs, it may be waiting for a slow server when it is stopped. Its deadline ends that.
                assert_eq!(self.work[which].stop(), 0, "{}", self.work[which].log());
                self.restart_worker(which);
            }
            "stop a gateway" => {
                assert_eq!(self.serve[which].stop(), 0, "{}", self.serve[which].log());
                self.restart_gateway(which);
            }
            // This is longer than heartbeats, deadlines and the lease of a lane. When the process wakes up, another
            // worker has done its work meanwhile.
            "pause a worker until its work is given away" => {
                signal("STOP", &[self.work[which].pid()]);
                tokio::time::sleep(LANE_LEASE + hold).await;
                signal("CONT", &[self.work[which].pid()]);
            }
            "pause a worker" => {
                signal("STOP", &[self.work[which].pid()]);
                wait().await;
                signal("CONT", &[self.work[which].pid()]);
            }
            "pause a gateway" => {
                signal("STOP", &[self.serve[which].pid()]);
                wait().await;
                signal("CONT", &[self.serve[which].pid()]);
            }
            "kill PostgreSQL" => tokio::task::block_in_place(|| self.servers.kill_pg()),
            "stop PostgreSQL" => tokio::task::block_in_place(|| self.servers.stop_pg()),
            "stop RabbitMQ" => tokio::task::block_in_place(|| self.servers.stop_mq()),
            "kill RabbitMQ" => tokio::task::block_in_place(|| self.servers.kill_mq()),
            "pause PostgreSQL" => {
                self.servers.signal_pg("STOP");
                wait().await;
                self.servers.signal_pg("CONT");
            }
            "pause RabbitMQ" => {
                self.servers.signal_mq("STOP");
                wait().await;
                self.servers.signal_mq("CONT");
            }
            "alarm of RabbitMQ" => {
                let watermark = |mark: &str| {
                    tokio::task::block_in_place(|| {
                        self.servers.rabbitmqctl(&["set_vm_memory_high_watermark", mark]);
                    });
                };
                watermark("0.00001");
                wait().await;
                watermark("0.4");
            }
            name => {
                let mode = match name.split(' ').next() {
                    Some("stall") => Mode::Stall,
                    Some("slow") => Mode::Slow(Duration::from_millis(rng.random_range(5..60))),
                    _ => Mode::Cut,
                };
                let both = name.ends_with("both");
                let set = |mode| {
                    if both || name.ends_with("PostgreSQL") {
                        self.pg.set(mode);
                    }
                    if both || name.ends_with("RabbitMQ") {
                        self.mq.set(mode);
                    }
                };
                set(mode);
                // A stall is long enough for heartbeats and deadlines to notice it.
                tokio::time::sleep(if mode == Mode::Stall { hold * 3 } else { hold }).await;
                set(Mode::Flow);
            }
        }
        name
    }

    fn restart_worker(&mut self, which: usize) {
        self.logs.push(self.work[which].log());
        self.work[which] = Program::start(&["work"], &self.env);
    }

    fn restart_gateway(&mut self, which: usize) {
        self.logs.push(self.serve[which].log());
        let mut serve = Program::start(&["serve"], &self.env);
        let address = tokio::task::block_in_place(|| serve.address());
        self.addresses.lock().expect("addresses")[which] = address;
        self.serve[which] = serve;
    }
}

fn company() -> String {
    let mut lines = String::new();
    for id in 1..=1 + RECIPIENTS {
        let name = if id == ANA { "ana".to_owned() } else { format!("user{id}") };
        let line = json!({"type": "user", "id": id, "username": name, "name": name, "email": ""});
        lines.push_str(&format!("{line}\n"));
    }
    let end = FIRST_OF_REGIONS + i64::try_from(REGIONS).expect("small") * REGION_SECRETS;
    for id in FIRST_SECRET..end {
        let line = json!({"type": "secret", "id": id, "owner": ANA, "name": format!("API {id}"),
                          "url": "https://a.example", "client_id": "ci"});
        lines.push_str(&format!("{line}\n"));
    }
    lines
}
