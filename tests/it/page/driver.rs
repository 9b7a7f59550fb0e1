//! The one chromedriver of a test run. It lives as long as the test process and no longer.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::process::until;

/// A chromedriver and, in its process group, every Chromium that it started.
///
/// A static is never dropped, and a test process may be killed: so the shell that runs chromedriver
/// reads a pipe of which only this process holds the other end. When it closes, however that comes,
/// the shell kills the group and removes the folder.
pub struct Driver {
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    /// Where the profiles go, and whatever else Chromium writes.
    pub folder: PathBuf,
    watch: Child,
}

const WATCH: &str = r#"
setsid chromedriver --port=0 </dev/null >"$1/chromedriver.log" 2>&1 &
cat >/dev/null
kill -s KILL -- "-$!"
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"#;

static DRIVER: OnceLock<Driver> = OnceLock::new();

impl Driver {
    /// The driver of this test run; the first caller starts it.
    pub fn get() -> &'static Self {
        DRIVER.get_or_init(Self::start)
    }

    /// A driver of its own.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("page-").tempdir().expect("a folder").keep();
        let mut command = Command::new("sh");
        command.args(["-c", WATCH, "sh"]).arg(&folder);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Chromium writes to none but this folder.
        for name in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env(name, &folder);
        }
        // A group of its own: Ctrl-C ends the tests, and then the pipe ends this.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let watch = command.spawn().expect("a shell");
        let log = folder.join("chromedriver.log");
        let port = until("chromedriver starts (./dev test installs it)", 30, || port(&log));
        Self { address: format!("http://127.0.0.1:{port}"), folder, watch }
    }

    /// What the end of the process does: the pipe is closed. Returns when the shell has ended.
    pub fn end(mut self) {
        drop(self.watch.stdin.take());
        self.watch.wait().expect("the shell ends");
    }
}

/// The port that chromedriver chose, once its log has it.
fn port(log: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(log).ok()?;
    assert!(!text.contains("not found"), "there is no chromedriver (./dev test installs it): {text}");
    let (_, rest) = text.split_once("started successfully on port ")?;
    rest.split_once('.')?.0.parse().ok()
}
