//! The names of members, of which no more is read than an error shows.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

/// Reads the name of a member. A name that is written with escapes has to be copied.
pub(in crate::contract) struct Name;

/// How many characters of a name are read: more than any name of ours has, and more than an error shows of another.
pub(in crate::contract) const LONGEST_NAME: usize = 200;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        if name.len() <= LONGEST_NAME {
            return Ok(Cow::Borrowed(name));
        }
        let end = name.char_indices().nth(LONGEST_NAME).map_or(name.len(), |(end, _)| end);
        Ok(Cow::Borrowed(name.get(..end).unwrap_or(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.chars().take(LONGEST_NAME).collect()))
    }
}
