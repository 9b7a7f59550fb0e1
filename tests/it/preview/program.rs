//! `batchshare share --dry-run`, as a person or a script runs it.

use serde_json::{Value, json};

use crate::cli::Up;

/// The demo's ana asks what would be shared, and nothing is shared: 300 of her secrets have the tag.
pub fn foresees(up: &Up) {
    let dry = |more: &[&str]| up.folder.run(&[&["share", "--dry-run", "--as", "ana"], more].concat());
    let told = dry(&["--tag", "prod", "--user", "bruno", "carla", "--json"]).done();
    let mut told: Value = serde_json::from_str(&told).expect("JSON");
    let line = told["rejections"][0].take();
    assert_eq!(
        (&line["name"], &line["reason"], &line["pairs"]),
        (&json!("Carla Dias"), &json!("no_account"), &json!(300))
    );
    let expected = json!({"exact": true, "granted": 300, "pairs": 600, "recipients": 2, "rejected": 300,
        "people": {"direct": 1, "distinct": 1, "through_groups": 0}, "rejections": [null], "rejections_total": 1,
        "secrets": 300, "unchanged": 0, "upgraded": 0});
    assert_eq!(told, expected);
    let words = dry(&["--tag", "prod", "--user", "bruno", "carla"]).done();
    for line in [
        "  300 secrets with 2 recipients: 600 pairs\n",
        "  1 person would have access: 1 by name, 0 through groups\n",
        " 300 would be shared\n",
        " 300 would not be shared\n",
        "    user Carla Dias (carla, 3): has no MySafe account\n",
    ] {
        assert!(words.contains(line), "{words}");
    }
    dry(&["--tag", "nothing has this", "--user", "bruno"]).refused(5);
    dry(&["--secret", "1001", "--user", "nobody has this name"]).refused(5);
    assert_eq!(dry(&["--secret", "1001", "--user", "bruno", "--no-wait"]).code, Some(2));
    let jobs = up.folder.run(&["jobs", "list", "--json"]).done();
    let jobs: Value = serde_json::from_str(&jobs).expect("JSON");
    assert_eq!(jobs["items"], json!([]));
}
