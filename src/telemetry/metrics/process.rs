//! What the system says about this process, under the names that Prometheus's own client libraries use.
//!
//! It is read from `/proc/self` at each scrape: five small files, and a folder with an entry for each open file. What
//! cannot be read (on another system than Linux) is left out.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::telemetry::metrics::Text;

/// `/proc` counts processor time in so many ticks a second: this is USER_HZ, which is the same for all programs on
/// Linux.
const TICKS: f64 = 100.0;

/// When this process was first asked for the start of its metrics.
static STARTED: OnceLock<f64> = OnceLock::new();

/// Remembers when the process started. The first call decides.
pub(super) fn started() -> f64 {
    *STARTED.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}

/// Writes which program this is, and what it uses of the machine.
pub fn write_process(text: &mut Text) {
    let name = "batchshare_build_info";
    text.family(name, "gauge", "Always 1; the labels say which build this is.");
    let tls = if cfg!(feature = "tls") { "yes" } else { "no" };
    text.sample(name, &[("version", env!("CARGO_PKG_VERSION")), ("tls", tls)], 1);
    text.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        format!("{:.3}", started()),
    );
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    if let Some(seconds) = cpu_seconds(&read("stat")) {
        let name = "process_cpu_seconds_total";
        text.family(name, "counter", "Processor time, of user and system together.");
        text.sample(name, &[], seconds);
    }
    let status = read("status");
    if let Some(bytes) = kib(&status, "VmRSS:") {
        text.gauge("process_resident_memory_bytes", "Memory that is in use.", bytes);
    }
    if let Some(bytes) = kib(&status, "VmSize:") {
        text.gauge("process_virtual_memory_bytes", "Memory that is mapped.", bytes);
    }
    if let Some(threads) = field(&status, "Threads:") {
        text.gauge("process_threads", "Threads.", threads);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // The folder itself is open while it is read, so it is not counted.
        text.gauge("process_open_fds", "Open files and sockets.", files.count().saturating_sub(1));
    }
    if let Some(most) = max_files(&read("limits")) {
        text.gauge("process_max_fds", "Files and sockets that it may have open.", most);
    }
}

/// User and system time in `/proc/self/stat`, in seconds. The second field is the name of the program in parentheses,
/// which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok().map(f64::from);
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kib(status: &str, name: &str) -> Option<u64> {
    field(status, name).map(|kib| kib.saturating_mul(1024))
}

/// The soft limit; `None` if there is no limit.
fn max_files(limits: &str) -> Option<u64> {
    field(limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds(""), None);
        let status = "Name:\tx\nVmSize:\t  20 kB\nVmRSS:\t  10 kB\nThreads:\t3\n";
        assert_eq!(kib(status, "VmRSS:"), Some(10_240));
        assert_eq!(field(status, "Threads:"), Some(3));
        let limits =
            "Max processes             7  7  processes\nMax open files            1024  524288  files\n";
        assert_eq!(max_files(limits), Some(1_024));
        assert_eq!(max_files("Max open files            unlimited  unlimited  files\n"), None);
    }

    #[test]
    fn this_process_is_told() {
        let mut text = Text::default();
        write_process(&mut text);
        let text = text.finish();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} in\n{text}");
        }
        assert!(text.contains(&format!("batchshare_build_info{{version=\"{}\"", env!("CARGO_PKG_VERSION"))));
    }
}
