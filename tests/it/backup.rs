//! Backups of the embedded database, and putting them back: whole, whatever is written meanwhile and left beside.

use std::path::Path;

use crate::embedded::settings;
use crate::hostile::host::{beside, database, mode};
use crate::process::{Env, Program, file, http, run, until};
use crate::support::{Kind, TestDb, server};

fn job(env: &Env) -> String {
    let (code, out, error) =
        run(&["share", "--as", "ana", "--all", "--user", "bruno", "--no-wait", "--json"], env);
    assert_eq!(code, 0, "{error}");
    let job: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    job["job_id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_backup_is_whole_while_others_write_and_a_restore_is_not_undone_by_an_old_wal() {
    let folder = tempfile::tempdir().expect("a folder");
    let (env, path) = (settings(&folder), database(&folder));
    let name = |name: &str| folder.path().join(name).display().to_string();
    let mut program = Program::start(&["up"], &env);
    let address = program.address();
    let before = job(&env);
    let state = |address: &str, id: &str| {
        let (status, job) = http("GET", address, &format!("/api/v1/share-jobs/{id}"), "ana", None);
        (status, job["state"].as_str().unwrap_or_default().to_owned())
    };
    until("the job's end", 60, || (state(&address, &before).1 == "completed").then_some(()));
    let (code, _, error) = run(&["backup", &name("copy.db")], &env);
    assert_eq!(code, 0, "{error}");
    assert_eq!(mode(Path::new(&name("copy.db"))), 0o600);
    let kept = std::fs::read(name("copy.db")).expect("the backup");
    let (code, _, error) = run(&["backup", &name("copy.db")], &env);
    assert!(code == 1 && error.contains("not overwritten"), "{error}");
    assert_eq!(std::fs::read(name("copy.db")).expect("the backup"), kept);

    let after = job(&env);
    until("the job's end", 60, || (state(&address, &after).1 == "completed").then_some(()));
    let (code, _, error) = run(&["restore", &name("copy.db")], &env);
    assert!(code == 1 && error.contains("in use"), "{error}");
    program.kill();
    assert!(beside(&path, "-wal").metadata().expect("an old -wal").len() > 0);

    for bad in ["no database", ""] {
        let bad = file(&folder, "bad.db", bad).display().to_string();
        let (code, _, error) = run(&["restore", &bad], &env);
        assert!(code == 1 && error.contains("is no backup"), "{error}");
    }
    let (code, out, error) = run(&["restore", &name("copy.db")], &env);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("copy.db") && error.contains(".before-restore"), "{out}{error}");
    let mut program = Program::start(&["up"], &env);
    let address = program.address();
    assert_eq!(state(&address, &before), (200, "completed".to_owned()));
    assert_eq!(state(&address, &after).0, 404, "the old -wal was read");
    assert_eq!(program.stop(), 0);

    // What was there before is whole, with its newest rows.
    let before_restore = format!("{}.before-restore", path.display());
    let (code, _, error) = run(&["restore", &before_restore], &env);
    assert_eq!(code, 0, "{error}");
    let mut program = Program::start(&["up"], &env);
    assert_eq!(state(&program.address(), &after), (200, "completed".to_owned()));
    assert_eq!(program.stop(), 0);
    let leftovers: Vec<_> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.contains(".new"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_postgresql_is_postgresqls() {
    let db = TestDb::new(Kind::Postgres).await;
    let env: Env = vec![
        ("BATCHSHARE__DATABASE__URL", db.url.clone()),
        ("BATCHSHARE__BROKER__URL", server("BATCHSHARE_TEST_AMQP_URL")),
    ];
    for command in ["backup", "restore"] {
        let (code, _, error) = run(&[command, "/nowhere/copy.db"], &env);
        assert!(code == 2 && error.contains("pg_dump"), "{error}");
    }
}
