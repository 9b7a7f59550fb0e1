//! Writing to stdout and stderr without a panic when nobody reads.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use crate::cli::{Failure, safe};

/// Writes one line of a result. Names in it come from outside, so what a terminal would obey is escaped.
pub(super) fn line(text: impl Display) -> Result<(), Failure> {
    bytes(format!("{}\n", safe::lines(&text.to_string())).as_bytes())
}

/// Writes a JSON document on one line.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::failed(format!("cannot write the result: {error}")))?;
    bytes(format!("{}\n", safe::json(&text)).as_bytes())
}

/// Writes bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::closed_pipe(),
        _ => Failure::failed(format!("cannot write the result: {error}")),
    })
}

/// A listing as every `--json` has it.
#[derive(Serialize)]
struct Listing<T, C> {
    items: Vec<T>,
    next_cursor: Option<C>,
}

/// Writes a listing.
pub(super) fn listing<T: Serialize, C: Serialize>(
    items: Vec<T>,
    next_cursor: Option<C>,
) -> Result<(), Failure> {
    json(&Listing { items, next_cursor })
}

/// Writes a message for a person. Where stderr is closed, there is nobody to tell.
pub(super) fn message(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", safe::lines(text));
}

/// A count as people read it, like 1,200.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of things, like 1 user or 1,200 users.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_is_not_many() {
        for (count, text) in [(0, "0 users"), (1, "1 user"), (1_001, "1,001 users")] {
            assert_eq!(crate::cli::out::counted(count, "user"), text);
        }
    }

    #[test]
    fn counts_have_a_comma_every_three_digits() {
        for (count, text) in [(0, "0"), (999, "999"), (1_200, "1,200"), (10_000_000, "10,000,000")] {
            assert_eq!(crate::cli::out::grouped(count), text);
        }
    }
}
