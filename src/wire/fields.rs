//! Reading JSON values field by field, with errors that name the field.

use serde_json::{Map, Value};

use crate::domain::ids::MAX_ID;

/// A field that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Invalid {
    /// Its path, like `data.recipients[1].kind`.
    pub field: String,
    /// What is wrong, to be read after the path. Never holds the value.
    pub problem: String,
}

impl Invalid {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// An object and the path to it.
pub(super) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value, path: &str) -> Result<Self, Invalid> {
        let map = value.as_object().ok_or_else(|| Invalid::new(or_root(path), "must be an object"))?;
        Ok(Self { path: path.to_owned(), map })
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether the field is there, be it null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Holds the names against those that are known.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Invalid> {
        match self.map.keys().find(|name| !known.contains(&name.as_str())) {
            // The name is the sender's own text: shortened, it cannot fill a log.
            Some(name) => {
                Err(Invalid::new(self.path(&format!("{name:.100}")), "is not a field that can be set"))
            }
            None => Ok(()),
        }
    }

    /// The value; `None` where it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a Value, Invalid> {
        self.get(name).ok_or_else(|| Invalid::new(self.path(name), "is missing"))
    }

    pub(super) fn object(&self, name: &str) -> Result<Fields<'a>, Invalid> {
        Fields::of(self.required(name)?, &self.path(name))
    }

    pub(super) fn id<T: TryFrom<i64>>(&self, name: &str) -> Result<T, Invalid> {
        id(self.required(name)?, &self.path(name))
    }

    /// An array of ids; empty where it is absent.
    pub(super) fn ids<T: TryFrom<i64>>(&self, name: &str) -> Result<Vec<T>, Invalid> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let path = self.path(name);
        let items = value.as_array().ok_or_else(|| Invalid::new(&path, "must be an array of ids"))?;
        items.iter().enumerate().map(|(index, item)| id_at(item, &path, index)).collect()
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Invalid> {
        self.get(name)
            .map(|value| {
                value.as_bool().ok_or_else(|| Invalid::new(self.path(name), "must be true or false"))
            })
            .transpose()
    }

    /// A text without control characters (neither database's business, and PostgreSQL keeps no NUL).
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Invalid> {
        self.get(name).map(|value| text(value, &self.path(name), false)).transpose()
    }

    /// A text that may have line breaks and tabs.
    pub(super) fn long_text(&self, name: &str) -> Result<Option<String>, Invalid> {
        self.get(name).map(|value| text(value, &self.path(name), true)).transpose()
    }

    /// A text that is there and not empty.
    pub(super) fn required_text(&self, name: &str) -> Result<String, Invalid> {
        let path = self.path(name);
        let text = text(self.required(name)?, &path, false)?;
        if text.is_empty() { Err(Invalid::new(path, "must not be empty")) } else { Ok(text) }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Invalid> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let path = self.path(name);
        let items = value.as_array().ok_or_else(|| Invalid::new(&path, "must be an array of texts"))?;
        items.iter().enumerate().map(|(index, item)| text(item, &format!("{path}[{index}]"), false)).collect()
    }
}

fn or_root(path: &str) -> &str {
    if path.is_empty() { "the document" } else { path }
}

/// The longest text of one field, in bytes. Notes and searches of people are far below.
const MAX_TEXT: usize = 16 * 1024;

fn text(value: &Value, path: &str, lines: bool) -> Result<String, Invalid> {
    let text = value.as_str().ok_or_else(|| Invalid::new(path, "must be a text"))?;
    if text.chars().any(|c| c.is_control() && !(lines && matches!(c, '\n' | '\r' | '\t'))) {
        return Err(Invalid::new(path, "must not contain control characters"));
    }
    if text.len() > MAX_TEXT {
        return Err(Invalid::new(path, format!("must not be longer than {MAX_TEXT} bytes")));
    }
    Ok(text.to_owned())
}

fn id<T: TryFrom<i64>>(value: &Value, path: &str) -> Result<T, Invalid> {
    value
        .as_i64()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| Invalid::new(path, format!("must be an integer from 1 to {MAX_ID}")))
}

/// Builds the path only where it is needed: a request may have 100,000 ids.
pub(super) fn id_at<T: TryFrom<i64>>(value: &Value, path: &str, index: usize) -> Result<T, Invalid> {
    match value.as_i64().map(T::try_from) {
        Some(Ok(id)) => Ok(id),
        _ => id(value, &format!("{path}[{index}]")),
    }
}
