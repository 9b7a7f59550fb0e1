//! Runs the real program as processes, and reads from `/proc` what they use.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// The settings of a process that differ from the defaults.
pub type Env = Vec<(&'static str, String)>;

/// A running `batchshare`, which logs to a file in the default way. It is killed when this value is dropped, and when
/// the benchmark ends.
pub struct Program {
    child: Child,
    log: NamedTempFile,
}

/// The release build of the program, which cargo makes together with the benchmark.
pub const BUILT: &str = env!("CARGO_BIN_EXE_batchshare");

/// The copy of it that is measured, so that a build in the meantime does not change the program between two runs.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Copies the program into a folder that stays until all cases are done. Returns a description of that program.
pub fn keep(folder: &Path) -> Vec<(&'static str, String)> {
    let copy = folder.join("batchshare");
    std::fs::copy(BUILT, &copy).expect("a copy of the program");
    let digest = Sha256::digest(std::fs::read(&copy).expect("the program"));
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let modified = std::fs::metadata(BUILT).and_then(|built| built.modified()).expect("its time");
    let age = modified.elapsed().map_or(0, |age| age.as_secs());
    PROGRAM.set(copy).expect("once");
    vec![("program", format!("SHA-256 {digest}…, built {age} s before this run{}", built_elsewhere()))]
}

/// If two work trees share a target folder, cargo may take the build of one for that of the other, and neither its
/// list of sources nor the program itself shows which it is.
fn built_elsewhere() -> &'static str {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if !here.is_empty() && Path::new(BUILT).starts_with(&here) {
        ""
    } else {
        "; the target folder is not this work tree's own, so it may be built from another commit"
    }
}

/// What is started in place of it from now on.
static OTHER: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Starts this program from now on, or again that of this build.
pub fn use_other(program: Option<PathBuf>) {
    *OTHER.lock().expect("one thread") = program;
}

pub fn path() -> PathBuf {
    let other = OTHER.lock().expect("one thread").clone();
    other.unwrap_or_else(|| PROGRAM.get().expect("the program is copied first").clone())
}

fn command(program: &Path, args: &[&str], env: &Env) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BATCHSHARE")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").args(args).stdin(Stdio::null());
    command.envs(env.iter().map(|(name, value)| (name, value)));
    command
}

impl Program {
    /// Starts `batchshare ARGS`. It has to be called on the main thread, because the kernel kills the process when the
    /// thread ends.
    pub fn start(args: &[&str], env: &Env) -> Self {
        let program = path();
        let all = [&["--pdeathsig", "KILL", program.to_str().expect("UTF-8")], args].concat();
        Self::spawn(command(Path::new("setpriv"), &all, env))
    }

    /// Does the same without the helper in front, so that the start can be measured.
    pub fn start_bare(args: &[&str], env: &Env) -> Self {
        Self::spawn(command(&path(), args, env))
    }

    fn spawn(mut command: Command) -> Self {
        let log = NamedTempFile::new().expect("a file");
        let output = log.reopen().expect("the file");
        let child = command.stdout(Stdio::null()).stderr(output).spawn().expect("it starts");
        Self { child, log }
    }

    /// Waits for a line of the log that has `text`, and returns the value of `key` in it.
    pub fn logged(&mut self, text: &str, key: &str) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let log = self.log();
            // The last line is left out, since it may not be written completely yet.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.contains(text)) {
                let rest = line.split_once(key).map_or("", |(_, rest)| rest);
                return rest.split_whitespace().next().unwrap_or_default().to_owned();
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < end, "no '{text}' in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("its log")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The resident memory of the process in MiB, now (`VmRSS:`) or at its peak (`VmHWM:`).
    pub fn memory_mib(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        let kib: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
        kib / 1_024.0
    }

    /// Sends SIGTERM and waits until the process has ended.
    pub fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        self.child.wait().expect("wait");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("--- log of process {}\n{}", self.child.id(), &log[log.len().saturating_sub(5_000)..]);
        }
    }
}

/// Runs `batchshare ARGS` until it ends, and returns its stdout.
pub fn run(args: &[&str], env: &Env) -> String {
    let output = command(&path(), args, env).output().expect("the program runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The processor seconds that this process alone has used.
pub fn own_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: f64 =
        rest.split(' ').skip(11).take(2).map(|text| text.parse::<f64>().expect("a number")).sum();
    ticks / TICKS
}

/// The ticks of a second. A tick is 10 ms on every Linux that we know.
const TICKS: f64 = 100.0;

/// The processor seconds of a process and of all processes that it started, those that have ended included.
pub fn cpu_seconds(pid: u32) -> f64 {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut ticks: HashMap<u32, u64> = HashMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that has just ended is left out, since its parent counts it.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        // After the name come the state, the parent and others. The 12th to 15th fields are the times, and two of
        // these are those of children that have ended.
        children.entry(u32::try_from(number(1)).unwrap_or(0)).or_default().push(id);
        ticks.insert(id, (11..15).map(number).sum());
    }
    let (mut sum, mut open) = (0, vec![pid]);
    while let Some(next) = open.pop() {
        sum += ticks.get(&next).copied().unwrap_or(0);
        open.extend(children.get(&next).into_iter().flatten());
    }
    #[allow(clippy::cast_precision_loss)]
    let seconds = sum as f64 / TICKS;
    seconds
}
