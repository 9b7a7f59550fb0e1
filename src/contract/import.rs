//! The lines of an import: people, groups and secrets as JSON, with one object in each line.

use serde::Deserialize;

use crate::contract::json::client_secret::ClientSecret;
use crate::contract::json::invalid::{Invalid, Problem, Unread};
use crate::contract::json::kinds::{Ids, MUST_BE_A_TEXT, Rule, Text, filled};
use crate::contract::json::read::document;
use crate::contract::json::value::{Anything, Checked, Kind};
use crate::contract::secret::{ClientId, Identifier, Method, Name, Notes, Tags, Url};
use crate::domain::import::{ImportLine, PersonalGroup, Secret, User, UserGroup};
use crate::domain::text::TextError;
use crate::domain::{PrincipalId, SecretId, text};

/// What a line has to look like. An error says so to whoever has a file of another kind.
const SHAPE: &str = "an import is JSON Lines, one object a line, like \
                     {\"type\":\"user\",\"id\":42,\"username\":\"ana\",\"name\":\"Ana Souza\"}";

/// Reads one line. Unless they are given, `active` and `has_account` are true, and `disabled` is false. A field that
/// its type does not have is an error: with `actve`, somebody would be imported as active.
///
/// The client secret stands in `line` in the clear, which the caller wipes. No other memory has it that is not wiped.
///
/// # Errors
/// Which field is wrong, without its value.
pub fn decode_import_line(line: &str) -> Result<ImportLine, Invalid> {
    read(line.as_bytes()).map_err(|error| {
        // Then the file is of another kind: an array, a table, or an object over several lines.
        let other = !line.trim_start().starts_with('{') || !line.trim_end().ends_with('}');
        let shape = |problem: String| {
            Invalid::new("the line", if other { format!("{problem}: {SHAPE}") } else { problem })
        };
        match error {
            Unread::NotJson { column, .. } => shape(format!("is not JSON at column {column}")),
            Unread::Invalid(_) if !line.trim_start().starts_with('{') => {
                shape("must be an object".to_owned())
            }
            Unread::Invalid(invalid) => invalid,
        }
    })
}

fn read(line: &[u8]) -> Result<ImportLine, Unread> {
    // The type says which fields there are, and it may stand behind them. So a line is read twice. An enum with a tag,
    // which serde derives, would keep the fields in memory until then, the client secret with them.
    let Typed { kind: Checked(kind) } = document(line, "")?;
    Ok(match kind {
        LineType::User => ImportLine::User(document::<UserLine>(line, "")?.into()),
        LineType::UserGroup => ImportLine::UserGroup(document::<UserGroupLine>(line, "")?.into()),
        LineType::PersonalGroup => ImportLine::PersonalGroup(document::<PersonalGroupLine>(line, "")?.into()),
        LineType::Secret => ImportLine::Secret(document::<SecretLine>(line, "")?.into()),
    })
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: Checked<LineType>,
}

enum LineType {
    User,
    UserGroup,
    PersonalGroup,
    Secret,
}

impl Kind<'_> for LineType {
    const MUST: &'static str = MUST_BE_A_TEXT;

    fn text(text: &str) -> Result<Self, Problem> {
        match filled(text)? {
            "user" => Ok(Self::User),
            "user_group" => Ok(Self::UserGroup),
            "personal_group" => Ok(Self::PersonalGroup),
            "secret" => Ok(Self::Secret),
            _ => Err("must be user, user_group, personal_group or secret".into()),
        }
    }
}

enum Username {}

impl Rule for Username {
    const READ: fn(&str) -> Result<String, TextError> = text::username;
}

enum Email {}

impl Rule for Email {
    const READ: fn(&str) -> Result<String, TextError> = text::email;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserLine {
    #[serde(rename = "type")]
    _kind: Checked<Anything>,
    id: Checked<PrincipalId>,
    username: Text<Username>,
    name: Text<Name>,
    email: Option<Text<Email>>,
    active: Option<Checked<bool>>,
    has_account: Option<Checked<bool>>,
}

impl From<UserLine> for User {
    fn from(line: UserLine) -> Self {
        Self {
            id: line.id.0,
            username: line.username.into(),
            name: line.name.into(),
            email: text_or_empty(line.email),
            active: flag(line.active, true),
            has_account: flag(line.has_account, true),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserGroupLine {
    #[serde(rename = "type")]
    _kind: Checked<Anything>,
    id: Checked<PrincipalId>,
    name: Text<Name>,
    members: Option<Checked<Ids<PrincipalId>>>,
    active: Option<Checked<bool>>,
}

impl From<UserGroupLine> for UserGroup {
    fn from(line: UserGroupLine) -> Self {
        Self {
            id: line.id.0,
            name: line.name.into(),
            members: sorted(line.members),
            active: flag(line.active, true),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonalGroupLine {
    #[serde(rename = "type")]
    _kind: Checked<Anything>,
    id: Checked<PrincipalId>,
    name: Text<Name>,
    owner: Checked<PrincipalId>,
    members: Option<Checked<Ids<PrincipalId>>>,
    visible_to_members: Option<Checked<bool>>,
    active: Option<Checked<bool>>,
}

impl From<PersonalGroupLine> for PersonalGroup {
    fn from(line: PersonalGroupLine) -> Self {
        Self {
            id: line.id.0,
            name: line.name.into(),
            owner: line.owner.0,
            members: sorted(line.members),
            visible_to_members: flag(line.visible_to_members, false),
            active: flag(line.active, true),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretLine {
    #[serde(rename = "type")]
    _kind: Checked<Anything>,
    id: Checked<SecretId>,
    owner: Checked<PrincipalId>,
    name: Text<Name>,
    url: Text<Url>,
    client_id: Text<ClientId>,
    client_secret: Option<ClientSecret>,
    identifier: Option<Text<Identifier>>,
    method: Option<Text<Method>>,
    tags: Option<Checked<Tags>>,
    notes: Option<Text<Notes>>,
    disabled: Option<Checked<bool>>,
}

impl From<SecretLine> for Secret {
    fn from(line: SecretLine) -> Self {
        Self {
            id: line.id.0,
            owner: line.owner.0,
            name: line.name.into(),
            url: line.url.into(),
            client_id: line.client_id.into(),
            client_secret: line.client_secret.map(|secret| secret.0),
            identifier: line.identifier.map(String::from).filter(|text| !text.is_empty()),
            method: text_or_empty(line.method),
            tags: line.tags.map(|tags| tags.0.0).unwrap_or_default(),
            notes: text_or_empty(line.notes),
            disabled: flag(line.disabled, false),
        }
    }
}

fn flag(given: Option<Checked<bool>>, otherwise: bool) -> bool {
    given.map_or(otherwise, |flag| flag.0)
}

fn text_or_empty<R>(text: Option<Text<R>>) -> String {
    text.map(String::from).unwrap_or_default()
}

fn sorted(members: Option<Checked<Ids<PrincipalId>>>) -> Vec<PrincipalId> {
    let mut members = members.map(|ids| ids.0.0).unwrap_or_default();
    members.sort_unstable();
    members.dedup();
    members
}
