//! The choice of a person in demo mode: `{"username": "bruno"}`.

use serde::Deserialize;

use crate::contract::json::invalid::{CAME_TWICE, Invalid, Problem, UNKNOWN, Unread};
use crate::contract::json::kinds::filled;
use crate::contract::json::read::document;
use crate::contract::json::value::{Checked, Kind};

/// Reads who is chosen.
///
/// # Errors
/// Where the body is not JSON, or which of its fields is wrong.
pub fn decode_username(body: &[u8]) -> Result<String, Unread> {
    match document::<PersonBody>(body, "") {
        Ok(person) => Ok(person.username.0.0),
        Err(Unread::Invalid(fault)) if ![CAME_TWICE, UNKNOWN].contains(&fault.problem.as_str()) => {
            Err(Invalid::new("username", MUST_BE_A_USERNAME).into())
        }
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonBody {
    username: Checked<Username>,
}

struct Username(String);

const MUST_BE_A_USERNAME: &str = "must be a username";

impl Kind<'_> for Username {
    const MUST: &'static str = MUST_BE_A_USERNAME;

    fn text(text: &str) -> Result<Self, Problem> {
        filled(text).map(|text| Self(text.to_owned()))
    }
}
