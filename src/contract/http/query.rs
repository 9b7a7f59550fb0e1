//! The query of a request: its parameters, and the cursors that a listing gave.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::contract::json::invalid::{Invalid, shown};
use crate::domain::text::TextError;

/// The parameters of a query. An empty parameter counts as absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query(HashMap<String, String>);

impl Query {
    /// Takes names and values that are decoded already, in their order.
    ///
    /// # Errors
    /// Where a name comes twice, because nobody can tell which of the two is meant.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Invalid> {
        let mut params = HashMap::new();
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            if params.contains_key(&name) {
                return Err(Invalid::new(named(&name), "came more than once"));
            }
            params.insert(name, value);
        }
        Ok(Self(params))
    }

    /// Checks that there is no other parameter than these. Somebody who writes `serach=` would otherwise be answered with
    /// everything, and might share it.
    ///
    /// # Errors
    /// Where there is another one. The error names the first in the order of the alphabet.
    pub fn only(&self, names: &[&str]) -> Result<(), Invalid> {
        let other = self.0.keys().filter(|name| !names.contains(&name.as_str())).min();
        other.map_or(Ok(()), |name| Err(Invalid::new(named(name), "is no parameter of this resource")))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A text that passes this check. It is empty where the parameter is absent.
    ///
    /// # Errors
    /// Where it does not pass.
    pub fn checked(&self, name: &str, check: fn(&str) -> Result<(), TextError>) -> Result<String, Invalid> {
        let text = self.get(name).unwrap_or_default();
        check(text).map_err(|error| Invalid::new(name, error.to_string()))?;
        Ok(text.to_owned())
    }

    /// Ids with commas between them. There are none where the parameter is absent.
    ///
    /// # Errors
    /// Where one of them is no id, or there are more than `most`.
    pub fn ids<T: TryFrom<i64>>(&self, name: &str, most: usize) -> Result<Vec<T>, Invalid> {
        let Some(text) = self.get(name) else { return Ok(Vec::new()) };
        let read = |part: &str| part.parse().ok().and_then(|number: i64| T::try_from(number).ok());
        let ids: Option<Vec<T>> = text.split(',').map(read).collect();
        ids.filter(|ids| ids.len() <= most)
            .ok_or_else(|| Invalid::new(name, format!("must be at most {most} ids with commas between them")))
    }

    /// One id. `None` where the parameter is absent.
    ///
    /// # Errors
    /// Where it is no id.
    pub fn id<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, Invalid> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let id = text.parse().ok().and_then(|number: i64| T::try_from(number).ok());
        id.map(Some).ok_or_else(|| Invalid::new(name, "must be an id"))
    }

    /// True or false. `None` where the parameter is absent.
    ///
    /// # Errors
    /// Where it is neither `true` nor `false`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Invalid> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Invalid::new(name, "must be true or false")),
        }
    }

    /// The value of one of these names. It is that of the first name where the parameter is absent.
    ///
    /// # Errors
    /// Where it is another name.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, Invalid> {
        let found = match self.get(name) {
            None => choices.first(),
            Some(wanted) => choices.iter().find(|(choice, _)| *choice == wanted),
        };
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            Invalid::new(name, format!("must be one of {}", names.join(", ")))
        })
    }

    /// `limit`, which is how many items a page has. Who asks for more than `most` gets `most`.
    ///
    /// # Errors
    /// Where it is no number from 1 on.
    pub fn limit(&self, default: usize, most: usize) -> Result<usize, Invalid> {
        match self.get("limit").map(str::parse::<usize>) {
            None => Ok(default),
            Some(Ok(limit)) if limit > 0 => Ok(limit.min(most)),
            Some(_) => Err(Invalid::new("limit", "must be a number from 1 on")),
        }
    }

    /// The text from which [`write_cursor`] made `cursor`.
    ///
    /// # Errors
    /// Where it did not make it.
    pub fn cursor(&self) -> Result<Option<String>, Invalid> {
        let Some(text) = self.get("cursor") else { return Ok(None) };
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|text| !text.contains('\0'))
            .map(Some)
            .ok_or_else(bad_cursor)
    }

    /// As [`Query::cursor`], where the text is a number from 0 on.
    ///
    /// # Errors
    /// Where it is another text.
    pub fn number_cursor(&self) -> Result<Option<i64>, Invalid> {
        self.cursor()?
            .map(|text| text.parse().ok().filter(|number| *number >= 0).ok_or_else(bad_cursor))
            .transpose()
    }

    /// As [`Query::cursor`], where the text is two numbers from 0 on.
    ///
    /// # Errors
    /// The cursor is not one that [`write_pair_cursor`] made.
    pub fn pair_cursor(&self) -> Result<Option<(i64, i64)>, Invalid> {
        let Some(text) = self.cursor()? else { return Ok(None) };
        let number = |text: &str| text.parse().ok().filter(|number: &i64| *number >= 0);
        let pair = text.split_once(' ').and_then(|(first, second)| Some((number(first)?, number(second)?)));
        pair.map(Some).ok_or_else(bad_cursor)
    }

    /// The secret's id, and its key in the order of the listing, from which [`write_secret_cursor`] made `cursor`.
    ///
    /// # Errors
    /// Where it did not make it.
    pub fn secret_cursor(&self) -> Result<Option<(i64, String)>, Invalid> {
        let read = |text: String| {
            let (id, key) = text.strip_prefix(FOLDED)?.split_once(' ')?;
            let id = id.parse().ok().filter(|id| *id > 0)?;
            Some((id, key.to_owned()))
        };
        self.cursor()?.map(|text| read(text).ok_or_else(bad_cursor)).transpose()
    }
}

/// Where the next page begins, as an opaque text.
#[must_use]
pub fn write_cursor(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

/// Where the next page of a listing begins that is ordered by two numbers.
#[must_use]
pub fn write_pair_cursor(first: i64, second: i64) -> String {
    write_cursor(&format!("{first} {second}"))
}

/// The name of a parameter, for an error. Of one without a name (`?=x`) it is the query that is wrong.
fn named(name: &str) -> Cow<'_, str> {
    if name.is_empty() { Cow::Borrowed("query") } else { shown(name) }
}

/// Begins the cursor of a secret. The cursors of an older program, whose keys had accents, begin otherwise and are
/// refused.
const FOLDED: &str = "f ";

/// Where the next page of secrets begins.
#[must_use]
pub fn write_secret_cursor(id: i64, key: &str) -> String {
    write_cursor(&format!("{FOLDED}{id} {key}"))
}

fn bad_cursor() -> Invalid {
    Invalid::new("cursor", "is not one that this listing gave")
}
