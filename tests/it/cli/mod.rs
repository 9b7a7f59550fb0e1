//! The program itself, as a person or a script runs it: on SQLite, in a folder of its own.

mod jobs;

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub struct Folder {
    folder: tempfile::TempDir,
}

pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// It ended with this code and one line on stderr, which is returned.
    #[track_caller]
    pub fn refused(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stderr.lines().count()), (Some(code), 1), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        self.stderr.trim_end()
    }

    /// The arguments were wrong, and the message has this.
    #[track_caller]
    pub fn misused(&self, text: &str) {
        assert_eq!((self.code, &self.stdout[..]), (Some(2), ""), "{}", self.stderr);
        assert!(self.stderr.contains(text), "{}", self.stderr);
    }

    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }
}

impl Folder {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("temporary folder") }
    }

    /// With a database, a key beside it and a few people.
    pub fn with_people() -> Self {
        let folder = Self::new();
        folder.run(&["migrate"]).done();
        folder.write("people.jsonl", &people());
        folder.run(&["import", "people.jsonl"]).done();
        folder
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("write");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batchshare"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BATCHSHARE")) {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().expect("it runs").into()
    }

    pub fn run_with(&self, arguments: &[&str], name: &str, value: &str) -> Ran {
        self.command(arguments).env(name, value).output().expect("it runs").into()
    }
}

fn people() -> String {
    [
        r#"{"type":"user","id":1,"username":"ana","name":"Ana Souza","email":"ana@example.com"}"#,
        r#"{"type":"user","id":2,"username":"bruno","name":"Bruno Dias","email":"bruno@example.com"}"#,
        r#"{"type":"user","id":3,"username":"bdias","name":"Bruno Dias"}"#,
        r#"{"type":"user_group","id":12,"name":"Pagamentos","members":[2]}"#,
        r#"{"type":"personal_group","id":31,"name":"Plantão","owner":2,"members":[2]}"#,
        r#"{"type":"secret","id":101,"owner":1,"name":"Stripe","url":"https://api.stripe.example","client_id":"ci"}"#,
    ]
    .join("\n")
}

#[test]
fn wrong_settings_are_one_line_and_exit_code_2() {
    let folder = Folder::new();
    let line = folder.run_with(&["migrate"], "BATCHSHARE__DATABASE__URL", "mysql://me:hunter2@db/x");
    let line = line.refused(2);
    assert!(line.starts_with("batchshare: configuration: database.url must start with"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");

    let ran = folder.run_with(&["migrate"], "BATCHSHARE__DATABASE__COLOUR", "red");
    assert!(ran.refused(2).contains("colour"), "{}", ran.stderr);

    for key in ["RELAY__INTERVAL_MS", "WORKER__DUE_INTERVAL_MS"] {
        let ran = folder.run_with(&["migrate"], &format!("BATCHSHARE__{key}"), "0");
        assert!(ran.refused(2).contains("must be 1 or more"), "{}", ran.stderr);
    }

    folder.write("wrong.toml", "[gateway]\nport = 80\n");
    let ran = folder.run(&["--config", "wrong.toml", "migrate"]);
    assert!(ran.refused(2).contains("port"), "{}", ran.stderr);

    let ran = folder.run(&["migrate", "--config", "absent.toml"]);
    assert!(ran.refused(2).contains("absent.toml"), "{}", ran.stderr);

    assert_eq!(folder.run(&["dance"]).code, Some(2));
    assert_eq!(folder.run(&["share", "--as", "ana", "--all"]).code, Some(2), "with nobody");
    assert_eq!(folder.run(&["share", "--as", "ana", "--user", "bruno"]).code, Some(2), "nothing");
    let both = ["share", "--as", "ana", "--user", "bruno", "--secret", "1", "--all"];
    assert_eq!(folder.run(&both).code, Some(2));
}

#[test]
fn help_explains_the_exit_codes() {
    let help = Folder::new().run(&["--help"]).done();
    for command in ["up", "serve", "work", "migrate", "import", "share", "jobs", "why", "topology", "keygen"]
    {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in\n{help}");
    }
    assert!(help.contains("6  a server could not be reached"), "{help}");
    assert_eq!(Folder::new().run(&["help"]).done(), help);
    assert!(Folder::new().run(&["help", "jobs", "show"]).done().contains("--rejections"));
}

#[test]
fn a_database_that_is_not_there_is_not_made_by_asking() {
    let folder = Folder::new();
    for command in
        [&["jobs", "list"][..], &["import", "-"], &["share", "--as", "ana", "--all", "--user", "bruno"]]
    {
        let ran = folder.run(command);
        assert!(ran.refused(2).contains("run `batchshare migrate`"), "{}", ran.stderr);
    }
    assert!(!folder.path().join("batchshare.db").exists());
}

#[test]
fn migrate_names_what_it_applied_and_can_be_repeated() {
    let folder = Folder::new();
    assert!(folder.run(&["migrate"]).done().lines().count() >= 5);
    let again = folder.run(&["migrate"]);
    assert!(again.stderr.contains("up to date already"), "{}", again.stderr);
    assert_eq!(again.done(), "");
}

#[test]
fn a_server_that_is_away_is_waited_for_and_then_given_up() {
    let folder = Folder::new();
    // A port that was free a moment ago.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    folder.write(
        "pg.toml",
        &format!(
            "[database]\nurl = \"postgres://me:hunter2@127.0.0.1:{port}/x\"\n[broker]\nurl = \"amqp://127.0.0.1\"\n"
        ),
    );
    let start = std::time::Instant::now();
    let ran = folder.run(&["--config", "pg.toml", "jobs", "list"]);
    let line = ran.refused(6);
    assert!(line.contains(&format!("postgres://127.0.0.1:{port}/x")) && !line.contains("hunter2"), "{line}");
    assert!((5..15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[test]
fn a_key_is_32_bytes_and_another_each_time() {
    let folder = Folder::new();
    let (one, other) = (folder.run(&["keygen"]).done(), folder.run(&["keygen"]).done());
    assert_eq!((one.trim_end().len(), one.lines().count()), (44, 1));
    assert_ne!(one, other);
}

#[test]
fn import_reads_files_and_stdin_and_names_the_line_that_is_wrong() {
    let folder = Folder::new();
    folder.run(&["migrate"]).done();
    folder.write("people.jsonl", &people());
    let done = folder.run(&["import", "people.jsonl"]).done();
    assert_eq!(done, "people.jsonl: 3 users, 1 user group, 1 personal group, 1 secret\n");

    let mut child = folder
        .command(&["import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("piped").write_all(people().as_bytes()).expect("written");
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.done(), "stdin: 3 users, 1 user group, 1 personal group, 1 secret\n");

    folder.write("wrong.jsonl", &format!("{}\n{{\"type\":\"user\",\"id\":-1}}\n", people()));
    let ran = folder.run(&["import", "wrong.jsonl"]);
    assert!(
        ran.refused(1).starts_with("batchshare: wrong.jsonl: line 7: id must be an integer"),
        "{}",
        ran.stderr
    );
    let ran = folder.run(&["import", "absent.jsonl"]);
    assert!(ran.refused(1).contains("absent.jsonl"), "{}", ran.stderr);
    assert_eq!(folder.run(&["import", "."]).code, Some(1));
}

#[test]
fn client_secrets_need_a_key_which_the_first_of_them_makes() {
    let folder = Folder::with_people();
    let key = folder.path().join("batchshare.db.key");
    assert!(!key.exists(), "nothing was to be sealed");
    folder.write(
        "secret.jsonl",
        &people().replace(r#""client_id""#, r#""client_secret":"hunter2","client_id""#),
    );
    let ran = folder.run_with(&["import", "secret.jsonl"], "BATCHSHARE__VAULT__KEY_FILE", "absent.key");
    assert!(ran.refused(2).contains("absent.key"), "{}", ran.stderr);

    folder.run(&["import", "secret.jsonl"]).done();
    let made = std::fs::read(&key).expect("the key");
    folder.run(&["import", "secret.jsonl"]).done();
    assert_eq!(std::fs::read(&key).expect("the key"), made, "it is found there");
    let bytes = std::fs::read(folder.path().join("batchshare.db")).expect("the database");
    let wal = std::fs::read(folder.path().join("batchshare.db-wal")).unwrap_or_default();
    assert!(![bytes, wal].concat().windows(7).any(|window| window == b"hunter2"));
}

#[test]
fn a_listing_without_jobs_is_empty_json() {
    let folder = Folder::with_people();
    let listing: Value = serde_json::from_str(&folder.run(&["jobs", "list", "--json"]).done()).expect("JSON");
    assert_eq!(listing, serde_json::json!({"items": [], "next_cursor": null}));
    assert_eq!(folder.run(&["jobs", "list"]).done(), "");
    assert_eq!(folder.run(&["jobs", "list", "--state", "asleep"]).code, Some(2));
    let ran = folder.run(&["jobs", "list", "--user", "zoe"]);
    assert!(ran.refused(5).contains("there is no user \"zoe\""), "{}", ran.stderr);
}

#[test]
fn a_job_that_is_not_there_is_exit_code_5() {
    let folder = Folder::with_people();
    let id = "0199c3a0-0000-7000-8000-000000000000";
    for command in ["show", "watch"] {
        let ran = folder.run(&["jobs", command, id]);
        assert!(ran.refused(5).contains(id), "{}", ran.stderr);
        assert_eq!(folder.run(&["jobs", command, "17"]).code, Some(2));
    }
}

#[test]
fn a_permission_that_there_is_not_is_told_as_one() {
    let folder = Folder::with_people();
    for (option, name) in [
        ("--user", "bruno:admin"),
        ("--user", "bruno:EDIT"),
        ("--group", "Pagamentos:owner"),
        ("--user", "bruno:"),
    ] {
        let ran = folder.run(&["share", "--as", "ana", "--all", option, name]);
        let line = ran.refused(2);
        let permission = name.split_once(':').expect("a colon").1;
        assert!(line.contains(&format!("the permission \"{permission}\"")), "{line}");
        assert!(line.contains("view or edit"), "{line}");
    }
    // A name may hold a colon: where nobody has the part before it, the whole is the name.
    let ran = folder.run(&["share", "--as", "ana", "--all", "--group", "Squad: Pix"]);
    assert!(ran.refused(5).contains("there is no user group \"Squad: Pix\""), "{}", ran.stderr);
}

#[test]
fn unknown_and_ambiguous_names_list_the_candidates() {
    let folder = Folder::with_people();
    let share = |more: &[&str]| folder.run(&[&["share", "--secret", "101"], more].concat());
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--as", "zoe", "--user", "bruno"], 5, "there is no user \"zoe\""),
        (&["--as", "ana", "--user", "brun"], 5, "there is no user \"brun\"; there is bruno (Bruno Dias)"),
        (&["--as", "ana", "--user", "bruno dias"], 2, "may be bruno (Bruno Dias), bdias (Bruno Dias)"),
        (&["--as", "ana", "--group", "Pagam%"], 5, "there is no user group \"Pagam%\""),
        (&["--as", "ana", "--group", "pag:edit"], 5, "there is Pagamentos (id 12)"),
        // It is bruno's, and ana may not know of it.
        (&["--as", "ana", "--personal-group", "Plantão"], 5, "there is no personal group \"Plantão\""),
    ];
    for (arguments, code, text) in cases {
        let ran = share(arguments);
        let line = ran.refused(code);
        assert!(line.contains(text), "{line}\nhas no\n{text}");
        assert!(!arguments.contains(&"--personal-group") || !line.contains("(id 31)"), "{line}");
    }
}

#[test]
fn topology_prints_names_and_permissions_without_a_broker() {
    let folder = Folder::new();
    let text = folder.run_with(&["topology"], "BATCHSHARE__BROKER__PREFIX", "vault").done();
    assert!(text.contains(r"vault-ui '^$' '^vault\.jobs$' '^$'"), "{text}");
    assert!(folder.run(&["topology", "--declare"]).refused(2).contains("embedded"));
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let folder = Folder::new();
    let mut child =
        folder.command(&["topology"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

/// `up` in a folder of its own, killed at the end.
pub struct Up {
    pub folder: Folder,
    child: std::process::Child,
}

impl Up {
    pub fn start() -> Self {
        let folder = Folder::new();
        let mut child = folder
            .command(&["up"])
            .env("BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("a line");
        assert!(line.starts_with("batchshare is running: http://127.0.0.1:"), "{line}");
        // Read on, so that the pipe stays open.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { folder, child }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_second_up_on_the_same_database_says_who_has_it() {
    let up = Up::start();
    let ran = up.folder.run_with(&["up"], "BATCHSHARE__GATEWAY__LISTEN", "127.0.0.1:0");
    assert!(ran.stderr.contains(&format!("process {}", up.child.id())), "{}", ran.stderr);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1));
}

#[test]
fn a_broker_that_is_away_is_given_up_with_exit_code_6() {
    let folder = Folder::new();
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let url = format!("amqp://me:hunter2@127.0.0.1:{port}");
    let ran = folder.run_with(&["topology", "--declare"], "BATCHSHARE__BROKER__URL", &url);
    assert!(!ran.refused(6).contains("hunter2"), "{}", ran.stderr);
}
