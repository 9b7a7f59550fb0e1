//! Lays the layers of the settings over each other: the defaults, a file, the environment.
//!
//! Every key is in the defaults, and its default shows its type. So an error needs the key only, and never repeats a
//! value, since a password under a wrong key is a value, too.

use std::collections::HashMap;
use std::path::Path;

use toml::{Table, Value};

use crate::config::check::check;
use crate::config::error::ConfigError;
use crate::config::settings::Settings;

pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// How the name of a variable begins that sets something: BATCHSHARE__SECTION__KEY.
const PREFIX: &str = "batchshare__";

/// Reads defaults, file and environment as settings, with their numbers and words checked.
pub(super) fn read(
    file: Option<&Path>,
    environment: &HashMap<String, String>,
) -> Result<Settings, ConfigError> {
    let defaults = parse(DEFAULTS, "config/default.toml")?;
    let mut settings = defaults.clone();
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("cannot read {name}: {error}")))?;
        // Some editors write a byte order mark, which is not a part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        lay(&mut settings, &defaults, parse(text, &name)?, &name, "")?;
    }
    let mut names: Vec<&String> = environment.keys().collect();
    names.sort();
    for name in names {
        let lower = name.to_lowercase();
        if let Some(key) = lower.strip_prefix(PREFIX) {
            from_environment(&mut settings, &defaults, name, &key.replace("__", "."), &environment[name])?;
        }
    }
    check(&settings)?;
    // Nothing is left that could be wrong. If there were something, serde's text would quote a value, so it is not
    // passed on.
    settings.try_into().map_err(|_| ConfigError("a value is of a wrong type or out of range".to_owned()))
}

/// The default of a setting that is a text.
pub(super) fn default_text(section: &str, key: &str) -> Result<String, ConfigError> {
    let defaults = parse(DEFAULTS, "config/default.toml")?;
    let found = defaults.get(section).and_then(|section| section.get(key)).and_then(Value::as_str);
    Ok(found.unwrap_or_default().to_owned())
}

/// Reads TOML. The parser's own texts quote the line, so only the number of the line is told.
fn parse(text: &str, name: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.as_bytes().get(..at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError(format!(
            "{name}, line {line}: this is not TOML; it must be [section], key = \"text\", key = number, \
             key = [list], each key once"
        ))
    })
}

/// Lays `over` over `settings`. Both the key and its type must be known.
fn lay(
    settings: &mut Table,
    known: &Table,
    over: Table,
    name: &str,
    section: &str,
) -> Result<(), ConfigError> {
    for (key, value) in over {
        let full = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        let Some(default) = known.get(&key) else {
            return Err(ConfigError(format!("{name}: unknown key {full}{}", meant(known, &key))));
        };
        match (default, value) {
            (Value::Table(known), Value::Table(over)) => {
                if let Some(Value::Table(settings)) = settings.get_mut(&key) {
                    lay(settings, known, over, name, &full)?;
                }
            }
            (default, value) if fits(default, &value) => {
                settings.insert(key, value);
            }
            (default, _) => {
                return Err(ConfigError(format!("{name}: {full} must be {}", kind(default))));
            }
        }
    }
    Ok(())
}

/// Suggests a key that looks like the one that was written.
fn meant(known: &Table, key: &str) -> String {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let same = known.keys().find(|other| plain(other) == plain(key));
    same.map_or_else(String::new, |other| format!("; is {other} meant?"))
}

fn fits(default: &Value, value: &Value) -> bool {
    match (default, value) {
        (Value::Array(default), Value::Array(values)) => {
            values.iter().all(|value| fits(&item(default), value))
        }
        (Value::Integer(_), Value::Integer(number)) => *number >= 0,
        (default, value) => default.same_type(value),
    }
}

/// An example of a list's items: the first of its default, or a text if the default is empty.
fn item(default: &[Value]) -> Value {
    default.first().cloned().unwrap_or_else(|| Value::String(String::new()))
}

fn kind(default: &Value) -> &'static str {
    match default {
        Value::Integer(_) => "a whole number, 0 or more",
        Value::Boolean(_) => "true or false",
        Value::Float(_) => "a number",
        Value::Array(items) if item(items).is_integer() => "a list of whole numbers",
        Value::Array(_) => "a list of texts",
        Value::Table(_) => "a section, not a value",
        _ => "a text",
    }
}

fn from_environment(
    settings: &mut Table,
    known: &Table,
    variable: &str,
    key: &str,
    text: &str,
) -> Result<(), ConfigError> {
    let unknown =
        || ConfigError(format!("the environment variable {variable} names no setting: {key} is unknown"));
    let (sections, last) = key.rsplit_once('.').ok_or_else(unknown)?;
    let (mut place, mut known) = (settings, known);
    for section in sections.split('.') {
        place = place.get_mut(section).and_then(Value::as_table_mut).ok_or_else(unknown)?;
        known = known.get(section).and_then(Value::as_table).ok_or_else(unknown)?;
    }
    let default = known.get(last).ok_or_else(unknown)?;
    let parsed = match default {
        Value::Array(items) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(|part| value(&item(items), part)).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        default => value(default, text),
    };
    let wrong =
        || ConfigError(format!("the environment variable {variable}: {key} must be {}", kind(default)));
    place.insert(last.to_owned(), parsed.ok_or_else(wrong)?);
    Ok(())
}

fn value(default: &Value, text: &str) -> Option<Value> {
    match default {
        Value::Integer(_) => {
            let number = text.trim().parse::<i64>().ok()?;
            (number >= 0).then_some(Value::Integer(number))
        }
        Value::Boolean(_) => text.trim().to_lowercase().parse().ok().map(Value::Boolean),
        Value::Float(_) => text.trim().parse().ok().map(Value::Float),
        Value::String(_) => Some(Value::String(text.to_owned())),
        _ => None,
    }
}
