//! The commands that make a job or change what a job did, as a person runs them.

use super::*;

#[test]
fn share_waits_for_the_notice_and_its_exit_code_tells_how_it_ended() {
    let up = Up::start();
    let share = |more: &[&str]| up.folder.run(&[&["share", "--as", "ana"], more].concat());

    // 325 secrets have the tag, 300 of them are ana's.
    crate::preview::program::foresees(&up);
    let done = share(&["--tag", "prod", "--user", "bruno", "--group", "Pagamentos:edit"]).done();
    assert!(done.contains(" of Ana Souza (ana) is completed\n") && done.contains(" 600 shared\n"), "{done}");

    let again = share(&["--tag", "prod", "--user", "bruno:edit", "carla"]);
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    for line in [
        " 300 upgraded from view to edit\n",
        " 300 not shared\n",
        "user Carla Dias (carla, 3): has no MySafe account\n",
    ] {
        assert!(again.stdout.contains(line), "{}", again.stdout);
    }

    let nobody = share(&["--all", "--json", "--user", "davi"]);
    assert_eq!(nobody.code, Some(4), "{}", nobody.stderr);
    let job: Value = serde_json::from_str(&nobody.stdout).expect("JSON");
    assert_eq!((&job["reason"], &job["pairs"]), (&"nothing_to_share".into(), &1_200.into()));
    assert_eq!(
        (&job["rejections"][0]["reason"], &job["rejections"][0]["pairs"]),
        (&"inactive".into(), &1_200.into())
    );

    share(&["--tag", "nothing has this", "--user", "bruno"]).refused(5);

    let id = share(&["--secret", "1001", "--no-wait", "--personal-group", "plantão"]).done();
    let id = id.trim_end();
    assert!(up.folder.run(&["jobs", "watch", id]).done().contains(" 1 shared\n"));
    assert!(up.folder.run(&["jobs", "show", id]).done().contains(" is completed\n"));

    let shown = up.folder.run(&["jobs", "show", id, "--json"]).done();
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["first_recipients"][0]["kind"], "personal_group");
    assert_eq!(
        (&shown["first_secrets"][0]["id"], shown["first_secrets"].as_array().map(Vec::len)),
        (&1_001.into(), Some(1))
    );
    let name = shown["first_secrets"][0]["name"].as_str().expect("a name");
    let about =
        format!("1 secret ({name}) for {}\n", shown["first_recipients"][0]["name"].as_str().expect("a name"));
    for command in [&["jobs", "show", id][..], &["jobs", "list", "--limit", "1"]] {
        let text = up.folder.run(command).done();
        assert!(text.contains(&about), "{about}{text}");
    }

    let why = |of: &[&str]| up.folder.run(&[&["why"], of].concat());
    let ana = why(&["ana", "1001"]).done();
    assert_eq!(ana, format!("Ana Souza (ana) owns {name} (1001)\n  owner  as the owner\n"));
    let list = |more: &[&str]| -> Value {
        let text = up.folder.run(&[&["jobs", "list", "--json"], more].concat()).done();
        serde_json::from_str(&text).expect("JSON")
    };
    assert_eq!(list(&[])["items"].as_array().map(Vec::len), Some(4));
    // The second job raised what the first one had given.
    let (second, first) = (&list(&[])["items"][2], &list(&[])["items"][3]);
    let both = second["first_secrets"][0]["id"].to_string();
    let told: Value = serde_json::from_str(&why(&["bruno", &both, "--json"]).done()).expect("JSON");
    assert_eq!(told["effective"], "edit");
    let is_direct = |way: &&Value| way["way"] == "direct";
    let direct = told["because"].as_array().and_then(|ways| ways.iter().find(is_direct)).expect("a way");
    let jobs = (&direct["jobs"]["view"]["job_id"], &direct["jobs"]["edit"]["job_id"]);
    assert_eq!(jobs, (&first["job_id"], &second["job_id"]));
    let text = why(&["bruno", &both]).done();
    assert!(
        text.contains("may edit") && text.contains("  edit   by a grant of their own, since 20"),
        "{text}"
    );
    assert!(text.contains("         view given by Ana Souza at 20"), "{text}");
    why(&["nobody at all", "1001"]).refused(5);
    assert!(why(&["ana", "no-such-secret"]).refused(5).contains("there is no secret \"no-such-secret\""));
    assert_eq!(list(&["--user", "bruno"])["items"], serde_json::json!([]));
    assert_eq!(list(&["--state", "failed", "--limit", "1"])["items"][0]["job_id"], job["job_id"]);
    let first = list(&["--limit", "3"]);
    let rest = list(&["--cursor", &first["next_cursor"].to_string()]);
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(1), &Value::Null));
}

#[test]
fn undo_says_what_it_would_do_and_then_takes_it_back() {
    let up = Up::start();
    let run = |arguments: &[&str]| up.folder.run(arguments);
    let json = |ran: Ran| -> Value { serde_json::from_str(&ran.done()).expect("JSON") };
    let share = |more: &[&str]| {
        let shared = run(&[&["share", "--as", "ana", "--json", "--tag", "prod"], more].concat());
        json(shared)["job_id"].as_str().expect("an id").to_owned()
    };
    let first = share(&["--user", "bruno", "--note", "Chaves novas, até sexta"]);
    let again = share(&["--user", "bruno"]);
    assert!(run(&["jobs", "show", &first]).done().contains("  note: Chaves novas, até sexta\n"));
    run(&["share", "--as", "ana", "--all", "--user", "bruno", "--note", " x"]).refused(2);

    assert!(run(&["jobs", "undo", &first, "--dry-run"]).done().contains(" 300 would be kept"));
    let preview = json(run(&["jobs", "undo", &first, "--dry-run", "--json"]));
    assert_eq!(
        (&preview["kept"], &preview["revoked"], &preview["exact"]),
        (&300.into(), &0.into(), &true.into())
    );
    let undone = run(&["jobs", "undo", &first]).done();
    assert!(undone.starts_with("Undo ") && undone.contains(" of Ana Souza (ana) is completed\n"), "{undone}");
    assert!(undone.contains("  Taken back: 0 of 300. 300 are kept: others shared them, too.\n"), "{undone}");
    assert!(undone.contains(&format!("  takes back what job {first} gave\n")), "{undone}");
    assert!(run(&["jobs", "show", &first]).done().contains("  undone by job "));

    let id = run(&["jobs", "undo", &again, "--as-operator", "--no-wait"]).done();
    let watched = run(&["jobs", "watch", id.trim_end()]).done();
    assert!(watched.contains("  Taken back: 300 of 300.\n"), "{watched}");
    // Bruno received the first batch only: he had all of the second one.
    let received = crate::process::until("what bruno received", 30, || {
        let found = json(run(&["received", "--as", "bruno", "--json"]));
        (found["unseen"] == 1).then_some(found)
    });
    let entry = &received["items"][0];
    assert_eq!((&entry["job_id"], &entry["secrets"]), (&Value::from(first), &300.into()));
    let text = run(&["received", "--as", "bruno"]).done();
    assert!(text.contains("  Ana Souza shared 300 secrets, to view; no longer shared  new\n"), "{text}");
    assert!(text.ends_with("  Chaves novas, até sexta\n"), "{text}");
    run(&["received", "--as", "Bruno of nowhere"]).refused(5);
    let refused = run(&["jobs", "undo", &again]);
    assert!(refused.refused(1).contains(id.trim_end()), "{}", refused.stderr);
    assert!(run(&["jobs", "undo", id.trim_end()]).refused(1).contains("only a share can be undone"));
    run(&["jobs", "undo", "0199c3a0-0000-7000-8000-000000000000"]).refused(5);
    run(&["jobs", "undo", "0199c3a0-0000-7000-8000-000000000000", "--dry-run"]).refused(5);
}

#[test]
fn the_rest_of_a_job_is_shared_once_what_kept_it_back_is_mended() {
    let up = Up::start();
    let run = |arguments: &[&str]| up.folder.run(arguments);
    let json = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
    let shared = run(&["share", "--as", "ana", "--json", "--tag", "prod", "--user", "bruno", "carla"]);
    assert_eq!(shared.code, Some(3), "{}", shared.stderr);
    let job = json(&shared.stdout)["job_id"].as_str().expect("an id").to_owned();

    let none = run(&["jobs", "rest", &job, "--reason", "disabled"]);
    assert!(none.refused(1).contains("the job left nothing that could be shared now"), "{}", none.stderr);
    assert_eq!(run(&["jobs", "rest", &job, "--reason", "tired"]).code, Some(2));
    let still = run(&["jobs", "rest", &job, "--json"]);
    assert_eq!(still.code, Some(4), "{}", still.stderr);
    assert_eq!(json(&still.stdout)["parent"], job.as_str());

    up.folder.write("carla.jsonl", r#"{"type":"user","id":3,"username":"carla","name":"Carla Dias"}"#);
    run(&["import", "carla.jsonl"]).done();
    let done = run(&["jobs", "rest", &job, "--reason", "no_account", "inactive"]).done();
    assert!(done.contains(" of Ana Souza (ana) is completed\n") && done.contains(" 300 shared\n"), "{done}");
    assert!(done.contains(&format!("  shares what job {job} left\n")), "{done}");
    assert!(run(&["jobs", "rest", &job]).refused(1).contains("left nothing"));
    run(&["jobs", "rest", "0199c3a0-0000-7000-8000-000000000000"]).refused(5);
}
