//! Reads of very many secrets: "select all" by somebody who asks and does not read, and searches that take long.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use serde_json::{Value, json};

use super::others::Gateway;
use super::person::{half, head};
use crate::fixtures::Fixture;
use crate::gateway::app::App;
use crate::on_both_stores;
use crate::support::{Kind, TestDb, admin_sql, eventually};

/// More than one part of what the gateway reads at once.
const MANY: i64 = 501_000;
const FIRST: i64 = 10_000_001;

/// Every third is disabled. On SQLite a tab says that the text is folded by today's rule: nobody has to fold these rows in
/// the program's own memory while it is looked at.
fn many_secrets(kind: Kind) -> String {
    let folded = if kind == Kind::Sqlite { "\t" } else { "" };
    format!(
        "INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, updated_at) \
         WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY} - 1) \
         SELECT {FIRST} + n, (SELECT id FROM principals WHERE username = 'ana'), 'Many', 'https://many.example', 'c', \
         'GET', '', n % 3 = 0, 'many{folded}', 0 FROM numbers"
    )
}

fn sql(kind: Kind, url: &str, sql: &str) {
    match kind {
        Kind::Postgres => admin_sql(url, sql),
        Kind::Sqlite => {
            let path = url.trim_start_matches("sqlite://");
            let mut connection = diesel::SqliteConnection::establish(path).expect("the file");
            connection.batch_execute(&format!("PRAGMA busy_timeout = 20000; {sql}")).expect("a statement");
        }
    }
}

fn ask(address: &str) -> TcpStream {
    let stream = half(address, &format!("{}\r\n", head(address, "GET", "/api/v1/secrets/ids", "ana")));
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
    stream
}

/// Asks, and reads no more than the beginning.
fn ask_and_wait(address: &str) -> TcpStream {
    let mut stream = ask(address);
    let mut beginning = [0; 12];
    stream.read_exact(&mut beginning).expect("an answer begins");
    assert_eq!(&beginning, b"HTTP/1.1 200");
    stream
}

/// The body in chunks, as far as it came: its text, and whether its end came, too.
fn rest(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    // The connection stays open behind a whole answer.
    while !all.ends_with(b"\r\n0\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("it neither goes on nor ends: {error}"),
        }
    }
    let mut chunks = &all[all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4..];
    let mut text = Vec::new();
    while let Some(line) = chunks.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&chunks[..line]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return (text, true);
        }
        let Some(chunk) = chunks.get(line + 2..line + 2 + size) else { break };
        text.extend_from_slice(chunk);
        chunks = chunks.get(line + 2 + size + 2..).unwrap_or_default();
    }
    (text, false)
}

fn whole(address: &str) -> Vec<Value> {
    let (text, ended) = rest(&mut ask(address));
    assert!(ended, "it was cut off");
    serde_json::from_slice(&text).expect("an array")
}

fn connections_in_use(address: &str) -> Option<u32> {
    let mut stream =
        half(address, &format!("{}Connection: close\r\n\r\n", head(address, "GET", "/metrics", "ana")));
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("metrics");
    let line =
        text.lines().find(|line| line.starts_with("batchshare_database_connections{state=\"in_use\"}"));
    line.expect("a line").split_whitespace().last().expect("a number").parse().ok()
}

on_both_stores! {
    async fn whoever_reads_select_all_slowly_holds_no_connection_and_little_memory(kind: Kind) {
        // The machine may be slow, and it is not what is looked at here.
        let mut patient = vec![
            ("BATCHSHARE__GATEWAY__WRITE_TIMEOUT_MS", "120000".to_owned()),
            ("BATCHSHARE__DATABASE__READ_TIMEOUT_MS", "30000".to_owned()),
        ];
        // One of SQLite's readers and no more: each has a cache of its own, which is in the program's memory.
        let (readers, at_once) = if kind == Kind::Sqlite { ("1", 1) } else { ("8", 2) };
        patient.push(("BATCHSHARE__DATABASE__POOL_SIZE", readers.to_owned()));
        let gateway = Gateway::start(kind, patient).await;
        let (address, url) = (gateway.address.clone(), gateway.url.clone());
        let few = whole(&address);
        sql(kind, &url, &many_secrets(kind));
        if kind == Kind::Postgres {
            sql(kind, &url, "ANALYZE secrets");
        }
        // What reading them costs anyway, and what it leaves, is not the slow reader's.
        let read = || {
            let address = address.clone();
            std::thread::spawn(move || whole(&address))
        };
        // As many as one person may have at a time.
        let together: Vec<_> = (0..at_once).map(|_| read()).collect();
        let added = (0..MANY).map(|n| {
            let reason = (n % 3 == 0).then_some("disabled");
            json!({"id": FIRST + n, "shareable": reason.is_none(), "reason": reason})
        });
        let expected: Vec<Value> = few.into_iter().chain(added).collect();
        for all in together {
            assert!(all.join().expect("an answer") == expected, "each once, in order");
        }
        let before = gateway.program.memory_kib("VmRSS:");
        let mut slow: Vec<TcpStream> = (0..at_once).map(|_| ask_and_wait(&address)).collect();
        eventually("no connection is in use", 60, async || {
            (connections_in_use(&address) == Some(0)).then_some(())
        })
        .await;
        let grown = gateway.program.memory_kib("VmRSS:").saturating_sub(before);
        // SQLite's writer has a cache of its own as well, of 16 MiB, which fills while work in the background looks at
        // the new rows: only on PostgreSQL is all that grows the answers'.
        let cache = if kind == Kind::Sqlite { 16 * 1024 } else { 0 };
        assert!(grown < 4 * 1024 + cache, "{grown} KiB more");
        // An error in the middle cuts the answer off, so that nobody takes a part for all.
        sql(kind, &url, "ALTER TABLE secrets RENAME TO secrets_away");
        for stream in &mut slow {
            let (text, ended) = rest(stream);
            assert!(!ended && serde_json::from_slice::<Value>(&text).is_err(), "it ends as if it were whole");
            assert!(text.starts_with(b"[{\"id\":"));
        }
        sql(kind, &url, "ALTER TABLE secrets_away RENAME TO secrets");
        assert_eq!(whole(&address).len(), expected.len());
        gateway.stops();
    }
}

/// SQLite has no clock of its own: its statements look at ours, row by row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_reads_on_sqlite_end_in_time() {
    let test = TestDb::with_settings(Kind::Sqlite, |settings| settings.database.read_timeout_ms = 50).await;
    Fixture::new().user(1, "ana").user(2, "bruno").secret(1, 2, "Stripe").load(&test).await;
    // As many words as a search may have.
    let letters: Vec<String> = ('a'..='p').map(String::from).collect();
    let search = letters.join("+");
    test.sql(&format!(
        "INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, updated_at) \
         WITH RECURSIVE numbers(n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000) \
         SELECT n, 1, 'Many', 'https://many.example', 'c', 'GET', '', 0, '{}' || char(9), 0 FROM numbers",
        letters.join(" ").repeat(4),
    ))
    .await;
    let store = batchshare::store::Store::new(test.db.clone());
    let app = App::serve(test, store, |_| {}).await;
    for path in ["/secrets", "/secrets/ids", "/secrets/tags"] {
        let refused = app.get("ana", &format!("{path}?search={search}")).await;
        refused.problem(503);
        assert_ne!(refused.header("retry-after"), "", "{path}");
    }
    // So does a request for all of them: SQLite has one writer, and everybody else would wait for this search.
    let all = json!({"all": {"search": search.replace('+', " ")}});
    for path in ["/share-jobs", "/unshare-jobs", "/unshare-jobs/preview"] {
        let body = json!({"secrets": all, "recipients": [{"kind": "user", "id": 2}]});
        let refused = app.request("POST", path).user("ana").json(body).send().await;
        refused.problem(503);
        assert_ne!(refused.header("retry-after"), "", "{path}");
    }
    assert_eq!(app.test.number("SELECT COUNT(*) FROM jobs").await, 0);
    // Nothing of it stays with a connection, and the limit is each statement's own.
    eventually("a quick search", 60, async || {
        let found = app.get("bruno", "/secrets?search=stripe").await;
        (found.status == 200 && found.ids() == [1]).then_some(())
    })
    .await;
}
