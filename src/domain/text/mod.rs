//! Texts: what may stand in a name, and when two texts are the same.
//!
//! Both are decided here and not by a database, so that PostgreSQL and SQLite agree. A text is looked at in two forms:
//! - its **normal form** (Unicode's NFC): names, tags and identifiers are kept and compared in it, so that a
//!   letter with its accent is one text however a keyboard composed it;
//! - its **fold**, without case and without accents, which searches and the order of names use.

use std::borrow::Cow;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;
use url::Url;

use crate::domain::ids::MAX_ID;

const COMPOSED: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();
const DECOMPOSED: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfd();

/// How long texts may be, in characters. Only a client secret is measured in bytes.
pub const MAX_NAME: usize = 200;
pub const MAX_USERNAME: usize = 200;
pub const MAX_EMAIL: usize = 320;
pub const MAX_URL: usize = 2_000;
pub const MAX_IDENTIFIER: usize = 200;
pub const MAX_TAG: usize = 60;
pub const MAX_NOTES: usize = 10_000;
pub const MAX_NOTE: usize = 500;
pub const MAX_CLIENT_ID: usize = 500;
pub const MAX_CLIENT_SECRET_BYTES: usize = 16 * 1024;
pub const MAX_SEARCH: usize = 200;
/// How many words a search may have. Each word costs time, since it is looked for in every row that has the words
/// before.
pub const MAX_WORDS: usize = 16;

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Ends each folded copy that is stored. A copy that an older program wrote has no tab anywhere. So it is recognised
/// and folded again.
const FOLDED_MARK: &str = "\n\t";

/// What is wrong with a text, to be read after the name of its field. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("must not be empty")]
    Empty,
    #[error("must not be blank")]
    Blank,
    #[error("must not begin or end with white space")]
    Untrimmed,
    #[error("must not contain control characters")]
    Control,
    #[error(
        "must not contain characters that nobody sees or that turn the direction of text (it has U+{0:04X})"
    )]
    Hidden(u32),
    #[error("must be in Unicode's normal form NFC")]
    NotNormal,
    #[error("must not be longer than {0} characters")]
    TooLong(usize),
    #[error("must not be longer than {0} bytes")]
    TooManyBytes(usize),
    #[error("must not be more than {0} words")]
    TooManyWords(usize),
    #[error("must be an http or https address with a host")]
    NotUrl,
    #[error("must be GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS")]
    NotMethod,
}

/// The text in its normal form.
#[must_use]
pub fn normal(text: &str) -> Cow<'_, str> {
    if text.is_ascii() { Cow::Borrowed(text) } else { COMPOSED.normalize(text) }
}

/// The text without case and without accents. It is decomposed, loses its accents and all that nobody sees, becomes
/// lower case by way of upper case (which makes ß ss, a ligature its letters and each sigma the same), and is
/// composed again. Folding a folded text changes nothing.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut cased = String::with_capacity(text.len());
    for c in DECOMPOSED.normalize(text).chars().filter(|c| !is_mark(*c)) {
        if c.is_ascii() {
            cased.push(c.to_ascii_lowercase());
        } else {
            cased.extend(c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase));
        }
    }
    if cased.is_ascii() {
        return cased;
    }
    // A few letters have an accent only in one of the cases.
    let bare: String = DECOMPOSED.normalize(&cased).chars().filter(|c| !is_mark(*c)).collect();
    COMPOSED.normalize(&bare).into_owned()
}

/// Whether a character is an accent, or makes no difference to somebody who looks for a text.
fn is_mark(c: char) -> bool {
    // An iota below a letter counts as a letter, because in upper case it stands beside the other.
    !c.is_ascii()
        && c != '\u{345}'
        && !c.is_whitespace()
        && (is_hidden(c)
            || matches!(
                CodePointMapData::<GeneralCategory>::new().get(c),
                GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
            ))
}

/// Whether a character is invisible and changes what is seen of others: it reverses their direction, joins or separates
/// them, or fills a place that looks empty. Selectors of a variant, which names in Japanese have, are not among them.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
}

/// The words of a search, folded and without duplicates. All of them have to be found. A search without words finds
/// everything.
#[must_use]
pub fn words(search: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in search.split_whitespace() {
        let folded = fold(word);
        // A word of accents alone folds to the empty text, which would be found everywhere. Unfolded it is found
        // nowhere.
        let folded = if folded.is_empty() { word.to_owned() } else { folded };
        if !words.contains(&folded) {
            words.push(folded);
        }
    }
    words
}

/// The id that a word of a search stands for, if it looks like one.
#[must_use]
pub fn id_of(word: &str) -> Option<i64> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && !word.starts_with('0');
    word.parse().ok().filter(|id| is_plain && (1..=MAX_ID).contains(id))
}

/// The copy of a secret's texts in which searches look, and by whose beginning secrets are ordered: the name, the
/// identifier and the URL, folded, with a line for each.
#[must_use]
pub fn secret_search_text(name: &str, identifier: Option<&str>, url: &str) -> String {
    fold(&format!("{name}\n{}\n{url}{FOLDED_MARK}", identifier.unwrap_or_default()))
}

/// As [`secret_search_text`], of a person: name, username and e-mail address.
#[must_use]
pub fn person_search_text(name: &str, username: &str, email: &str) -> String {
    fold(&format!("{name}\n{username}\n{email}{FOLDED_MARK}"))
}

/// As [`secret_search_text`], of a group: its name.
#[must_use]
pub fn group_search_text(name: &str) -> String {
    fold(&format!("{name}{FOLDED_MARK}"))
}

/// A name of a person, a group or a secret, in its normal form.
///
/// # Errors
/// What is wrong with it.
pub fn name(text: &str) -> Result<String, TextError> {
    line(text, MAX_NAME)
}

/// A username. Usernames are compared exactly, so one whose kept form would be another text is refused.
///
/// # Errors
/// What is wrong with it.
pub fn username(text: &str) -> Result<String, TextError> {
    if let Some(hidden) = text.chars().find(|c| is_hidden(*c)) {
        return Err(TextError::Hidden(hidden.into()));
    }
    if normal(text) != text {
        return Err(TextError::NotNormal);
    }
    line(text, MAX_USERNAME)
}

/// An e-mail address; empty where there is none.
///
/// # Errors
/// What is wrong with it.
pub fn email(text: &str) -> Result<String, TextError> {
    line_or_empty(text, MAX_EMAIL)
}

/// A user's own identifier of a secret; empty where there is none.
///
/// # Errors
/// What is wrong with it.
pub fn identifier(text: &str) -> Result<String, TextError> {
    line_or_empty(text, MAX_IDENTIFIER)
}

/// A tag, in its normal form.
///
/// # Errors
/// What is wrong with it.
pub fn tag(text: &str) -> Result<String, TextError> {
    line(text, MAX_TAG)
}

/// An address of an API: http or https, with a host.
///
/// # Errors
/// What is wrong with it.
pub fn url(text: &str) -> Result<String, TextError> {
    let text = line(text, MAX_URL)?;
    let is_web = text.split_once("://").is_some_and(|(scheme, rest)| {
        let is_web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
        // Where the host is empty, a browser takes the next part of the path for the host.
        is_web && !rest.starts_with(['/', '\\'])
    });
    let has_host = Url::parse(&text).is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    if is_web && has_host { Ok(text) } else { Err(TextError::NotUrl) }
}

/// An HTTP method, in upper case; empty where there is none.
///
/// # Errors
/// Where it is none that is known.
pub fn method(text: &str) -> Result<String, TextError> {
    let upper = text.to_ascii_uppercase();
    if upper.is_empty() || METHODS.contains(&upper.as_str()) { Ok(upper) } else { Err(TextError::NotMethod) }
}

/// Notes, as they are: they may have line breaks and tabs.
///
/// # Errors
/// What is wrong with them.
pub fn notes(text: &str) -> Result<String, TextError> {
    long(text, MAX_NOTES)
}

/// What a requester tells the recipients of a share, on one line and in its normal form; empty where there is nothing
/// to tell. Others read it, so it must not look like another text than it is.
///
/// # Errors
/// What is wrong with it.
pub fn note(text: &str) -> Result<String, TextError> {
    line_or_empty(text, MAX_NOTE)
}

/// A client ID. A machine made it, so it is kept as it is.
///
/// # Errors
/// What is wrong with it.
pub fn client_id(text: &str) -> Result<String, TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    long(text, MAX_CLIENT_ID)
}

/// Checks a client secret. A machine made it, and it may have several lines.
///
/// # Errors
/// What is wrong with it.
pub fn client_secret(text: &str) -> Result<(), TextError> {
    if text.len() > MAX_CLIENT_SECRET_BYTES {
        return Err(TextError::TooManyBytes(MAX_CLIENT_SECRET_BYTES));
    }
    if text.chars().any(is_control_in_lines) { Err(TextError::Control) } else { Ok(()) }
}

/// Checks a search, which is kept as it is.
///
/// # Errors
/// What is wrong with it.
pub fn search(text: &str) -> Result<(), TextError> {
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    if text.chars().count() > MAX_SEARCH {
        return Err(TextError::TooLong(MAX_SEARCH));
    }
    if words(text).len() > MAX_WORDS { Err(TextError::TooManyWords(MAX_WORDS)) } else { Ok(()) }
}

/// Checks a tag that is looked for. It is kept as it is, so that tags from before today's rules are still found.
///
/// # Errors
/// What is wrong with it.
pub fn tag_search(text: &str) -> Result<(), TextError> {
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    if normal(text).chars().count() > MAX_TAG { Err(TextError::TooLong(MAX_TAG)) } else { Ok(()) }
}

fn line_or_empty(text: &str, max: usize) -> Result<String, TextError> {
    if text.is_empty() { Ok(String::new()) } else { line(text, max) }
}

/// A text on one line that people read and compare.
fn line(text: &str, max: usize) -> Result<String, TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    if let Some(hidden) = hidden_in(text) {
        return Err(TextError::Hidden(hidden.into()));
    }
    let trimmed = text.trim();
    // The Braille pattern without dots looks like a space and does not count as one.
    if trimmed.chars().all(|c| c.is_whitespace() || c == '\u{2800}') {
        return Err(TextError::Blank);
    }
    if trimmed.len() != text.len() {
        return Err(TextError::Untrimmed);
    }
    let text = normal(text);
    if text.chars().count() > max {
        return Err(TextError::TooLong(max));
    }
    Ok(text.into_owned())
}

/// The first character that must not be in a line. A joiner may stand between two characters that are not ASCII,
/// because some scripts are written with it (Persian, Hindi, families of emoji).
fn hidden_in(text: &str) -> Option<char> {
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_joiner = matches!(c, '\u{200c}' | '\u{200d}');
        let written = |c: char| !c.is_ascii() && !c.is_whitespace() && !is_hidden(c);
        if is_hidden(c)
            && !(is_joiner && before.is_some_and(written) && rest.peek().copied().is_some_and(written))
        {
            return Some(c);
        }
        before = Some(c);
    }
    None
}

fn is_control_in_lines(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

fn long(text: &str, max: usize) -> Result<String, TextError> {
    if text.chars().any(is_control_in_lines) {
        return Err(TextError::Control);
    }
    if text.chars().count() > max { Err(TextError::TooLong(max)) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests;
