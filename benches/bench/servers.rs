//! The servers of the benchmark, and what each case has for itself: a database, a prefix at the broker, processes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, RunQueryDsl as _};
use tempfile::TempDir;

use crate::client;
use crate::program::{Env, Program, cpu_seconds, own_cpu_seconds, run};

/// The user who shares in every case.
pub const REQUESTER: i64 = 1;
/// The users have the ids from 1 to this. All except the first are recipients.
const USERS: i64 = 10_100;
/// The id of the first secret. The others have the ids after it.
pub const FIRST_SECRET: i64 = 100_001;
/// The first recipient.
pub const FIRST_USER: i64 = 2;

/// The people and secrets of a case, as SQL that both databases understand except for the series of numbers.
pub fn company(secrets: i64, series: impl Fn(i64, i64) -> String) -> String {
    let (users, ids) = (series(1, USERS), series(FIRST_SECRET, FIRST_SECRET + secrets - 1));
    format!(
        "INSERT INTO principals (id, kind, name, active, username, email, has_account, owner_id, \
                                 visible_to_members, search_text) \
         SELECT i, 1, 'User ' || i, true, 'user' || i, '', true, NULL, false, 'user ' || i FROM {users}; \
         INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, \
                              updated_at) \
         SELECT i, {REQUESTER}, 'API ' || i, 'https://a.example', 'ci', 'GET', '', false, 'api ' || i, 0 \
         FROM {ids};"
    )
}

/// The private servers that `./dev bench` started.
#[derive(Clone)]
pub struct Servers {
    pub pg: String,
    pub amqp: String,
    pg_pid: Option<u32>,
    mq_pid: Option<u32>,
}

/// The processor seconds that the program and the servers have used at one time.
#[derive(Clone, Copy)]
pub struct Cpu {
    began: Instant,
    postgres: f64,
    rabbitmq: f64,
    programs: f64,
    bench: f64,
}

impl Servers {
    pub fn from_env() -> Self {
        let needed =
            |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: ./dev bench"));
        let pid = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        Self {
            pg: needed("BATCHSHARE_TEST_PG_URL"),
            amqp: needed("BATCHSHARE_TEST_AMQP_URL"),
            pg_pid: pid("BATCHSHARE_BENCH_PG_PID"),
            mq_pid: pid("BATCHSHARE_BENCH_MQ_PID"),
        }
    }

    fn cpu(&self, programs: &[&Program]) -> Cpu {
        Cpu {
            began: Instant::now(),
            postgres: self.pg_pid.map_or(f64::NAN, cpu_seconds),
            rabbitmq: self.mq_pid.map_or(f64::NAN, cpu_seconds),
            programs: programs.iter().map(|program| cpu_seconds(program.pid())).sum(),
            bench: own_cpu_seconds(),
        }
    }

    /// The versions of both servers, as they give them, and the settings that decide how durable a commit is.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut pg = connect(&self.pg);
        let mut show = |name: &str| text(&mut pg, &format!("SELECT current_setting('{name}') AS t"));
        vec![
            ("PostgreSQL", show("server_version")),
            ("fsync", show("fsync")),
            ("synchronous_commit", show("synchronous_commit")),
            ("shared_buffers", show("shared_buffers")),
            ("RabbitMQ", rabbitmq_version(&self.amqp)),
        ]
    }
}

/// Reads the version of RabbitMQ from its first frame, since lapin does not give it.
fn rabbitmq_version(url: &str) -> String {
    let place = url.rsplit_once('@').map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let mut stream = TcpStream::connect(place).expect("RabbitMQ answers");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    stream.write_all(b"AMQP\0\0\x09\x01").expect("sent");
    let mut head = [0; 4_096];
    let length = stream.read(&mut head).expect("its first frame");
    let name = b"\x07versionS";
    let at = head[..length].windows(name.len()).position(|window| window == name).expect("its version");
    let value = at + name.len() + 4;
    let end = value + usize::from(head[value - 1]);
    String::from_utf8_lossy(&head[value..end]).into_owned()
}

pub fn connect(url: &str) -> PgConnection {
    PgConnection::establish(url).expect("the private PostgreSQL answers")
}

/// One text, in the column `t`.
pub fn text(conn: &mut PgConnection, sql: &str) -> String {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        t: String,
    }
    diesel::sql_query(sql).get_result::<Row>(conn).expect("a text").t
}

/// A database, a prefix at the broker and a folder that belong to one case. [`Site::close`] removes them.
pub struct Site {
    pub servers: Servers,
    pub url: String,
    pub prefix: String,
    pub env: Env,
    name: String,
    _folder: TempDir,
}

impl Site {
    /// Makes a site whose requester has this many secrets.
    pub fn new(servers: &Servers, secrets: i64) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        connect(&servers.pg).batch_execute(&format!("CREATE DATABASE {name}")).expect("a database");
        let (server, _) = servers.pg.rsplit_once('/').expect("a URL with a database");
        let url = format!("{server}/{name}");
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key");
        std::fs::write(&key, run(&["keygen"], &Env::new())).expect("a key");
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("chmod");
        let env = vec![
            ("BATCHSHARE__DATABASE__URL", url.clone()),
            ("BATCHSHARE__BROKER__URL", servers.amqp.clone()),
            ("BATCHSHARE__BROKER__PREFIX", name.clone()),
            ("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0".to_owned()),
            ("BATCHSHARE__WORKER__LISTEN", "127.0.0.1:0".to_owned()),
            ("BATCHSHARE__VAULT__KEY_FILE", key.display().to_string()),
        ];
        let site = Self { servers: servers.clone(), url, prefix: name.clone(), env, name, _folder: folder };
        run(&["migrate"], &site.env);
        run(&["topology", "--declare"], &site.env);
        site.sql(&company(secrets, |from, to| format!("generate_series({from}, {to}) i")));
        site.sql("ANALYZE principals; ANALYZE secrets");
        site
    }

    pub fn serve(&self) -> Program {
        let mut serve = Program::start(&["serve"], &self.env);
        serve.logged("the gateway listens", "listen=");
        serve
    }

    pub fn work(&self) -> Program {
        let mut work = Program::start(&["work"], &self.env);
        work.logged("the worker's health is told", "listen=");
        work
    }

    pub fn sql(&self, sql: &str) {
        connect(&self.url).batch_execute(sql).expect("statements");
    }

    pub fn number(&self, sql: &str) -> i64 {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            n: i64,
        }
        let sql = format!("SELECT CAST(({sql}) AS BIGINT) AS n");
        diesel::sql_query(sql).get_result::<Row>(&mut connect(&self.url)).expect("a number").n
    }

    /// Gives every run the same start: the tables are empty, and the server has nothing left to write for the run
    /// before.
    pub fn empty(&self, tables: &str) {
        self.sql(&format!("TRUNCATE {tables}"));
        self.sql("CHECKPOINT");
    }

    /// Makes a table for the raw limit, with the same columns, key and index as the table of grants.
    pub fn make_raw(&self) {
        self.sql("CREATE TABLE raw (LIKE grants INCLUDING ALL)");
    }

    /// Panics unless there are exactly this many jobs, all completed, and a notice for each.
    pub fn check_jobs(&self, expected: usize) {
        let expected = i64::try_from(expected).expect("a count");
        let jobs = self.number("SELECT count(*) FROM jobs");
        let completed = self.number("SELECT count(*) FROM jobs WHERE state = 'completed'");
        assert!(
            jobs == expected && completed == expected,
            "{completed} of {jobs} jobs completed, not {expected}"
        );
        self.await_notices(expected);
    }

    /// Panics unless the last job granted exactly this many pairs, all of them to view.
    pub fn check_granted(&self, expected: i64) {
        let granted = self.number("SELECT granted FROM jobs ORDER BY id DESC LIMIT 1");
        let view = self.number("SELECT count(*) FROM grants WHERE permission = 1 AND view_job IS NOT NULL");
        assert_eq!((granted, view), (expected, expected), "pairs of the last job, and grants");
    }

    /// Waits until there are this many notices, since they are made just after the events.
    pub fn await_notices(&self, expected: i64) {
        let end = Instant::now() + Duration::from_secs(60);
        let mut conn = connect(&self.url);
        loop {
            let found = text(&mut conn, "SELECT count(*)::text AS t FROM notices");
            if found == expected.to_string() {
                return;
            }
            assert!(Instant::now() < end, "{found} notices, not {expected}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until no message waits to be sent.
    pub fn await_outbox(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.number("SELECT count(*) FROM outbox") > 0 {
            assert!(Instant::now() < end, "messages stay in the outbox");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Panics unless `table` has exactly this many rows.
    pub fn check_rows(&self, table: &str, expected: i64) {
        let rows = self.number(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(rows, expected, "rows of {table}");
    }

    pub fn cpu(&self, programs: &[&Program]) -> Cpu {
        self.servers.cpu(programs)
    }

    /// Ends the programs and removes everything that the site had.
    pub async fn close(self, programs: impl IntoIterator<Item = Program>) {
        programs.into_iter().for_each(drop);
        client::delete_topology(&self.servers.amqp, &self.prefix).await;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A program that still runs loses its connection, which does no harm, since the case is over.
        let dropped = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = PgConnection::establish(&self.servers.pg).map(|mut conn| conn.batch_execute(&dropped));
    }
}

impl Cpu {
    /// The processor seconds that each has used since `earlier`.
    pub fn since(&self, earlier: &Self) -> String {
        let seconds = self.began.duration_since(earlier.began).as_secs_f64();
        let part = |now: f64, before: f64| {
            if now.is_nan() { "not measured".to_owned() } else { format!("{:.2}", now - before) }
        };
        format!(
            "{} in {seconds:.2} s: PostgreSQL {}, RabbitMQ {}, batchshare {}, the benchmark {}",
            "processor seconds",
            part(self.postgres, earlier.postgres),
            part(self.rabbitmq, earlier.rabbitmq),
            part(self.programs, earlier.programs),
            part(self.bench, earlier.bench),
        )
    }
}
