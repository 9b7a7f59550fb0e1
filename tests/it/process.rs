//! The real program as processes: started, asked over HTTP, killed, started again.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running `batchshare`. Killed with the value.
pub struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// The settings of a process, on top of the defaults.
pub type Env = Vec<(&'static str, String)>;

/// The program that is tested: the one that was built with the tests, or another build of it.
pub fn program() -> Command {
    let path = std::env::var_os("BATCHSHARE_TEST_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_batchshare").into());
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BATCHSHARE")) {
        command.env_remove(name);
    }
    command
}

impl Program {
    /// Starts `batchshare ARGS` with these settings and nothing else of ours in its environment.
    pub fn start(args: &[&str], env: &Env) -> Self {
        let mut command = program();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.envs(env.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn().expect("the program starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, kept) = (child.stderr.take().expect("stderr"), Arc::clone(&lines));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                kept.lock().expect("lines").push(line);
            }
        });
        Self { child, lines, reader: Some(reader) }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.lines.lock().expect("lines").join("\n")
    }

    /// Where its gateway listens, once it does.
    pub fn address(&mut self) -> String {
        self.logged("the gateway listens", "listen=")
    }

    /// What stands behind `key` in the first line that has `text`, once there is one.
    pub fn logged(&mut self, text: &str, key: &str) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let found = self.lines.lock().expect("lines").iter().find(|line| line.contains(text)).cloned();
            if let Some(line) = found {
                let rest = line.split_once(key).map_or("", |(_, rest)| rest);
                return rest.split_whitespace().next().unwrap_or_default().to_owned();
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < end, "no '{text}' in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i64 {
        self.child.id().into()
    }

    /// Its resident memory in KiB: now (`VmRSS`) or at its peak (`VmHWM`).
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number")
    }

    /// SIGKILL: nothing is finished, nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        self.read_to_the_end();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill").success());
    }

    /// Its exit code, within 30 seconds.
    pub fn wait(&mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                self.read_to_the_end();
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the last lines of a process that has ended: on a busy machine they are still in the
    /// pipe when its exit code is there already. They end with the pipe, which nobody else holds.
    fn read_to_the_end(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("its output is read");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("--- log of process {}\n{}", self.child.id(), &log[log.len().saturating_sub(20_000)..]);
        }
    }
}

/// Runs `batchshare ARGS` to its end: exit code, stdout, stderr.
pub fn run(args: &[&str], env: &Env) -> (i32, String, String) {
    let mut command = program();
    command.args(args).envs(env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let output = command.output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A request as a person; the status and the JSON of the answer.
pub fn http(method: &str, address: &str, path: &str, person: &str, body: Option<&Value>) -> (u16, Value) {
    try_http(method, address, path, person, body, None).expect("an answer")
}

/// The same, perhaps with an Idempotency-Key; `None` where nobody answers.
pub fn try_http(
    method: &str,
    address: &str,
    path: &str,
    person: &str,
    body: Option<&Value>,
    key: Option<&str>,
) -> Option<(u16, Value)> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build(),
    );
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("X-Batchshare-User", person)
        .header("Content-Type", "application/json");
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let request = request.body(body.map(ToString::to_string).unwrap_or_default()).expect("a request");
    let mut answer = agent.run(request).ok()?;
    let text = answer.body_mut().read_to_string().ok()?;
    Some((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// Waits, without async, until a condition holds.
pub fn until<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A file of a test's own.
pub fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("write a file");
    path
}
