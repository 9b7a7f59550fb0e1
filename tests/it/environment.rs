//! What the environment, the working folder and the arguments may hold: any bytes. Nothing of it is a panic,
//! and what was meant for us and is no text is told by its name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::Command;

/// The program in an empty folder, with nothing of ours in its environment.
fn command(folder: &tempfile::TempDir, args: &[&OsStr]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchshare"));
    command.args(args).current_dir(folder.path()).stdin(std::process::Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"BATCHSHARE")) {
        command.env_remove(name);
    }
    command
}

fn bytes(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// How it ended, and what it said on stderr. A panic is never right.
fn end(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked") && output.status.code() != Some(101), "{said}");
    (output.status.code(), said)
}

/// A command of each kind that ends by itself, with its exit code in an empty folder.
const COMMANDS: [(&[&str], i32); 8] = [
    (&["keygen"], 0),
    (&["topology"], 0),
    (&["migrate"], 0),
    (&["jobs", "list"], 2),
    (&["dead", "list"], 2),
    (&["import", "absent.jsonl"], 2),
    (&["share", "--as", "ana", "--all", "--user", "bruno"], 2),
    // The broker of one process: it ends before it listens.
    (&["serve"], 2),
];

fn os<'a>(args: &[&'a str]) -> Vec<&'a OsStr> {
    args.iter().map(|arg| OsStr::new(*arg)).collect()
}

#[test]
fn what_is_no_text_in_other_variables_is_not_looked_at() {
    for (args, code) in COMMANDS {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = command(&folder, &os(args));
        command.env("BAD", bytes(b"\xa3")).env(bytes(b"\xff\xfe"), "x").env("BATCHSHARE_X", bytes(b"\xa3"));
        command.env("LANG", bytes(b"\xa3")).env("HOME", bytes(b"/\xa3")).env("TERM", bytes(b"\xa3"));
        let (found, said) = end(&mut command);
        assert_eq!(found, Some(code), "{args:?}: {said}");
    }
}

#[test]
fn what_is_no_text_in_our_variables_is_told_by_name_and_not_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours: [(&[u8], &[u8], &str); 6] = [
        (b"BATCHSHARE__DATABASE__URL", b"sqlite://hunter2\xa3", "BATCHSHARE__DATABASE__URL"),
        (b"batchshare__vault__key_file", b"hunter2\xff", "batchshare__vault__key_file"),
        (b"BATCHSHARE__NO_SUCH", b"hunter2\x80", "BATCHSHARE__NO_SUCH"),
        (b"BATCHSHARE__\xa3", b"hunter2", r"BATCHSHARE__\xa3"),
        (b"RUST_LOG", b"hunter2\xa3", "RUST_LOG"),
        (b"TOKIO_WORKER_THREADS", b"hunter2\xa3", "TOKIO_WORKER_THREADS"),
    ];
    for (args, _) in COMMANDS {
        for (name, value, shown) in ours {
            let mut command = command(&folder, &os(args));
            let (code, said) = end(command.env(bytes(name), bytes(value)));
            assert_eq!(code, Some(2), "{args:?} {shown}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains(shown) && !said.contains("hunter2") && said.is_ascii(), "{said}");
        }
    }
}

#[test]
fn a_number_of_threads_that_is_none_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    for (value, code) in [("2", 0), ("0", 2), ("many", 2), ("-1", 2), ("", 2)] {
        let (found, said) = end(command(&folder, &os(&["keygen"])).env("TOKIO_WORKER_THREADS", value));
        assert_eq!(found, Some(code), "{value:?}: {said}");
    }
}

#[test]
fn a_folder_may_have_any_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let odd = folder.path().join(bytes(b"vault \xa3\xff"));
    std::fs::create_dir(&odd).expect("a folder");
    let here = |args: &[&OsStr]| end(command(&folder, args).current_dir(&odd));
    assert_eq!(here(&os(&["migrate"])).0, Some(0));
    assert!(odd.join("batchshare.db").exists());
    assert_eq!(here(&os(&["jobs", "list"])).0, Some(0));
    // A file of such a name, and a folder that is no file, as settings and as an import.
    let name = bytes(b"people\xa3.jsonl");
    let line = r#"{"type":"user","id":1,"username":"ana","name":"Ana","email":"ana@example.com"}"#;
    std::fs::write(odd.join(&name), line).expect("write");
    assert_eq!(here(&[OsStr::new("import"), &name]).0, Some(0));
    std::fs::write(odd.join(bytes(b"s\xa3.toml")), "[log]\nformat = \"json\"\n").expect("write");
    assert_eq!(here(&[OsStr::new("--config"), &bytes(b"s\xa3.toml"), OsStr::new("keygen")]).0, Some(0));
    assert_eq!(here(&[OsStr::new("--config"), &bytes(b"\xa3.toml"), OsStr::new("keygen")]).0, Some(2));
}

#[test]
fn an_argument_that_is_no_text_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = bytes(b"x\xa3");
    let odd_option = bytes(b"--us\xa3r");
    let families: [&[&OsStr]; 8] = [
        &[&bad],
        &[OsStr::new("jobs"), &bad],
        &[OsStr::new("jobs"), OsStr::new("show"), &bad],
        &[OsStr::new("jobs"), OsStr::new("list"), OsStr::new("--user"), &bad],
        &[OsStr::new("dead"), OsStr::new("replay"), &bad],
        &[
            OsStr::new("share"),
            OsStr::new("--as"),
            &bad,
            OsStr::new("--all"),
            OsStr::new("--user"),
            OsStr::new("b"),
        ],
        &[
            OsStr::new("share"),
            OsStr::new("--as"),
            OsStr::new("a"),
            OsStr::new("--all"),
            OsStr::new("--user"),
            &bad,
        ],
        &[OsStr::new("share"), &odd_option, OsStr::new("a")],
    ];
    for args in families {
        let (code, said) = end(&mut command(&folder, args));
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(!said.is_empty(), "{args:?}");
    }
}
