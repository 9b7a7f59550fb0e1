//! Choosing a person in demo mode: `{"username": "bruno"}`.

use std::marker::PhantomData;

use serde::de::MapAccess;

use crate::contract::json::invalid::{Invalid, Problem, Unread};
use crate::contract::json::kinds::Text;
use crate::contract::json::read::{Kind, Member, Object, Once, Place, value};
use crate::contract::message::named::Over;

/// Reads who is chosen.
///
/// # Errors
/// That it is no JSON, or the field that is wrong.
pub fn decode_username(body: &[u8]) -> Result<String, Unread> {
    let username = value(body, "", Over::<Person>(PhantomData))?.flatten();
    username.ok_or_else(|| Invalid::new("username", MUST_BE_A_USERNAME).into())
}

#[derive(Default)]
struct Person {
    username: Once<String>,
}

const MUST_BE_A_USERNAME: &str = "must be a username";

struct Username;

impl Kind<'_> for Username {
    type Value = String;

    fn other(self) -> Result<String, Problem> {
        Err(MUST_BE_A_USERNAME.into())
    }

    fn text(self, text: &str) -> Result<String, Problem> {
        Text::Filled.check(text).map(|()| text.to_owned()).map_err(|_| MUST_BE_A_USERNAME.into())
    }
}

impl<'de> Object<'de> for Person {
    type Read = Option<String>;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "username" => member.read(Username, &mut self.username),
            _ => member.unknown(),
        }
    }

    fn whole(self, _place: &Place<'_>) -> Result<Option<String>, Invalid> {
        Ok(self.username.some())
    }
}
