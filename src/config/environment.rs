//! The settings that are in the environment of the process.
//!
//! Names and values of an environment are bytes, and need not be text. What others have put there is not looked at.
//! What is meant for us and cannot be read is an error, which names the variable and never repeats its value.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use crate::config::error::ConfigError;

/// The beginning of the names of our variables. It may be in any case, because case does not matter in these names.
const PREFIX: &[u8] = b"BATCHSHARE__";

/// The variables that set something.
///
/// # Errors
/// Which of them is not UTF-8.
pub(super) fn settings(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> Result<HashMap<String, String>, ConfigError> {
    let mut found = HashMap::new();
    for (name, value) in all.filter(|(name, _)| is_ours(name)) {
        let not_text = |what: &str, name: &OsStr| {
            let name = name.as_encoded_bytes().escape_ascii();
            ConfigError(format!("the {what} of the environment variable {name} is not UTF-8"))
        };
        let name = name.into_string().map_err(|name| not_text("name", &name))?;
        let value = value.into_string().map_err(|_| not_text("value", OsStr::new(&name)))?;
        found.insert(name, value);
    }
    Ok(found)
}

fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn read(variables: &[(&[u8], &[u8])]) -> Result<HashMap<String, String>, String> {
        let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        settings(variables.iter().map(|(name, value)| (os(name), os(value)))).map_err(|error| error.0)
    }

    #[test]
    fn what_is_not_ours_may_be_anything() {
        let all: [(&[u8], &[u8]); 4] =
            [(b"BAD", b"\xa3"), (b"\xff", b"x"), (b"BATCHSHARE_TEST", b"\xa3"), (b"batchshare__a__b", b"c")];
        assert_eq!(read(&all), Ok([("batchshare__a__b".to_owned(), "c".to_owned())].into()));
    }

    #[test]
    fn what_is_ours_and_no_text_is_named_and_not_repeated() {
        let value = read(&[(b"BATCHSHARE__DATABASE__URL", b"secret\xa3")]).expect_err("no text");
        assert_eq!(value, "the value of the environment variable BATCHSHARE__DATABASE__URL is not UTF-8");
        let name = read(&[(b"BATCHSHARE__\xa3\x1b", b"secret")]).expect_err("no text");
        assert_eq!(name, r"the name of the environment variable BATCHSHARE__\xa3\x1b is not UTF-8");
    }
}
