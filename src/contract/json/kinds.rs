//! The values of our documents that are not structs: ids, numbers, texts by their rules, lists.

use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::SeqAccess;

use crate::contract::json::invalid::Problem;
use crate::contract::json::value::{Checked, Kind};
use crate::domain::text::TextError;
use crate::domain::{JobId, MAX_ID, PrincipalId, SecretId};

pub(in crate::contract) const MUST_BE_A_TEXT: &str = "must be a text";

/// The longest text of one field, in bytes, where it has no rule of its own (see [`Kept`]).
const MAX_TEXT: usize = 16 * 1024;

/// Holds a text against the rules for every text that has none of its own.
///
/// # Errors
/// Where it has control characters (PostgreSQL cannot keep NUL, and nobody needs the others), or is too long.
pub(in crate::contract) fn line(text: &str) -> Result<&str, Problem> {
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    if text.len() > MAX_TEXT {
        return Err(format!("must not be longer than {MAX_TEXT} bytes").into());
    }
    Ok(text)
}

/// As [`line()`], for a text that says something.
///
/// # Errors
/// As [`line()`], and where it is empty.
pub(in crate::contract) fn filled(text: &str) -> Result<&str, Problem> {
    if text.is_empty() { Err("must not be empty".into()) } else { line(text) }
}

/// A text without control characters.
pub(in crate::contract) struct Line(pub(in crate::contract) String);

impl Kind<'_> for Line {
    const MUST: &'static str = MUST_BE_A_TEXT;

    fn text(text: &str) -> Result<Self, Problem> {
        line(text).map(|text| Self(text.to_owned()))
    }
}

/// The rule of a text that is kept: it checks the text and returns the form in which it is kept.
pub(in crate::contract) trait Rule {
    const READ: fn(&str) -> Result<String, TextError>;
}

/// A text by a rule of its own.
pub(in crate::contract) type Text<R> = Checked<Kept<R>>;

/// The text of a [`Text`], in the form in which it is kept.
pub(in crate::contract) struct Kept<R>(String, PhantomData<R>);

impl<R: Rule> Kind<'_> for Kept<R> {
    const MUST: &'static str = MUST_BE_A_TEXT;

    fn text(text: &str) -> Result<Self, Problem> {
        (R::READ)(text).map(|text| Self(text, PhantomData)).map_err(|error| error.to_string().into())
    }
}

impl<R> From<Text<R>> for String {
    fn from(text: Text<R>) -> Self {
        text.0.0
    }
}

impl Kind<'_> for bool {
    const MUST: &'static str = MUST_BE_TRUE_OR_FALSE;

    fn boolean(value: bool) -> Result<Self, Problem> {
        Ok(value)
    }
}

pub(in crate::contract) const MUST_BE_TRUE_OR_FALSE: &str = "must be true or false";

/// A number of a run, lane or turn.
impl Kind<'_> for i32 {
    const MUST: &'static str = "must be a number";

    fn integer(number: i64) -> Result<Self, Problem> {
        Self::try_from(number).or_else(|_| Self::other())
    }
}

/// How many of something there are: from 0 to the largest number that every reader of JSON holds exactly.
pub(in crate::contract) struct Count(pub(in crate::contract) u64);

impl Kind<'_> for Count {
    const MUST: &'static str = "must be an integer from 0 to 9007199254740991";

    fn integer(number: i64) -> Result<Self, Problem> {
        let count = u64::try_from(number).ok().filter(|_| number <= MAX_ID);
        count.map(Self).ok_or_else(|| Self::MUST.into())
    }
}

/// Of [`crate::domain::MAX_ID`]; a test holds the two together.
const MUST_BE_AN_ID: &str = "must be an integer from 1 to 9007199254740991";

impl Kind<'_> for PrincipalId {
    const MUST: &'static str = MUST_BE_AN_ID;

    fn integer(number: i64) -> Result<Self, Problem> {
        Self::new(number).ok_or_else(|| Self::MUST.into())
    }
}

impl Kind<'_> for SecretId {
    const MUST: &'static str = MUST_BE_AN_ID;

    fn integer(number: i64) -> Result<Self, Problem> {
        Self::new(number).ok_or_else(|| Self::MUST.into())
    }
}

impl Kind<'_> for JobId {
    const MUST: &'static str = MUST_BE_A_TEXT;

    fn text(text: &str) -> Result<Self, Problem> {
        filled(text)?.parse().map_err(|()| MUST_BE_A_UUID.into())
    }
}

pub(in crate::contract) const MUST_BE_A_UUID: &str = "must be a UUID";

/// An array of ids. The ids that came before may be sorted and their duplicates dropped, so that a list that names
/// the same secret a million times takes no more memory than the message does.
pub(in crate::contract) struct Ids<T>(pub(in crate::contract) Vec<T>);

/// So many ids are kept in the order in which they come.
const UNSORTED: usize = 64 * 1024;

impl<'de, T: Kind<'de> + Ord> Kind<'de> for Ids<T> {
    const MUST: &'static str = "must be an array of ids";

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let (mut ids, mut room) = (Vec::new(), UNSORTED);
        while let Some(Checked(id)) = items.next_element()? {
            ids.push(id);
            if ids.len() == room {
                ids.sort_unstable();
                ids.dedup();
                room = UNSORTED.max(ids.len() + ids.len() / 2);
            }
        }
        Ok(Self(ids))
    }
}

/// An array of values that serde can read.
pub(in crate::contract) type List<T> = Checked<Items<T>>;

/// The items of a [`List`].
pub(in crate::contract) struct Items<T>(pub(in crate::contract) Vec<T>);

impl<'de, T: Deserialize<'de>> Kind<'de> for Items<T> {
    const MUST: &'static str = "must be an array";

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_about_ids_names_the_largest_id() {
        assert_eq!(MUST_BE_AN_ID, format!("must be an integer from 1 to {MAX_ID}"));
        assert_eq!(Count::MUST, format!("must be an integer from 0 to {MAX_ID}"));
    }
}
