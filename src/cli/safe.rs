//! Makes text from outside safe for a terminal, which would obey some characters.

use std::fmt::Write as _;

use crate::domain::text::is_hidden;

/// Whether a character is a control character, with which escape sequences begin, or hides text or reverses it.
fn is_unsafe(c: char) -> bool {
    c.is_control() || is_hidden(c)
}

/// A text of ours that has names from outside in it. Its line breaks and tabs stay.
pub(super) fn lines(text: &str) -> String {
    escaped(text, |c| is_unsafe(c) && c != '\n' && c != '\t')
}

/// A text from outside on one line. A backslash is escaped, too, so that two different texts never look the same.
pub(super) fn one_line(text: &str) -> String {
    escaped(text, |c| is_unsafe(c) || c == '\\')
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// Bytes from outside as lines. Bytes that are no UTF-8 are shown like `\xff`. Long lines are not cut.
pub(super) fn body(bytes: &[u8]) -> Vec<String> {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        safe.push_str(&escaped(chunk.valid(), |c| (is_unsafe(c) && c != '\n') || c == '\\'));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\x{byte:02x}");
        }
    }
    safe.split('\n').map(ToOwned::to_owned).collect()
}

/// The text of a JSON document. It stays the same document: JSON has an escape for every character, and characters that
/// are unsafe can only be in its strings.
pub(super) fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "a\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}b\r\u{8}\u{7f}é\u{e0041}";

    fn assert_safe(text: &str) {
        assert!(!text.chars().any(is_unsafe), "{text:?}");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for text in [lines(EVIL), one_line(EVIL), body(EVIL.as_bytes()).concat()] {
            assert_safe(&text);
            assert!(text.starts_with(r"a\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}b\r\u{8}\u{7f}é"), "{text}");
        }
        assert_eq!(one_line("a\nb\\n"), r"a\nb\\n");
        assert_eq!(lines("a\tb\n"), "a\tb\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_bytes() {
        assert_eq!(body(b"a\xff\xfe\0b\nc\\"), [r"a\xff\xfe\u{0}b", r"c\\"]);
        assert_eq!(body(b""), [""]);
    }

    #[test]
    fn json_stays_the_same_document() {
        let value = serde_json::json!({ "é": EVIL });
        let text = json(&value.to_string());
        assert_safe(&text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
    }
}
