//! Who may know whom: the paths and crates that each file names, held against a map of rooms.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use graph::Graph;

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
    ("broker", &["db", "domain", "telemetry"]),
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

/// The rooms inside a room, from the bottom up: each may use those in the lines before its own.
const INSIDE: &[(&str, &[&[&str]])] = &[
    (
        "store",
        &[
            &["schema", "codes", "clock", "search"],
            &["outbox", "pulse"],
            &["tx"],
            &["transact"],
            &["audit"],
            &["people"],
            &["vault", "message", "received"],
            &["notice"],
            &["job"],
            &["figures", "refold"],
        ],
    ),
    (
        "gateway",
        &[
            &["problem", "serving", "updates", "answers", "probes"],
            &["auth", "page"],
            &["limits", "layers"],
            &["state"],
            &["api", "stream"],
            &["routes"],
        ],
    ),
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
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("csv", &["contract/export.rs"]),
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

/// Lines of a file at most: of the program, and of the tests, which are read one function at a time.
const LONGEST_FILE: usize = 400;
const LONGEST_TEST: usize = 500;

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

fn read_graph() -> Graph {
    let sources = sources();
    Graph::read(sources.iter().map(|source| (source.path.as_str(), source.code.as_str())))
}

#[test]
fn the_reader_of_paths_follows_imports_and_re_exports() {
    let graph = Graph::read([
        ("a/mod.rs", "mod b; mod c; pub use b::{self, Thing as Renamed}; use c::{d, e::{F, G}};"),
        ("a/b.rs", "pub struct Thing; fn text() -> &'static str { \"crate::a::c::X\" }"),
        (
            "a/c.rs",
            "use crate::a::Renamed; use super::super::e as other; fn f() { other::run(); let x = r#\"crate::a::b\"#; }",
        ),
        ("e.rs", "pub(crate) fn run() -> Vec::<u8> { crate::a::b::make() }"),
    ]);
    let edges = |file: &str| graph.edges(file).into_iter().collect::<Vec<_>>();
    assert_eq!(edges("a/mod.rs"), ["a/c.rs"]);
    assert_eq!(edges("a/b.rs"), [""; 0]);
    assert_eq!(edges("a/c.rs"), ["a/b.rs", "e.rs"]);
    assert_eq!(edges("e.rs"), ["a/b.rs"]);
}

#[test]
fn modules_use_only_what_the_map_allows() {
    let map: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let graph = read_graph();
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
        for name in graph.rooms_used(&source.path) {
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
    let graph = read_graph();
    for source in sources() {
        used_by.entry(source.module().to_owned()).or_default().extend(graph.rooms_used(&source.path));
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

#[test]
fn rooms_inside_a_room_use_only_what_stands_before_them() {
    let graph = read_graph();
    let mut wrong = Vec::new();
    for (room, inside) in INSIDE {
        let place = |path: &str| {
            let rest = path.strip_prefix(room)?.strip_prefix('/')?;
            let name = rest.split('/').next()?.trim_end_matches(".rs");
            Some(inside.iter().position(|level| level.contains(&name)).ok_or(path.to_owned()))
        };
        for source in sources().iter().filter(|source| source.module() == *room) {
            let own = match place(&source.path) {
                Some(Ok(own)) => own,
                // Declarations and re-exports only: whoever uses those uses the files behind them.
                _ if source.path.ends_with("/mod.rs") => continue,
                _ => {
                    wrong.push(format!("{} is not in the list of tests/it/layers", source.path));
                    continue;
                }
            };
            for used in graph.edges(&source.path) {
                let same = |path: &str| path.split('/').take(2).collect::<Vec<_>>().join("/");
                let allowed = match place(&used) {
                    Some(Ok(other)) => other < own || same(&used) == same(&source.path),
                    Some(Err(_)) => false,
                    None => true,
                };
                if !allowed {
                    wrong.push(format!("{} may not use {used}, which does not stand before it", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_depends_on_itself_by_way_of_others() {
    let circles = read_graph().circles();
    assert!(circles.is_empty(), "files in a circle:\n{}", circles.join("\n"));
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

/// Where the two databases take different ways to one result, and not only different words.
const ASK_WHICH_DATABASE: &[&str] = &["db/dialect.rs", "store/vault/grants.rs"];

#[test]
fn only_the_dialect_knows_which_database_it_is() {
    for source in sources() {
        let asks = source.code.contains("is_pg()");
        assert!(
            !asks || source.is_in(ASK_WHICH_DATABASE),
            "{}: what differs between the databases gets a name in db/dialect.rs",
            source.path
        );
    }
}

#[test]
fn no_file_is_longer_than_a_person_reads() {
    let sources =
        sources().into_iter().map(|source| (format!("src/{}", source.path), source.text, LONGEST_FILE));
    let tests = read("tests").into_iter().map(|(path, text)| (format!("tests/{path}"), text, LONGEST_TEST));
    for (path, text, longest) in sources.chain(tests) {
        let lines = text.lines().count();
        assert!(lines <= longest, "{path} has {lines} lines, more than {longest}: split it");
    }
}
