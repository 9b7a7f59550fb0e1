//! A panic is a line of the log, and the only thing that is said of it. The hook is the process's, so that it
//! is tried in a process of its own: this test program, started once more.

use std::process::Command;

use batchshare::config::{LogFormat, Settings};
use serde_json::Value;

const CHILD: &str = "BATCHSHARE_TEST_PANIC_FORMAT";

/// Does nothing unless it is the process that the test below starts.
#[tokio::test]
async fn panics_where_it_is_told_to() {
    let Some(format) = std::env::var_os(CHILD) else { return };
    let mut log = Settings::load_with(None, Default::default()).expect("the defaults").log;
    log.format = if format == "json" { LogFormat::Json } else { LogFormat::Text };
    batchshare::telemetry::logs::init(&log).expect("logs");
    let many = "é".repeat(2_000);
    tokio::spawn(async move { panic!("on purpose\n\u{1b}[31m{many}") }).await.expect_err("it panics");
    let named = std::thread::Builder::new().name("by name".to_owned());
    named.spawn(|| panic!("again")).expect("a thread").join().expect_err("it panics");
}

#[test]
fn a_panic_is_one_line_of_the_log_and_nothing_else() {
    for format in ["json", "text"] {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "panics::panics_where_it_is_told_to", "--nocapture", "--test-threads=1"])
            .env(CHILD, format)
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .output()
            .expect("it runs");
        let log = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success(), "{log}");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert!(lines.iter().all(|line| line.len() < 2_000 && !line.contains('\u{1b}')), "{log}");
        if format == "json" {
            let lines: Vec<Value> =
                lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            for line in &lines {
                assert_eq!(line["level"], "ERROR", "{line}");
                assert!(line["location"].as_str().is_some_and(|at| at.contains("panics.rs:")), "{line}");
            }
            assert!(
                lines[0]["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.starts_with(r"on purpose\n\u{1b}[31m"))
            );
            assert_eq!((&lines[1]["thread"], &lines[1]["reason"]), (&"by name".into(), &"again".into()));
        } else {
            assert!(lines[1].contains("ERROR") && lines[1].contains("again"), "{log}");
        }
    }
}
