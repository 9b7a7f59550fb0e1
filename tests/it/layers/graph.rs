//! Which file names the items of which: the paths in the code, followed through re-exports to the file that defines
//! the item.

use std::collections::{BTreeMap, BTreeSet};

/// A file as the path of its module: `["store", "job", "row"]` is `src/store/job/row.rs`, no segment is `src/lib.rs`.
type Module = Vec<String>;

/// What a file names, and what it passes on under a name of its own.
#[derive(Default)]
struct Named {
    /// Where it stands, below `src`.
    path: String,
    paths: BTreeSet<Module>,
    exports: BTreeMap<String, Module>,
}

/// What every file names.
pub struct Graph(BTreeMap<Module, Named>);

impl Graph {
    /// Reads files: their paths below `src`, with their code, which has no comments.
    pub fn read<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let codes: BTreeMap<Module, (&str, &str)> =
            sources.into_iter().map(|(path, code)| (module(path), (path, code))).collect();
        let read = |(module, (path, code)): (&Module, &(&str, &str))| {
            let named = Named { path: (*path).to_owned(), ..names(module, code, &codes) };
            (module.clone(), named)
        };
        Self(codes.iter().map(read).collect())
    }

    /// The other files that a file names something of.
    pub fn edges(&self, path: &str) -> BTreeSet<String> {
        let own = module(path);
        let found = self.0[&own].paths.iter().filter_map(|path| defining(path, &self.0, 0));
        found.filter(|other| *other != own).map(|other| self.0[&other].path.clone()).collect()
    }

    /// The first names of all paths in a file.
    pub fn rooms_used(&self, path: &str) -> BTreeSet<String> {
        self.0[&module(path)].paths.iter().filter_map(|path| path.first().cloned()).collect()
    }

    /// Every way from a file back to itself, one for each file that has one.
    pub fn circles(&self) -> Vec<String> {
        let edges: BTreeMap<&str, BTreeSet<String>> =
            self.0.values().map(|named| (named.path.as_str(), self.edges(&named.path))).collect();
        let mut circles = Vec::new();
        for start in edges.keys() {
            // Breadth first, so that the way that is told is a shortest one.
            let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
            let mut next = vec![*start];
            while let Some(from) = next.pop() {
                for to in &edges[from] {
                    if !came_from.contains_key(to.as_str()) {
                        came_from.insert(to, from);
                        next.insert(0, to);
                    }
                }
            }
            if let Some(mut at) = came_from.get(start).copied() {
                let mut way = vec![*start];
                while at != *start {
                    way.push(at);
                    at = came_from[at];
                }
                way.push(start);
                way.reverse();
                circles.push(way.join(" -> "));
            }
        }
        circles
    }
}

fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(ToOwned::to_owned).collect() }
}

/// The file that defines the item of a path; `None` for a path that ends at a module, or outside the crate.
fn defining(path: &[String], named: &BTreeMap<Module, Named>, hops: usize) -> Option<Module> {
    let (file, rest) =
        (0..=path.len()).rev().map(|end| path.split_at(end)).find(|(file, _)| named.contains_key(*file))?;
    let item = rest.first()?;
    match named[file].exports.get(item) {
        Some(target) if hops < 8 => {
            let target: Module = target.iter().chain(&rest[1..]).cloned().collect();
            defining(&target, named, hops + 1)
        }
        _ => Some(file.to_vec()),
    }
}

fn names(module: &Module, code: &str, codes: &BTreeMap<Module, (&str, &str)>) -> Named {
    let words = words(code);
    let mut named = Named::default();
    let mut imported: BTreeMap<String, Module> = BTreeMap::new();
    let mut at = 0;
    // Imports first: the rest of the code uses their names.
    let mut rest: Vec<&str> = Vec::new();
    while at < words.len() {
        if words[at] != "use" {
            rest.push(words[at]);
            at += 1;
            continue;
        }
        let end = at + words[at..].iter().position(|word| *word == ";").expect("the end of an import");
        let passes_on = take_visibility(&mut rest);
        for (path, name) in leaves(&words[at + 1..end]) {
            let Some(path) = absolute(&path, module, codes) else { continue };
            if passes_on {
                named.exports.insert(name, path);
            } else {
                imported.insert(name, path.clone());
                named.paths.insert(path);
            }
        }
        at = end + 1;
    }
    for (place, word) in rest.iter().enumerate() {
        let starts = is_name(word) && rest.get(place + 1) == Some(&"::");
        if !starts || (place > 0 && rest[place - 1] == "::") {
            continue;
        }
        let mut path = vec![(*word).to_owned()];
        let mut next = place + 1;
        while rest.get(next) == Some(&"::") && rest.get(next + 1).is_some_and(|word| is_name(word)) {
            path.push(rest[next + 1].to_owned());
            next += 2;
        }
        let path = match imported.get(*word) {
            Some(start) => Some(start.iter().chain(&path[1..]).cloned().collect()),
            None => absolute(&path, module, codes),
        };
        named.paths.extend(path);
    }
    named
}

/// Takes `pub` or `pub(…)` off the end. False where there is none.
fn take_visibility(words: &mut Vec<&str>) -> bool {
    let start = match words.last() {
        Some(&"pub") => Some(words.len() - 1),
        Some(&")") => words.iter().rposition(|word| *word == "(").and_then(|open| open.checked_sub(1)),
        _ => None,
    };
    match start.filter(|start| words[*start] == "pub") {
        Some(start) => {
            words.truncate(start);
            true
        }
        None => false,
    }
}

/// A path from the root of the crate on; `None` for one of another crate.
fn absolute(path: &[String], module: &Module, codes: &BTreeMap<Module, (&str, &str)>) -> Option<Module> {
    let first = path.first()?;
    let child: Module = module.iter().chain([first]).cloned().collect();
    match first.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some(module.iter().chain(&path[1..]).cloned().collect()),
        "super" => {
            let ups = path.iter().take_while(|name| *name == "super").count();
            let start = module.len().checked_sub(ups)?;
            Some(module[..start].iter().chain(&path[ups..]).cloned().collect())
        }
        _ if codes.contains_key(&child) => Some(module.iter().chain(path).cloned().collect()),
        _ => None,
    }
}

/// The paths of an import, each with the name that it gets.
fn leaves(words: &[&str]) -> Vec<(Vec<String>, String)> {
    fn tree(words: &[&str], at: &mut usize, start: &[String], found: &mut Vec<(Vec<String>, String)>) {
        let mut path = start.to_vec();
        let mut name = None;
        while *at < words.len() {
            let word = words[*at];
            match word {
                "{" => {
                    *at += 1;
                    while words.get(*at).is_some_and(|word| *word != "}") {
                        tree(words, at, &path, found);
                        if words.get(*at) == Some(&",") {
                            *at += 1;
                        }
                    }
                    *at += 1;
                    return;
                }
                "," | "}" => break,
                "as" => {
                    name = words.get(*at + 1).map(|word| (*word).to_owned());
                    *at += 1;
                }
                "self" if !path.is_empty() => {}
                "::" => {}
                word => path.push(word.to_owned()),
            }
            *at += 1;
        }
        let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
        found.push((path, name));
    }
    let mut found = Vec::new();
    tree(words, &mut 0, &[], &mut found);
    found
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The words of the code: names and numbers, `::`, and every other character by itself. Texts are left out.
fn words(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if is_name(rest) || first.is_ascii_digit() {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else if first == '"' {
            rest = after_text(&rest[1..]);
            continue;
        } else {
            first.len_utf8()
        };
        let (word, after) = rest.split_at(length);
        rest = after;
        if word == "r" && (rest.starts_with("#\"") || rest.starts_with('"')) {
            let hashes = rest.find('"').unwrap_or(0);
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &rest[hashes + 1..];
            rest = body.find(&end).map_or("", |at| &body[at + end.len()..]);
        } else if word == "'" && rest.starts_with("\"'") {
            rest = &rest[2..];
        } else if !first.is_whitespace() {
            words.push(word);
        }
    }
    words
}

/// What stands behind the end of a text.
fn after_text(text: &str) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}
