//! A PostgreSQL and a RabbitMQ that belong to the chaos run, which kills, stops and starts them again.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use diesel::Connection as _;

use crate::process::until;

pub struct Servers {
    data: PathBuf,
    pub pg_port: u16,
    pub mq_port: u16,
    password: String,
    epmd: Child,
    pg: Child,
    mq: Child,
}

impl Servers {
    /// Prepares and starts both servers, and returns when they answer.
    pub fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(root.join("dev")).arg("_prepare").output().expect("./dev _prepare");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        let port = |line: &str| line.parse::<u16>().expect("a port");
        let data = PathBuf::from(lines[0]);
        let epmd = spawn(&data, "epmd");
        let epmd_port = port(lines[3]);
        until("epmd answers", 20, || std::net::TcpStream::connect(("127.0.0.1", epmd_port)).ok());
        let (pg, mq) = (spawn(&data, "postgres"), spawn(&data, "rabbitmq"));
        let password = lines[4].to_owned();
        let mut servers =
            Self { data, pg_port: port(lines[1]), mq_port: port(lines[2]), password, epmd, pg, mq };
        servers.await_pg("template1");
        let admin = servers.pg_url(servers.pg_port, "template1");
        let mut conn = diesel::PgConnection::establish(&admin).expect("PostgreSQL answers");
        diesel::connection::SimpleConnection::batch_execute(&mut conn, "CREATE DATABASE batchshare")
            .expect("a database");
        servers.await_mq();
        servers
    }

    pub fn pg_url(&self, port: u16, database: &str) -> String {
        format!("postgres://batchshare:{}@127.0.0.1:{port}/{database}", self.password)
    }

    pub fn amqp_url(&self, port: u16) -> String {
        format!("amqp://guest:guest@127.0.0.1:{port}/%2f")
    }

    /// Kills PostgreSQL by SIGKILL, and starts it again on the same data.
    pub fn kill_pg(&mut self) {
        signal("KILL", &self.pg_pids());
        let _ = self.pg.wait();
        self.pg = spawn(&self.data, "postgres");
        self.await_pg("batchshare");
    }

    /// Kills the node of RabbitMQ by SIGKILL, and starts it again on the same data.
    pub fn kill_mq(&mut self) {
        signal("KILL", &[-i64::from(self.mq.id())]);
        let _ = self.mq.wait();
        self.mq = spawn(&self.data, "rabbitmq");
        self.await_mq();
    }

    /// Stops PostgreSQL as an administrator does, which ends every connection with 57P01, and starts it again.
    pub fn stop_pg(&mut self) {
        signal("INT", &[i64::from(self.pg.id())]);
        until("PostgreSQL stops", 60, || self.pg.try_wait().expect("a child"));
        self.pg = spawn(&self.data, "postgres");
        self.await_pg("batchshare");
    }

    /// Stops RabbitMQ in order, and starts it again on the same data.
    pub fn stop_mq(&mut self) {
        signal("TERM", &[-i64::from(self.mq.id())]);
        until("RabbitMQ stops", 60, || self.mq.try_wait().expect("a child"));
        self.mq = spawn(&self.data, "rabbitmq");
        self.await_mq();
    }

    /// Sends STOP or CONT to all processes of PostgreSQL.
    pub fn signal_pg(&self, name: &str) {
        signal(name, &self.pg_pids());
    }

    /// Sends STOP or CONT to all processes of RabbitMQ.
    pub fn signal_mq(&self, name: &str) {
        signal(name, &[-i64::from(self.mq.id())]);
    }

    /// The last lines of a server's own log.
    pub fn log(&self, script: &str) -> String {
        let text = std::fs::read(self.data.join(format!("{script}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(4_000)..]).into_owned()
    }

    pub fn rabbitmqctl(&self, arguments: &[&str]) {
        let output =
            Command::new(self.data.join("rabbitmqctl")).args(arguments).output().expect("rabbitmqctl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The postmaster and its children, each of which has a process group of its own.
    fn pg_pids(&self) -> Vec<i64> {
        let parent = self.pg.id().to_string();
        let mut pids = vec![i64::from(self.pg.id())];
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i64>() else { continue };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
            if fields.split_whitespace().nth(1) == Some(&parent) {
                pids.push(pid);
            }
        }
        pids
    }

    fn await_pg(&mut self, database: &str) {
        let url = self.pg_url(self.pg_port, database);
        until("PostgreSQL answers", 60, || {
            // If it is started too soon after a kill, it finds the shared memory of the older one in use, and ends.
            if self.pg.try_wait().expect("a child").is_some() {
                self.pg = spawn(&self.data, "postgres");
            }
            diesel::PgConnection::establish(&url).ok()
        });
    }

    fn await_mq(&mut self) {
        let port = self.mq_port;
        until("RabbitMQ answers", 90, || {
            use std::io::{Read as _, Write as _};
            if self.mq.try_wait().expect("a child").is_some() {
                self.mq = spawn(&self.data, "rabbitmq");
            }
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).ok()?;
            stream.write_all(b"AMQP\0\0\x09\x01").ok()?;
            stream.read_exact(&mut [0; 1]).ok()
        });
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        signal("CONT", &self.pg_pids());
        signal("KILL", &self.pg_pids());
        for child in [&mut self.mq, &mut self.epmd, &mut self.pg] {
            signal("KILL", &[-i64::from(child.id())]);
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn spawn(data: &Path, script: &str) -> Child {
    let log =
        File::options().create(true).append(true).open(data.join(format!("{script}.log"))).expect("a log");
    Command::new(data.join(script))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("a server's script")
}

/// Sends a signal to processes by their ids, never by name. A negative id is that of a process group.
pub fn signal(name: &str, pids: &[i64]) {
    let pids = pids.iter().map(ToString::to_string);
    let _ = Command::new("kill").arg(format!("-{name}")).arg("--").args(pids).stderr(Stdio::null()).status();
}
