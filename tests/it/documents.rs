//! The documents name only what exists: their tests, files, links, settings, metrics and routes are compared with the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// The folders whose files the documents name by their whole path.
const FOLDERS: [&str; 9] =
    ["src/", "tests/", "docs/", "config/", "deploy/", "web/", "migrations/", "benches/", "fuzz/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths, from the root of the repository on, of all files below a folder whose names end like this.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let entry = entry.expect("an entry");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(files(&path, ending));
        } else if path.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Each document: its path and its lines, without blocks of code.
fn documents() -> Vec<(String, Vec<String>)> {
    let mut paths = files("docs", ".md");
    for path in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "web/vendor/README.md"] {
        // CONTRIBUTING.md may not be there.
        if root().join(path).exists() {
            paths.push(path.to_owned());
        }
    }
    assert!(paths.len() > 10, "the documents were not found: {paths:?}");
    paths.into_iter().map(|path| (path.clone(), prose(&read(&path)))).collect()
}

fn prose(text: &str) -> Vec<String> {
    let mut in_code = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    };
    text.lines().filter(is_prose).map(ToOwned::to_owned).collect()
}

/// What stands between backticks in a line.
fn code_of(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// Everything from a heading on.
fn after(lines: &[String], heading: &str) -> Vec<String> {
    let at = lines.iter().position(|line| line == heading);
    lines[at.unwrap_or_else(|| panic!("there is no heading {heading}"))..].to_vec()
}

fn sources(folder: &str) -> String {
    files(folder, ".rs").iter().map(|path| read(path)).collect()
}

#[test]
fn every_row_of_promises_names_tests_that_exist() {
    let code = sources("src") + &sources("tests");
    let attacks = after(&prose(&read("docs/security.md")), "## What holds it");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in prose(&read("docs/promises.md")).iter().chain(&attacks) {
        let [promise, held_by] = cells(line)[..] else { continue };
        let is_head = held_by == "held by" || promise.starts_with('-') || promise.starts_with('*');
        if !line.starts_with('|') || is_head {
            continue;
        }
        let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        for name in code_of(held_by).filter(is_name) {
            count += 1;
            if !code.contains(&format!("fn {name}(")) {
                wrong.push(format!("there is no test {name}: {promise}"));
            }
        }
        if code_of(held_by).next().is_none() {
            wrong.push(format!("nothing holds it: {promise}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 150, "only {count} tests were found in the tables");
}

#[test]
fn every_path_that_the_documents_name_exists() {
    let mut wrong = Vec::new();
    for (document, lines) in documents() {
        for code in lines.iter().flat_map(|line| code_of(line)) {
            let is_path = FOLDERS.iter().any(|folder| code.starts_with(folder));
            if is_path && !code.contains([' ', '*', '<', '{', '…']) && !root().join(code).exists() {
                wrong.push(format!("{document} names {code}"));
            }
        }
    }
    assert!(wrong.is_empty(), "there are no such files:\n{}", wrong.join("\n"));
}

/// A heading as the part of an address that leads to it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The headings of a document.
fn headings(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let heading =
        |line: String| line.starts_with('#').then(|| line.trim_start_matches('#').trim().to_owned());
    prose(&text).into_iter().filter_map(heading).collect()
}

/// Links are checked with the sections that they name: by an address like `file.md#section`, or by the section's title
/// after the link, like `[file.md](file.md), "Section"`.
#[test]
fn every_link_leads_to_a_file_and_a_section() {
    let mut wrong = Vec::new();
    for (document, lines) in documents() {
        let text = lines.join(" ");
        for (at, _) in text.match_indices("](") {
            let rest = &text[at + 2..];
            let Some((target, behind)) = rest.split_once(')') else { continue };
            if target.contains("://") {
                continue;
            }
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&document).parent().unwrap_or(Path::new(""));
            let path: PathBuf = if file.is_empty() { (&document).into() } else { folder.join(file) };
            let path = root().join(path);
            let title =
                behind.strip_prefix(", \"").and_then(|title| title.split_once('"')).map(|title| title.0);
            let headings = headings(&path);
            if !path.exists() {
                wrong.push(format!("{document}: there is no {target}"));
            } else if !section.is_empty() && !headings.iter().any(|heading| anchor(heading) == section) {
                wrong.push(format!("{document}: {file} has no section #{section}"));
            } else if let Some(title) = title.filter(|title| !headings.iter().any(|found| found == title)) {
                wrong.push(format!("{document}: {file} has no section \"{title}\""));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every key below a section, and its default as the document shows it.
fn settings(section: &str, table: &Table, found: &mut BTreeSet<(String, String)>) {
    for (key, value) in table {
        let key = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        match value {
            Value::Table(keys) => settings(&key, keys, found),
            Value::String(text) if text.is_empty() => drop(found.insert((key, "(empty)".to_owned()))),
            Value::String(text) => drop(found.insert((key, format!("`{text}`")))),
            value => drop(found.insert((key, format!("`{value}`")))),
        }
    }
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let mut expected = BTreeSet::new();
    let defaults: Table = read("config/default.toml").parse().expect("TOML");
    settings("", &defaults, &mut expected);
    let lines = prose(&read("docs/configuration.md"));
    let row = |line: &String| match cells(line)[..] {
        [key, default, _] if key.starts_with('`') => {
            Some((key.trim_matches('`').to_owned(), default.to_owned()))
        }
        _ => None,
    };
    let found: BTreeSet<(String, String)> = lines.iter().filter_map(row).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&expected).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/configuration.md lacks {missing:#?}\nand has {unknown:#?}"
    );
}

/// The names of metrics of ours that stand directly behind a character.
fn metrics(text: &str, behind: char) -> BTreeSet<String> {
    let start = format!("{behind}batchshare_");
    let name = |(at, _): (usize, &str)| {
        let rest = text[at..].chars().skip(1);
        rest.take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>()
    };
    text.match_indices(&start).map(name).collect()
}

#[test]
fn every_metric_is_documented() {
    let of_metrics = |path: &&String| path.contains("metrics") || path.contains("/probes/");
    let code: String = files("src", ".rs").iter().filter(of_metrics).map(|path| read(path)).collect();
    let told = metrics(&code, '"');
    let lines = prose(&read("docs/metrics.md"));
    let first_cells = lines.iter().map(|line| cells(line)[0]).collect::<Vec<_>>().join("\n");
    let documented = metrics(&first_cells, '`');
    assert!(told.len() > 15, "{told:?}");
    assert_eq!(told, documented, "the metrics of the code (left) and of docs/metrics.md (right)");
}

#[test]
fn every_route_is_documented() {
    let document = read("docs/http.md");
    let mut routes = 0;
    for path in files("src/gateway", ".rs") {
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, call) in code.match_indices(".route(") {
            let argument = code[at + call.len()..].trim_start();
            let Some((route, _)) = argument.strip_prefix('"').and_then(|rest| rest.split_once('"')) else {
                continue;
            };
            routes += 1;
            let is_there = ["`", "?"].iter().any(|end| document.contains(&format!("`{route}{end}")));
            assert!(is_there, "{path} has the route {route}, which docs/http.md does not describe");
        }
    }
    assert!(routes > 15, "only {routes} routes were found");
}
