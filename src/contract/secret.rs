//! The fields of an API secret that both an import and a change set, each with its rule.

use serde::de::SeqAccess;

use crate::contract::json::kinds::{Kept, Rule};
use crate::contract::json::value::{Checked, Kind, refuse};
use crate::domain::text;
use crate::domain::text::TextError;

/// The name of a secret, and likewise that of a person or group.
pub(in crate::contract) enum Name {}

impl Rule for Name {
    const READ: fn(&str) -> Result<String, TextError> = text::name;
}

pub(in crate::contract) enum Url {}

impl Rule for Url {
    const READ: fn(&str) -> Result<String, TextError> = text::url;
}

pub(in crate::contract) enum ClientId {}

impl Rule for ClientId {
    const READ: fn(&str) -> Result<String, TextError> = text::client_id;
}

pub(in crate::contract) enum Identifier {}

impl Rule for Identifier {
    const READ: fn(&str) -> Result<String, TextError> = text::identifier;
}

pub(in crate::contract) enum Method {}

impl Rule for Method {
    const READ: fn(&str) -> Result<String, TextError> = text::method;
}

pub(in crate::contract) enum Notes {}

impl Rule for Notes {
    const READ: fn(&str) -> Result<String, TextError> = text::notes;
}

/// What a share tells its recipients.
pub(in crate::contract) enum Note {}

impl Rule for Note {
    const READ: fn(&str) -> Result<String, TextError> = text::note;
}

enum Tag {}

impl Rule for Tag {
    const READ: fn(&str) -> Result<String, TextError> = text::tag;
}

/// The tags of a secret, in order and each once, however its accents were composed.
pub(in crate::contract) struct Tags(pub(in crate::contract) Vec<String>);

/// Far more tags than anybody sorts secrets by.
const MAX_TAGS: usize = 100;

impl<'de> Kind<'de> for Tags {
    const MUST: &'static str = "must be an array of texts";

    fn list<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut tags: Vec<String> = Vec::new();
        while let Some(tag) = items.next_element::<Checked<Kept<Tag>>>()? {
            if tags.len() == MAX_TAGS {
                return Err(refuse(format_args!("must not be more than {MAX_TAGS}")));
            }
            tags.push(tag.into());
        }
        tags.sort_unstable();
        tags.dedup();
        Ok(Self(tags))
    }
}
