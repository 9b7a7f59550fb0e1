//! `batchshare unshare`, as a person or a script runs it.

use serde_json::{Value, json};

use crate::cli::Up;

#[test]
fn unshare_says_what_it_would_take_takes_it_and_its_exit_code_tells_how_it_ended() {
    let up = Up::start();
    let run = |command: &str, more: &[&str]| up.folder.run(&[&[command, "--as", "ana"], more].concat());
    let tagged = ["--tag", "prod", "--user", "bruno", "--group", "Pagamentos:edit"];

    // 300 of ana's secrets have the tag.
    run("share", &tagged).done();
    let foreseen = run("unshare", &[&tagged[..], &["--dry-run", "--json"]].concat()).done();
    let foreseen: Value = serde_json::from_str(&foreseen).expect("JSON");
    let expected = json!({"exact": true, "lowered": 300, "pairs": 600, "recipients": 2, "rejected": 0, "revoked": 300,
                          "secrets": 300, "untouched": 0});
    assert_eq!(foreseen, expected);
    let words = run("unshare", &[&tagged[..], &["--dry-run"]].concat()).done();
    assert!(
        words.contains(" 300 would be taken away\n") && words.contains(" 300 would be lowered"),
        "{words}"
    );

    // Nobody is there to be asked, and nothing is done.
    let asked = run("unshare", &tagged);
    assert!(asked.refused(2).contains("say --yes"), "{}", asked.stderr);

    let done = run("unshare", &[&tagged[..], &["--yes"]].concat()).done();
    for line in [
        "Unshare ",
        " of Ana Souza (ana) is completed\n",
        " 300 taken away\n",
        " 300 lowered from edit to view\n",
    ] {
        assert!(done.contains(line), "{done}");
    }

    // The flag is for all who have no permission behind their name.
    let lowered =
        run("unshare", &["--all", "--user", "bruno", "carla:view", "--lower", "--yes", "--json"]).done();
    let job: Value = serde_json::from_str(&lowered).expect("JSON");
    assert_eq!(
        (&job["kind"], &job["state"], &job["counts"]["lowered"]),
        (&json!("unshare"), &json!("completed"), &json!(0))
    );

    run("unshare", &["--tag", "nothing has this", "--user", "bruno", "--yes"]).refused(5);
    run("unshare", &["--secret", "1001", "--yes"]).code.filter(|code| *code == 2).expect("whom is missing");
    let nothing = run("unshare", &["--secret", "999999", "--user", "bruno", "--yes"]);
    assert_eq!(nothing.code, Some(4), "{}", nothing.stderr);
    assert!(nothing.stdout.contains("failed: there was nothing to take away"), "{}", nothing.stdout);

    let id = run("unshare", &["--secret", "1001", "--user", "bruno", "--no-wait", "--yes"]).done();
    assert!(up.folder.run(&["jobs", "watch", id.trim_end()]).done().contains("Unshare "));
}
