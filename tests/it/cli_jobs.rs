//! The program as a person runs it, around jobs: exporting them, waiting for them, and what is shared.

use std::io::BufRead as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cli::Folder;

/// A folder where ana's job waits in the queue: nobody works.
fn with_a_job() -> (Folder, String) {
    let folder = Folder::with_people();
    let asked = [
        "share",
        "--as",
        "ana",
        "--secret",
        "101",
        "--user",
        "bruno",
        "--group",
        "Pagamentos:edit",
        "--no-wait",
    ];
    let id = folder.run(&asked).done().trim().to_owned();
    (folder, id)
}

#[test]
fn an_export_is_a_file_that_is_whole_or_not_there() {
    let (folder, id) = with_a_job();
    let ran = folder.run(&["jobs", "export", &id]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("has not ended: it is queued"), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stdout.split("\r\n").collect();
    assert!(lines[0].starts_with("\u{feff}secret_id,secret_name,"), "{}", ran.stdout);
    assert_eq!(
        lines[1..3],
        [
            "101,Stripe,user,2,Bruno Dias,view,not_reached,,nothing",
            "101,Stripe,user_group,12,Pagamentos,edit,not_reached,,nothing"
        ]
    );

    // The file replaces one that is there, and nothing else is left in the folder.
    folder.write("report.jsonl", "older");
    let before = std::fs::read_dir(folder.path()).expect("a folder").count();
    let ran = folder.run(&["jobs", "export", &id, "--format", "jsonl", "--output", "report.jsonl"]);
    assert!(ran.stderr.starts_with("2 lines in report.jsonl\n"), "{}", ran.stderr);
    assert_eq!(ran.done(), "");
    let text = std::fs::read_to_string(folder.path().join("report.jsonl")).expect("a file");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[0]["outcome"]), (2, &Value::from("not_reached")));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), before);

    let nobody = "00000000-0000-4000-8000-000000000000";
    assert!(folder.run(&["jobs", "export", nobody, "--output", "new.csv"]).refused(5).contains(nobody));
    assert!(!folder.path().join("new.csv").exists());
    std::fs::create_dir(folder.path().join("folder")).expect("a folder");
    assert!(folder.run(&["jobs", "export", &id, "--output", "folder"]).refused(2).contains("is no file"));
    folder.run(&["jobs", "export", &id, "--output", "absent/report.csv"]).refused(1);
    for wrong in
        [&["jobs", "export", "7"][..], &["jobs", "export", &id, "--format", "xlsx"], &["jobs", "export"]]
    {
        assert_eq!(folder.run(wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn whoever_presses_ctrl_c_is_told_that_the_job_goes_on() {
    let folder = Folder::with_people();
    let mut child = folder
        .command(&["share", "--as", "ana", "--secret", "101", "--user", "bruno"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // From this line on it takes the signal.
    let mut stderr = std::io::BufReader::new(child.stderr.take().expect("stderr"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    let id = line.trim().strip_prefix("job ").expect("the job's id").to_owned();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).expect("its words");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{rest}");
    for words in [format!("job {id} goes on"), format!("jobs watch {id}"), format!("jobs cancel {id}")] {
        assert!(rest.contains(&words), "{rest}");
    }
    assert!(folder.run(&["jobs", "show", &id]).done().contains("is queued"));
}

#[test]
fn all_that_match_are_shared_without_the_disabled_ones() {
    let folder = Folder::with_people();
    let secret = |id: i64, disabled: bool| {
        format!(
            r#"{{"type":"secret","id":{id},"owner":1,"name":"S{id}","url":"https://s.example","client_id":"ci","tags":["prod"],"disabled":{disabled}}}"#
        )
    };
    folder.write("secrets.jsonl", &[secret(201, false), secret(202, true), secret(203, true)].join("\n"));
    folder.run(&["import", "secrets.jsonl"]).done();
    for (what, kept) in [(&["--tag", "prod"][..], 1), (&["--search", "s20"], 1), (&["--all"], 2)] {
        let arguments = [&["share", "--as", "ana", "--user", "bruno", "--no-wait"][..], what].concat();
        let ran = folder.run(&arguments);
        assert_eq!(ran.stderr, "2 secrets are left out: they are disabled\n", "{what:?}");
        let id = ran.done().trim().to_owned();
        let job: Value =
            serde_json::from_str(&folder.run(&["jobs", "show", &id, "--json"]).done()).expect("JSON");
        assert_eq!(job["secrets"], kept, "{what:?}");
    }
    // Who names a disabled secret means it, and hears of it in the report.
    let ran = folder.run(&["share", "--as", "ana", "--user", "bruno", "--no-wait", "--secret", "202"]);
    assert_eq!(ran.stderr, "");
    let only = ["share", "--as", "ana", "--user", "bruno", "--search", "s202"];
    let ran = folder.run(&only);
    assert_eq!(ran.code, Some(5));
    assert!(ran.stderr.starts_with("1 secret is left out: it is disabled\n"), "{}", ran.stderr);
}

#[test]
fn shells_and_man_know_every_command() {
    let folder = Folder::new();
    // A wrong setting does not keep a shell from starting.
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = folder.run_with(&["completions", shell], "BATCHSHARE__DATABASE__URL", "mysql://x").done();
        assert!(text.contains("personal-group") && text.contains("export"), "{shell}");
    }
    assert_eq!(folder.run(&["completions", "csh"]).code, Some(2));
    let ran = folder.run(&["man", "pages/man1"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let page =
        |name: &str| std::fs::read_to_string(folder.path().join("pages/man1").join(name)).expect("a page");
    assert!(page("batchshare.1").contains(".SH EXAMPLES"));
    let export = page("batchshare-jobs-export.1");
    assert!(
        export.contains("batchshare jobs export 0198") && export.contains(r"\-\-output report.csv"),
        "{export}"
    );
    folder.write("file", "");
    folder.run(&["man", "file"]).refused(1);
}
