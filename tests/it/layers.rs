//! Who may know whom: the modules' `crate::` paths and the crates they name, held against a map.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Each module of the crate and those that it may use. Below it stands what it is built on, never
/// above: the map has no circles.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &[]),
    ("lib", &[]),
    // What a person starts.
    (
        "cli",
        &[
            "app",
            "broker",
            "config",
            "consume",
            "contract",
            "db",
            "domain",
            "files",
            "store",
            "telemetry",
            "vault",
        ],
    ),
    // The composition root: the one place that knows everybody.
    (
        "app",
        &[
            "broker",
            "config",
            "consume",
            "db",
            "domain",
            "files",
            "gateway",
            "notifier",
            "relay",
            "shutdown",
            "store",
            "telemetry",
            "vault",
            "worker",
        ],
    ),
    // The roles. They do not know each other: they meet in the database and the broker.
    (
        "gateway",
        &[
            "broker",
            "config",
            "consume",
            "contract",
            "db",
            "domain",
            "files",
            "shutdown",
            "store",
            "telemetry",
            "vault",
        ],
    ),
    ("worker", &["broker", "config", "consume", "contract", "db", "domain", "shutdown", "store"]),
    ("notifier", &["broker", "consume", "contract", "domain", "shutdown", "store"]),
    ("relay", &["broker", "contract", "domain", "shutdown", "store"]),
    ("consume", &["broker", "db", "domain", "shutdown", "telemetry"]),
    // The two sides of a role; they do not know each other.
    ("store", &["contract", "db", "domain", "telemetry"]),
    ("broker", &["db", "telemetry"]),
    // What they are made of.
    ("telemetry", &["config", "domain"]),
    ("config", &["db", "domain", "files"]),
    ("vault", &["domain", "files"]),
    ("contract", &["domain"]),
    ("db", &["files"]),
    ("files", &[]),
    ("shutdown", &[]),
    ("domain", &[]),
];

/// Crates that only some files may name, and which (a path, or the start of one).
const ONLY_IN: &[(&str, &[&str])] = &[
    ("diesel", &["db/", "store/", "broker/embedded/"]),
    ("diesel_migrations", &["db/migrate.rs"]),
    ("lapin", &["broker/rabbitmq/"]),
    ("async_rs", &["broker/rabbitmq/"]),
    ("futures_io", &["broker/rabbitmq/"]),
    ("axum", &["gateway/"]),
    ("axum_extra", &["gateway/"]),
    ("backoff", &["consume/schedule.rs"]),
    ("chacha20poly1305", &["vault.rs"]),
    ("clap", &["main.rs", "cli/"]),
    ("indicatif", &["cli/"]),
    ("openssl", &["db/tls.rs"]),
    ("postgres_openssl", &["db/tls.rs"]),
    ("rustix", &["files/", "gateway/serving/"]),
    ("tokio_postgres", &["db/refusal.rs", "db/tls.rs"]),
    ("toml", &["config/"]),
    ("tower_http", &["gateway/routes.rs", "gateway/layers/"]),
];

/// What no file of the pure modules names.
const PURE: &[&str] = &["domain/", "contract/"];
const IMPURE: &[&str] = &["tokio", "diesel", "lapin", "axum", "backoff", "std::fs", "std::net", "std::env"];

const LONGEST_FILE: usize = 500;

struct Source {
    /// From `src` on, like `store/jobs.rs`.
    path: String,
    text: String,
    /// Without comments and without what is compiled for tests only, which ends each file.
    code: String,
}

impl Source {
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Whether the code names a crate or module: `name::`, `use name;`.
    fn names(&self, name: &str) -> bool {
        self.code.match_indices(name).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = &self.code[at + name.len()..];
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                && (after.starts_with("::") || after.starts_with(';'))
        })
    }
}

fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).expect("a file")));
        }
    }
}

fn read(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    files(&root, &mut found);
    let start = format!("{}/", root.display());
    found.into_iter().map(|(path, text)| (path.replace(&start, ""), text)).collect()
}

fn sources() -> Vec<Source> {
    let found: Vec<Source> = read("src")
        .into_iter()
        .filter(|(path, _)| !path.ends_with("/tests.rs"))
        .map(|(path, text)| {
            let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code = lines.collect::<Vec<_>>().join("\n");
            assert!(
                !code.contains("#[cfg(test)]"),
                "{path}: what is for tests only goes into `mod tests` at the end"
            );
            Source { path, text, code }
        })
        .collect();
    assert!(found.len() > 50, "the sources were not found");
    found
}

/// The first names of every `crate::…` and `crate::{…}` in a text.
fn used(code: &str) -> BTreeSet<String> {
    used_after(code, "crate::")
}

/// The first names that stand behind this path: `a`, `b` and `c` in `path::a::…` and `path::{b, c::…}`.
fn used_after(code: &str, path: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(path) {
        let rest = &code[at + path.len()..];
        let word = |text: &str| -> String {
            text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        match rest.strip_prefix('{') {
            None => drop(found.insert(word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (index, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            found.insert(word(&list[index..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn the_reader_of_paths_finds_every_first_name() {
    let code = "use crate::{a, b::{c, d}, e as f};\nuse crate::g::h; let x = crate::i::J; pub(crate) fn k()";
    let names: Vec<String> = used(code).into_iter().collect();
    assert_eq!(names, ["a", "b", "e", "g", "i"]);
}

#[test]
fn modules_use_only_what_the_map_allows() {
    let map: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some(allowed) = map.get(module) else {
            wrong.push(format!(
                "{}: the module {module} is not in the map of tests/it/layers.rs",
                source.path
            ));
            continue;
        };
        for name in used(&source.code) {
            if name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} may not use crate::{name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "layers that know what they should not:\n{}", wrong.join("\n"));
}

#[test]
fn the_map_has_no_circles_and_nothing_that_is_gone() {
    let mut used_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        used_by.entry(source.module().to_owned()).or_default().extend(used(&source.code));
    }
    let mut below: BTreeSet<&str> = BTreeSet::new();
    for (module, allowed) in MAY_USE.iter().rev() {
        let found = used_by.get(*module).unwrap_or_else(|| panic!("{module} is in the map and not in src"));
        for name in *allowed {
            assert!(below.contains(name), "{module} uses {name}, which does not stand below it in the map");
            assert!(found.contains(*name), "the map lets {module} use {name}, and it does not: take it out");
        }
        below.insert(module);
    }
}

/// The rooms of the gateway, each with those that it may use. Like the modules, a room uses only what stands below it.
const GATEWAY: &[(&str, &[&str])] = &[
    ("routes", &["api", "layers", "page", "probes", "problem", "serving", "state", "stream"]),
    ("stream", &["answers", "auth", "problem", "serving", "state", "updates"]),
    ("api", &["answers", "auth", "limits", "problem", "serving", "state"]),
    ("state", &["auth", "layers", "limits", "probes", "serving", "updates"]),
    ("layers", &["auth", "probes", "problem", "serving"]),
    ("limits", &["auth", "problem", "serving"]),
    ("auth", &["problem", "serving"]),
    ("page", &["problem"]),
    ("probes", &[]),
    ("answers", &[]),
    ("updates", &[]),
    ("serving", &[]),
    ("problem", &[]),
];

#[test]
fn rooms_of_the_gateway_use_only_rooms_below_them() {
    let mut below: BTreeSet<&str> = BTreeSet::new();
    let mut used_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(rest) = source.path.strip_prefix("gateway/") else { continue };
        let (room, inner) = rest.split_once('/').unwrap_or((rest.trim_end_matches(".rs"), ""));
        if room == "mod" {
            // It declares the rooms and re-exports what other modules use.
            continue;
        }
        let mut names = used_after(&source.code, "crate::gateway::");
        names.remove(room);
        used_by.entry(room.to_owned()).or_default().extend(names);
        // A room's mod.rs may use its files, and then they must not use it.
        let parents = used_after(&source.code, &format!("crate::gateway::{room}::"));
        let parents = parents.iter().filter(|name| name.starts_with(char::is_uppercase));
        if !inner.is_empty() && inner != "mod.rs" {
            wrong.extend(parents.map(|name| format!("{} names {name} of its own mod.rs", source.path)));
        }
    }
    for (room, allowed) in GATEWAY.iter().rev() {
        let found = used_by.remove(*room).unwrap_or_else(|| panic!("gateway/{room} is not there"));
        let expected: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        if found != expected {
            wrong.push(format!("gateway/{room} uses {found:?}, and the list says {expected:?}"));
        }
        for name in *allowed {
            assert!(below.contains(name), "{room} uses {name}, which does not stand below it");
        }
        below.insert(room);
    }
    wrong.extend(used_by.keys().map(|room| format!("gateway/{room} is not in the list of rooms")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_are_named_only_where_they_belong() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, places) in ONLY_IN {
            if source.names(name) && !source.is_in(places) {
                wrong.push(format!("{}: {name} belongs to {places:?}", source.path));
            }
        }
        for name in IMPURE {
            if source.is_in(PURE) && source.names(name) {
                wrong.push(format!("{}: a pure module does not know {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let named = |name: &str| sources().iter().any(|source| source.names(name));
    for (name, _) in ONLY_IN {
        assert!(named(name), "{name} is not found anywhere: is this test still right?");
    }
}

#[test]
fn no_file_is_longer_than_a_person_reads() {
    let sources = sources().into_iter().map(|source| (format!("src/{}", source.path), source.text));
    let tests = read("tests").into_iter().map(|(path, text)| (format!("tests/{path}"), text));
    for (path, text) in sources.chain(tests) {
        let lines = text.lines().count();
        assert!(lines <= LONGEST_FILE, "{path} has {lines} lines, more than {LONGEST_FILE}: split it");
    }
}
