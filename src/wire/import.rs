//! Import lines: people, groups and secrets as JSON, one object a line.

use secrecy::SecretString;
use serde_json::Value;
use zeroize::Zeroize;

use super::fields::{Fields, Invalid};
use crate::domain::PrincipalId;
use crate::domain::import::{ImportLine, PersonalGroup, Secret, User, UserGroup};

/// Reads one line. `active` and `has_account` are true, `disabled` false unless given.
///
/// # Errors
/// The field that is wrong; never a value of the line.
pub fn decode_import_line(line: &str) -> Result<ImportLine, Invalid> {
    let mut value: Value = serde_json::from_str(line)
        .map_err(|error| Invalid::new("the line", format!("is not JSON at column {}", error.column())))?;
    let decoded = decode(&value);
    // The parsed line holds the client secret in the clear; it is not left lying in freed memory.
    if let Some(Value::String(secret)) = value.get_mut("client_secret") {
        secret.zeroize();
    }
    decoded
}

fn decode(value: &Value) -> Result<ImportLine, Invalid> {
    let line = Fields::of(value, "")?;
    let active = line.boolean("active")?.unwrap_or(true);
    match line.required_text("type")?.as_str() {
        "user" => Ok(ImportLine::User(User {
            id: line.id("id")?,
            username: line.required_text("username")?,
            name: line.required_text("name")?,
            email: line.text("email")?.unwrap_or_default(),
            active,
            has_account: line.boolean("has_account")?.unwrap_or(true),
        })),
        "user_group" => Ok(ImportLine::UserGroup(UserGroup {
            id: line.id("id")?,
            name: line.required_text("name")?,
            members: members(&line)?,
            active,
        })),
        "personal_group" => Ok(ImportLine::PersonalGroup(PersonalGroup {
            id: line.id("id")?,
            name: line.required_text("name")?,
            owner: line.id("owner")?,
            members: members(&line)?,
            visible_to_members: line.boolean("visible_to_members")?.unwrap_or(false),
            active,
        })),
        "secret" => Ok(ImportLine::Secret(Secret {
            id: line.id("id")?,
            owner: line.id("owner")?,
            name: line.required_text("name")?,
            url: line.required_text("url")?,
            client_id: line.required_text("client_id")?,
            client_secret: line.long_text("client_secret")?.map(SecretString::from),
            identifier: line.text("identifier")?.filter(|text| !text.is_empty()),
            method: line.text("method")?.unwrap_or_default(),
            tags: sorted(line.texts("tags")?),
            notes: line.long_text("notes")?.unwrap_or_default(),
            disabled: line.boolean("disabled")?.unwrap_or(false),
        })),
        _ => Err(Invalid::new("type", "must be user, user_group, personal_group or secret")),
    }
}

fn members(line: &Fields<'_>) -> Result<Vec<PrincipalId>, Invalid> {
    Ok(sorted(line.ids("members")?))
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}
