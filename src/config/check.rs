//! Checks whether numbers and words can work, each by itself and together. Texts that are more than a word (URLs,
//! files, addresses) are checked where they are read.

use toml::{Table, Value};

use crate::config::error::ConfigError;

const WEEK_MS: i64 = 7 * 24 * 3_600 * 1_000;
const YEAR_S: i64 = 365 * 24 * 3_600;
/// RabbitMQ accepts no larger message.
const LARGEST_MESSAGE: i64 = 512 * 1024 * 1024;
/// The largest of what is counted. It is a number that databases, JSON and arithmetic all keep.
const LARGEST: i64 = 1_000_000_000;

/// This is more than any person can ask for in an hour, and far from where sums overflow.
const LARGEST_PER_HOUR: i64 = 10_000_000_000;

/// Numbers with bounds of their own. Every other number has the bounds of its unit, from 1 on, because 0 is no time
/// and no place to work in, and to some servers it means that there is no limit.
const BOUNDS: &[(&str, i64, i64)] = &[
    ("database.pool_size", 1, 10_000),
    // The bounds are those of the types that AMQP has for these two.
    ("broker.heartbeat_s", 1, 3_600),
    ("broker.prefetch", 1, 65_535),
    // 0 switches these off.
    ("broker.check_interval_ms", 0, WEEK_MS),
    ("limits.pairs_per_hour", 0, LARGEST_PER_HOUR),
    ("limits.bytes_per_hour", 0, LARGEST_PER_HOUR),
    ("worker.lanes", 1, 1_000),
    ("worker.together", 1, 65_535),
    ("worker.request_concurrency", 1, 10_000),
    ("worker.step_concurrency", 1, 10_000),
    // Four batches wait in memory.
    ("relay.batch", 1, 100_000),
];

/// The first must be at most the second; the third says what is wrong otherwise.
const AT_MOST: &[(&str, &str, &str)] = &[
    (
        "database.lock_timeout_ms",
        "database.statement_timeout_ms",
        "a statement ends while it waits for a lock",
    ),
    (
        "database.statement_timeout_ms",
        "database.call_timeout_ms",
        "a call is given up while its statement runs",
    ),
    ("database.read_timeout_ms", "database.call_timeout_ms", "a call is given up while its statement runs"),
    ("worker.together", "broker.prefetch", "a worker has no more requests together than it holds"),
    ("worker.lane_lease_ms", "worker.lane_lease_max_ms", "a lease doubles from the one up to the other"),
    ("worker.slice_ms", "worker.lane_lease_ms", "a lane is taken for lost while it works"),
    ("worker.due_interval_ms", "worker.lane_lease_ms", "what is due is looked for too seldom"),
    ("relay.interval_ms", "relay.lease_ms", "what is due is looked for too seldom"),
    ("gateway.max_body_bytes", "limits.message_bytes", "a request becomes a message"),
];

const WORDS: &[(&str, &[&str])] = &[("auth.mode", &["demo", "proxy"]), ("log.format", &["text", "json"])];

/// Checks the numbers and words of all sections.
///
/// # Errors
/// One line that names the key, or both keys, and no value.
pub(super) fn check(settings: &Table) -> Result<(), ConfigError> {
    for (section, keys) in settings {
        check_section(section, keys)?;
    }
    for (smaller, larger, why) in AT_MOST {
        if let (Some(a), Some(b)) = (number(settings, smaller), number(settings, larger))
            && a > b
        {
            return Err(ConfigError(format!("{smaller} must be at most {larger}: otherwise {why}")));
        }
    }
    for (key, words) in WORDS {
        let word = find(settings, key).and_then(Value::as_str).unwrap_or_default();
        if !words.contains(&word) {
            return Err(ConfigError(format!("{key} must be {}", words.join(" or "))));
        }
    }
    Ok(())
}

fn check_section(name: &str, value: &Value) -> Result<(), ConfigError> {
    match value {
        Value::Table(keys) => {
            keys.iter().try_for_each(|(key, value)| check_section(&format!("{name}.{key}"), value))
        }
        Value::Integer(number) => check_number(name, *number),
        Value::Array(items) => items.iter().try_for_each(|item| match item {
            Value::Integer(number) => check_number(name, *number),
            _ => Ok(()),
        }),
        _ => Ok(()),
    }
}

fn check_number(key: &str, number: i64) -> Result<(), ConfigError> {
    let (least, most) = bounds(key);
    match number {
        number if number < least => Err(ConfigError(format!("{key} must be {least} or more"))),
        number if number > most => Err(ConfigError(format!("{key} must be {most} or less"))),
        _ => Ok(()),
    }
}

fn bounds(key: &str) -> (i64, i64) {
    match BOUNDS.iter().find(|(found, ..)| *found == key) {
        Some((_, least, most)) => (*least, *most),
        None if key.ends_with("_ms") => (1, WEEK_MS),
        None if key.ends_with("_s") => (1, YEAR_S),
        None if key.ends_with("_bytes") => (1, LARGEST_MESSAGE),
        None => (1, LARGEST),
    }
}

fn find<'a>(settings: &'a Table, key: &str) -> Option<&'a Value> {
    let (section, key) = key.split_once('.')?;
    match settings.get(section)? {
        Value::Table(keys) if key.contains('.') => find(keys, key),
        section => section.get(key),
    }
}

fn number(settings: &Table, key: &str) -> Option<i64> {
    find(settings, key)?.as_integer()
}
