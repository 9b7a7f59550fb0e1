//! The access log: who asked for what, and a trace of the sign-ins that were refused.

use super::{half, is_closed};
use crate::process::{Program, until};

#[test]
fn requests_and_refused_sign_ins_leave_lines_and_probes_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = "0123456789abcdef0123456789abcdef";
    let file = crate::process::file(&folder, "secret", secret);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).expect("chmod");
    let mut env = crate::embedded::settings(&folder);
    env.push(("BATCHSHARE__AUTH__MODE", "proxy".to_owned()));
    env.push(("BATCHSHARE__AUTH__PROXY__SECRET_FILE", file.display().to_string()));
    env.push(("BATCHSHARE__AUTH__PROXY__FORWARDED_FOR", "true".to_owned()));
    let mut program = Program::start(&["up"], &env);
    let address = program.address();
    let ask = |path: &str, secret: &str, forwarded: &str, id: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-User: nobody\r\n\
             X-Batchshare-Proxy-Secret: {secret}\r\nX-Forwarded-For: {forwarded}\r\nX-Request-Id: {id}\r\nConnection: close\r\n\r\n"
        );
        assert!(is_closed(&mut half(&address, &request)));
    };
    for _ in 0..5 {
        ask("/api/v1/secrets?search=tops3cret", secret, "192.0.2.66, 203.0.113.7", "id-1");
        ask("/api/v1/secrets", "wrong", "203.0.113.8", "id-2");
        ask("/healthz", secret, "203.0.113.9", "id-3");
        ask("/api/v1/me", secret, "192.0.2.67", "not \"an\" id");
    }
    until("fifteen lines", 20, || (program.log().matches("status=401").count() == 15).then_some(()));
    assert_eq!(program.stop(), 0);
    let log = program.log();
    assert_eq!(log.matches("a sign-in was refused").count(), 3, "{log}");
    assert_eq!(log.matches("client=203.0.113.7").count(), 5, "{log}");
    // A refusal carries the id of the request that was refused first.
    let lines = |one: &str, other: &str| {
        log.lines().filter(|line| line.contains(one) && line.contains(other)).count()
    };
    for id in ["id-1", "id-2"] {
        assert_eq!(lines("status=401", &format!("request_id=\"{id}\"")), 5, "{log}");
    }
    assert_eq!(lines("a sign-in was refused", "request_id=\"id-2\""), 1, "{log}");
    assert_eq!(lines("status=401", "request_id="), 15, "{log}");
    assert!(log.contains("path=\"/api/v1/secrets\"") || log.contains("path=/api/v1/secrets"), "{log}");
    for never in
        ["192.0.2.66", "203.0.113.8", "203.0.113.9", "healthz", "tops3cret", secret, "nobody", "an\\\" id"]
    {
        assert!(!log.contains(never), "{never}: {log}");
    }
}
