//! Reads a JSON document into a struct, and says in our own words which field of it is wrong.
//!
//! Structs are read by serde's derive. A document that is good is read once, straight from its bytes. Only one that is
//! wrong is read a second time, by way of `serde_path_to_error`, which tells where the fault is. What serde says about
//! the fault may repeat a value, and a value may be a secret. So its text is told apart by its first words and is
//! never passed on.

use serde::Deserialize;
use serde_path_to_error::{Path, Segment};

use crate::contract::json::invalid::{CAME_TWICE, Invalid, UNKNOWN, Unread, shown};
use crate::contract::json::object::Object;
use crate::contract::json::value::{Anything, Checked, LONG_NAME, NULL, REFUSED};

/// Reads a document that is one object. `root` stands before each path in an error; it may be empty. A byte order
/// mark at the beginning is skipped.
///
/// # Errors
/// Where the document is not JSON, or which of its fields is wrong.
pub(in crate::contract) fn document<'de, T: Deserialize<'de>>(
    body: &'de [u8],
    root: &str,
) -> Result<T, Unread> {
    value::<Object<T>>(body, root).map(|object| object.0.0)
}

/// Reads a document of any kind, as [`document`] reads an object.
///
/// # Errors
/// As [`document`].
pub(in crate::contract) fn value<'de, T: Deserialize<'de>>(body: &'de [u8], root: &str) -> Result<T, Unread> {
    let body = without_mark(body);
    let error = match serde_json::from_slice(body) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if !error.is_data() {
        return Err(Unread::NotJson { line: error.line(), column: error.column() });
    }
    // A name without end is told without its path: serde_path_to_error would keep two copies of it.
    if let Some(name) = without_place(&error.to_string()).strip_prefix(LONG_NAME) {
        return Err(Invalid::new(member(root, &shown(name)), UNKNOWN).into());
    }
    drop(error);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(value) => Ok(value),
        Err(error) => Err(invalid(root, error.path(), &error.inner().to_string()).into()),
    }
}

/// Holds a document against every rule of JSON, and against no other rule.
///
/// # Errors
/// Where it is not JSON.
pub(in crate::contract) fn well_formed(body: &[u8]) -> Result<(), Unread> {
    value::<Checked<Anything>>(body, "").map(drop)
}

/// The bytes without a UTF-8 byte order mark before them: some editors and SDKs write one.
pub(in crate::contract) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// The path of a member of the object at `root`.
pub(in crate::contract) fn member(root: &str, name: &str) -> String {
    if root.is_empty() { name.to_owned() } else { format!("{root}.{name}") }
}

/// The fault in our own words. `text` is serde's: either one that we gave it, or one whose first words are fixed.
fn invalid(root: &str, path: &Path, text: &str) -> Invalid {
    let text = without_place(text);
    let mut field = field(root, path);
    // These name a field of ours, between backticks.
    for (words, problem) in [("duplicate field `", CAME_TWICE), ("missing field `", "is missing")] {
        if let Some(name) = text.strip_prefix(words) {
            return Invalid::new(member(&field, name.trim_end_matches('`')), problem);
        }
    }
    let is_item = matches!(path.iter().next_back(), Some(Segment::Seq { .. }));
    let problem = if let Some(problem) = text.strip_prefix(REFUSED) {
        problem
    } else if let Some(problem) = text.strip_prefix(NULL) {
        // A member that is null is as good as absent. An item of a list cannot be absent.
        if is_item || field.is_empty() { problem } else { "is missing" }
    } else if text.starts_with("unknown field `") {
        UNKNOWN
    } else {
        "is not valid"
    };
    if field.is_empty() {
        field.push_str("the document");
    }
    Invalid::new(field, problem)
}

/// The text of an error without the place that serde_json puts behind it.
fn without_place(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(text, _)| text)
}

fn field(root: &str, path: &Path) -> String {
    let mut field = root.to_owned();
    for segment in path {
        match segment {
            Segment::Seq { index } => field.push_str(&format!("[{index}]")),
            Segment::Map { key } | Segment::Enum { variant: key } => field = member(&field, &shown(key)),
            Segment::Unknown => {}
        }
    }
    field
}
