//! Dependencies of tests that nothing names. Those of the program are found by rustc (`unused_crate_dependencies` in
//! src/lib.rs), which cannot tell for a test target: every dependency of the program is given to it, too.

use std::path::Path;

use toml::Table;

/// Every Rust file below a folder, as one text.
fn text_of(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &text_of(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(&path).expect("a file");
        }
    }
    text
}

#[test]
fn every_dependency_of_tests_is_named_by_a_test_or_the_benchmark() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    let manifest: Table = manifest.parse().expect("TOML");
    let names = manifest["dev-dependencies"].as_table().expect("a table").keys();
    let text = ["src", "tests", "benches"].map(|folder| text_of(&root.join(folder))).concat();
    let named = |name: &str| {
        let path = format!("{}::", name.replace('-', "_"));
        text.match_indices(&path).any(|(at, _)| {
            !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
        })
    };
    let unused: Vec<&String> = names.filter(|name| !named(name)).collect();
    assert!(unused.is_empty(), "no test names {unused:?}: take them out of Cargo.toml");
    assert!(!named("no-such-crate"), "the reader finds what is not there");
}
