//! A PostgreSQL that speaks German: what it refuses for good ends the program, and what passes is waited for, by the code
//! of its answer.

use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use diesel::Connection as _;

use crate::chaos::servers::signal;
use crate::process::{Program, run, until};
use crate::startup::{Site, ends};
use crate::support::admin_sql;

/// A private PostgreSQL whose texts are German from its start.
struct German {
    data: PathBuf,
    port: u16,
    password: String,
    postgres: Child,
}

impl German {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(root.join("dev")).arg("_prepare").output().expect("./dev _prepare");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        let (data, port) = (PathBuf::from(lines[0]), lines[1].parse().expect("a port"));
        let postgres = spawn(&data, &[]);
        let german = Self { data, port, password: lines[4].to_owned(), postgres };
        until("PostgreSQL answers", 60, || diesel::PgConnection::establish(&german.admin()).ok());
        german
    }

    fn url(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    fn admin(&self) -> String {
        self.url("batchshare", &self.password, "postgres")
    }

    fn sql(&self, sql: &str) {
        admin_sql(&self.admin(), sql);
    }

    /// Roles and databases, and who may log in from where.
    fn furnish(&self) {
        for sql in [
            "CREATE ROLE limited LOGIN PASSWORD 'l1mited-password'",
            "CREATE ROLE idle PASSWORD 'l1mited-password'",
            "CREATE DATABASE vault OWNER limited",
            "CREATE DATABASE closed",
            "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
        ] {
            self.sql(sql);
        }
        let lines = "host all batchshare,limited,idle,nobody all scram-sha-256\n\
                     host all anybody all trust\nhost all unwanted all reject\n";
        std::fs::write(self.data.join("pg/data/pg_hba.conf"), lines).expect("pg_hba.conf");
        self.sql("SELECT pg_reload_conf()");
        until("the new lines", 20, || {
            self.says(&self.url("anybody", "x", "vault")).contains("»anybody«").then_some(())
        });
    }

    /// What it says where it refuses.
    fn says(&self, url: &str) -> String {
        diesel::PgConnection::establish(url).err().expect("a refusal").to_string()
    }

    /// Stops it, and starts it again with further settings.
    fn restart(&mut self, settings: &[&str]) {
        signal("INT", &[i64::from(self.postgres.id())]);
        until("PostgreSQL stops", 60, || self.postgres.try_wait().expect("a child"));
        self.postgres = spawn(&self.data, settings);
    }
}

impl Drop for German {
    fn drop(&mut self) {
        // At once, and with its children.
        signal("QUIT", &[i64::from(self.postgres.id())]);
        let _ = self.postgres.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn spawn(data: &Path, settings: &[&str]) -> Child {
    let log =
        std::fs::File::options().create(true).append(true).open(data.join("german.log")).expect("a log");
    Command::new(data.join("german"))
        .args(settings)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("the server's script")
}

/// A socket in a folder that leads to a port.
fn socket(folder: &Path, port: u16) {
    let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("a socket");
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = std::net::TcpStream::connect(("127.0.0.1", port)).expect("PostgreSQL");
            let (mut from_near, mut to_far) =
                (near.try_clone().expect("a copy"), far.try_clone().expect("a copy"));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_near, &mut to_far);
                let _ = to_far.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || {
                let (mut from_far, mut to_near) = (far, near);
                let _ = std::io::copy(&mut from_far, &mut to_near);
                let _ = to_near.shutdown(std::net::Shutdown::Write);
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_work_ends_the_program_in_any_language() {
    let site = Site::new().await;
    tokio::task::block_in_place(|| {
        let german = German::start();
        german.furnish();
        let (admin, folder) = (german.password.clone(), tempfile::tempdir().expect("a folder"));
        socket(folder.path(), german.port);
        let of_admin = |database: &str| german.url("batchshare", &admin, database);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let closed = taken.local_addr().expect("an address").port();
        drop(taken);
        for (what, url, code, word) in [
            ("a database that is not there", of_admin("nowhere"), "3D000", "no such database"),
            ("a wrong password", german.url("limited", "wr0ng-password", "vault"), "28P01", "password"),
            ("an unknown role", german.url("nobody", "wr0ng-password", "vault"), "28P01", "user"),
            ("an unknown role that is trusted", german.url("anybody", "wr0ng-x", "vault"), "28000", "role"),
            (
                "a role that is turned away",
                german.url("unwanted", "wr0ng-x", "vault"),
                "28000",
                "pg_hba.conf",
            ),
            ("a role without a line", german.url("stranger", "wr0ng-x", "vault"), "28000", "pg_hba.conf"),
            (
                "a role that may not log in",
                german.url("idle", "l1mited-password", "vault"),
                "28000",
                "log in",
            ),
            (
                "a database for others",
                german.url("limited", "l1mited-password", "closed"),
                "42501",
                "may not connect",
            ),
            (
                "a setting that is none",
                format!("{}?options=-c%20no_such_setting%3D1", of_admin("vault")),
                "42704",
                "URL",
            ),
            (
                "the second of two servers",
                format!("postgres://batchshare:{admin}@127.0.0.1:{closed},127.0.0.1:{}/nowhere", german.port),
                "3D000",
                "no such database",
            ),
            (
                "a socket",
                format!("postgres://batchshare:{admin}@/nowhere?host={}", folder.path().display()),
                "3D000",
                "no such database",
            ),
        ] {
            let text = german.says(&url);
            for english in ["does not exist", "authentication failed", "no pg_hba.conf entry", "permission"] {
                assert!(!text.contains(english), "{what}: no German (postgres-*.mo is missing?): {text}");
            }
            let env = site.with("BATCHSHARE__DATABASE__URL", &url);
            for role in ["migrate", "serve", "work"] {
                let words = [&format!("SQLSTATE {code}"), word, "refuses the connection"];
                let never = [admin.as_str(), "wr0ng", "l1mited"];
                assert_eq!(ends(&[role], &env, &words, &never), 1, "{what}: {role}");
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_waited_for_in_any_language() {
    let site = Site::new().await;
    tokio::task::block_in_place(|| {
        let mut german = German::start();
        german.furnish();
        let url = german.url("limited", "l1mited-password", "vault");
        let mut env = site.with("BATCHSHARE__DATABASE__URL", &url);
        env.push(("BATCHSHARE__WORKER__LISTEN", "127.0.0.1:0".to_owned()));
        let (code, _, err) = run(&["migrate"], &env);
        assert_eq!(code, 0, "{err}");
        let standby = german.data.join("pg/data/standby.signal");
        for code in ["53300", "57P03"] {
            let is_full = code == "53300";
            if is_full {
                german.sql("ALTER ROLE limited CONNECTION LIMIT 0");
            } else {
                std::fs::write(&standby, "").expect("standby.signal");
                german.restart(&["-c", "hot_standby=off"]);
                until("it answers", 60, || german.says(&url).contains("FATAL:  ").then_some(()));
            }
            let text = german.says(&url);
            assert!(
                !["too many connections", "the database system"].iter().any(|of| text.contains(of)),
                "{text}"
            );
            let mut programs = ["serve", "work"].map(|role| Program::start(&[role], &env));
            for program in &mut programs {
                program.logged(&format!("SQLSTATE {code}"), "");
            }
            // A command waits too, as long as a person would.
            let (exit, _, err) = run(&["migrate"], &env);
            assert!(exit == 6 && err.contains(code) && err.contains("gave up"), "{exit}: {err}");
            if is_full {
                german.sql("ALTER ROLE limited CONNECTION LIMIT -1");
            } else {
                std::fs::remove_file(&standby).expect("standby.signal");
                german.restart(&[]);
            }
            let [serve, work] = &mut programs;
            serve.address();
            work.logged("the worker's health is told", "");
            for program in &mut programs {
                assert_eq!(program.stop(), 0, "{}", program.log());
                assert!(!program.log().contains("l1mited"), "{}", program.log());
            }
        }
    });
}
