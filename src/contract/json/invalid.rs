//! What is wrong with a document, in words that name the field and never repeat a value.

use std::borrow::Cow;

use crate::domain::text::is_hidden;

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

/// What is wrong with a member that stands in its object twice: nobody knows which of the two was meant.
pub(in crate::contract) const CAME_TWICE: &str = "came more than once";

/// What is wrong with a member that no contract has: what it was to do would be lost without a word.
pub(in crate::contract) const UNKNOWN: &str = "is not a field that can be set";

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Only the place is told, because serde_json's own text may repeat a value.
    #[error("not JSON at line {line} column {column}")]
    NotJson { line: usize, column: usize },
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// What is wrong with a value, to be read after its path.
pub(in crate::contract) type Problem = Cow<'static, str>;

/// How many characters of a sender's name for a field are shown.
const SHOWN: usize = 100;

/// The name of a field as an error shows it. A name that we do not know is the sender's own text. It is shortened, so
/// that it cannot fill a log, and escaped, so that it cannot steer a terminal or reverse the text behind it.
pub(in crate::contract) fn shown(name: &str) -> Cow<'_, str> {
    let hides = |c: char| c.is_control() || is_hidden(c);
    if name.len() <= SHOWN && !name.chars().any(hides) {
        return Cow::Borrowed(name);
    }
    let mut text = String::new();
    for c in name.chars().take(SHOWN) {
        if hides(c) { text.extend(c.escape_unicode()) } else { text.push(c) }
    }
    Cow::Owned(text)
}
