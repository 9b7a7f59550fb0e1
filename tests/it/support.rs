//! Databases and prefixes of a test's own, on real servers.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use batchshare::config::Settings;
use batchshare::db;
use batchshare::db::{Clock, Conn, Db, DbError, Target};
use diesel::Connection as _;
use diesel::connection::SimpleConnection;
use tokio::sync::OnceCell;

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// Makes each test twice: `name::on_sqlite` and `name::on_postgres`.
/// The body is an `async fn(Kind)`.
#[macro_export]
macro_rules! on_both_stores {
    ($($(#[$meta:meta])* async fn $name:ident($kind:ident: Kind) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            async fn test($kind: $crate::support::Kind) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                test($crate::support::Kind::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                test($crate::support::Kind::Postgres).await;
            }
        }
    )+};
}

/// A migrated database of the test's own; gone with the value.
pub struct TestDb {
    pub db: Db,
    pub url: String,
    postgres: Option<String>,
    _folder: tempfile::TempDir,
}

/// The private servers that `./dev test` started.
pub fn server(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run ./dev test, or ./dev services -- cargo test"))
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A name that no other test of this or another run has.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Default settings on the given database, with nothing of the process's environment.
pub fn settings(url: &str) -> Settings {
    let environment = [("BATCHSHARE__DATABASE__URL".to_owned(), url.to_owned())].into();
    Settings::load_with(None, environment).expect("default settings")
}

impl TestDb {
    pub async fn new(kind: Kind) -> Self {
        Self::with_settings(kind, |_| {}).await
    }

    pub async fn with_settings(kind: Kind, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (url, postgres) = match kind {
            Kind::Sqlite => {
                let file = folder.path().join("test.db");
                write_private(&file, SQLITE_TEMPLATE.get_or_init(sqlite_template).await);
                (format!("sqlite://{}", file.display()), None)
            }
            Kind::Postgres => {
                let template = POSTGRES_TEMPLATE.get_or_init(postgres_template).await;
                let name = unique("bs");
                admin(format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
                (with_database(&server("BATCHSHARE_TEST_PG_URL"), &name), Some(name))
            }
        };
        let db = migrated(&url, change).await;
        Self { db, url, postgres, _folder: folder }
    }

    /// Runs statements as they are.
    pub async fn sql(&self, sql: &str) {
        let sql = sql.to_owned();
        self.db.write(move |conn| Ok(conn.batch_execute(&sql)?)).await.expect("sql");
    }

    /// One number from the database.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = sql.to_owned();
        self.db.read(move |conn| number(conn, &sql)).await.expect("sql")
    }

    /// The texts that a query has as its column `t`.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        use diesel::prelude::*;
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            t: String,
        }
        let sql = sql.to_owned();
        let rows: Vec<Row> =
            self.db.read(move |conn| Ok(diesel::sql_query(sql).load(conn)?)).await.expect("sql");
        rows.into_iter().map(|row| row.t).collect()
    }
}

/// A pool on a database that has every migration: a new one gets them, a copy of a template has them.
async fn migrated(url: &str, change: impl FnOnce(&mut Settings)) -> Db {
    // The embedded broker needs SQLite: settings are loaded for it and then pointed elsewhere.
    let mut settings = settings("sqlite://unused.db");
    url.clone_into(&mut settings.database.url);
    settings.database.pool_size = 4;
    change(&mut settings);
    let db = Db::new(Target::parse(url).expect("url"), settings.db_options(), Clock::default());
    db::apply_migrations(&db).await.expect("migrations");
    db
}

/// The file of a migrated SQLite database. Migrations are run once for all tests of a process: each begins with a copy.
static SQLITE_TEMPLATE: OnceCell<Vec<u8>> = OnceCell::const_new();

async fn sqlite_template() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let made = migrated(&format!("sqlite://{}", folder.path().join("made.db").display()), |_| ()).await;
    // The file of a pool that is open may lack what stands in its -wal.
    let copy = folder.path().join("template.db");
    db::backup::copy_to(&made, &copy).await.expect("a copy");
    // As a pool leaves a file, and not as a backup is written: whoever opens it first need not change its mode.
    let mut conn = diesel::SqliteConnection::establish(&copy.display().to_string()).expect("a connection");
    conn.batch_execute("PRAGMA journal_mode = WAL").expect("its mode");
    drop(conn);
    std::fs::read(&copy).expect("a file")
}

/// The program opens no database that others may read.
fn write_private(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    file.write_all(bytes).expect("written");
}

/// The name of a migrated PostgreSQL database. It is gone with the private server.
static POSTGRES_TEMPLATE: OnceCell<String> = OnceCell::const_new();

async fn postgres_template() -> String {
    let name = unique("bs_template");
    admin(format!("CREATE DATABASE {name}")).await;
    drop(migrated(&with_database(&server("BATCHSHARE_TEST_PG_URL"), &name), |_| ()).await);
    // A database that somebody is connected to cannot be copied, and the pool may still be closing.
    admin(format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"))
        .await;
    name
}

async fn admin(sql: String) {
    let run = move || admin_sql(&server("BATCHSHARE_TEST_PG_URL"), &sql);
    tokio::task::spawn_blocking(run).await.expect("admin statement");
}

fn number(conn: &mut Conn, sql: &str) -> Result<i64, DbError> {
    use diesel::prelude::*;
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let sql = format!("SELECT CAST(({sql}) AS BIGINT) AS n");
    Ok(diesel::sql_query(sql).get_result::<Row>(conn)?.n)
}

/// Runs statements on the private server as its superuser.
pub fn admin_sql(url: &str, sql: &str) {
    let mut conn = diesel::PgConnection::establish(url).expect("the private PostgreSQL answers");
    conn.batch_execute(sql).expect("admin statement");
}

pub fn with_database(url: &str, name: &str) -> String {
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}")
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if let Some(name) = self.postgres.take() {
            let admin = server("BATCHSHARE_TEST_PG_URL");
            // Whoever still runs loses its connection: the test is over.
            let _ =
                std::thread::spawn(move || admin_sql(&admin, &format!("DROP DATABASE {name} WITH (FORCE)")))
                    .join();
        }
    }
}

/// Waits until a condition holds, or fails the test after `seconds`.
pub async fn eventually<F, T>(what: &str, seconds: u64, mut condition: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
