//! Import lines: people, groups and secrets as JSON, one object a line.

use secrecy::SecretString;
use serde::de::MapAccess;

use crate::contract::json::invalid::{Invalid, Unread};
use crate::contract::json::kinds::{Flag, Kept, Tags, Text, id, ids, secret};
use crate::contract::json::read::{Member, Object, Once, Place, UNKNOWN, document};
use crate::domain::import::{ImportLine, PersonalGroup, Secret, User, UserGroup};
use crate::domain::{PrincipalId, SecretId, text};

/// What a line is to look like, for whoever has a file of another kind.
const SHAPE: &str = "an import is JSON Lines, one object a line, like \
                     {\"type\":\"user\",\"id\":42,\"username\":\"ana\",\"name\":\"Ana Souza\"}";

/// Reads one line. `active` and `has_account` are true, `disabled` false unless given. A field that its type does
/// not have is an error: `actve` would import somebody as active.
///
/// The client secret is in `line` in the clear, which the caller wipes, and in no other memory that is not wiped.
///
/// # Errors
/// The field that is wrong; never a value of the line.
pub fn decode_import_line(line: &str) -> Result<ImportLine, Invalid> {
    document::<Line>(line.as_bytes(), "").map_err(|error| {
        // The file is of another kind: an array, a table, or an object over many lines.
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

/// The fields of all types. Each is the same wherever it may be, and which may be is known only once the type is.
#[derive(Default)]
struct Line {
    kind: Once<String>,
    id: Once<PrincipalId>,
    username: Once<String>,
    name: Once<String>,
    email: Once<String>,
    active: Once<bool>,
    has_account: Once<bool>,
    owner: Once<PrincipalId>,
    members: Once<Vec<PrincipalId>>,
    visible_to_members: Once<bool>,
    url: Once<String>,
    client_id: Once<String>,
    client_secret: Once<SecretString>,
    identifier: Once<String>,
    method: Once<String>,
    tags: Once<Vec<String>>,
    notes: Once<String>,
    disabled: Once<bool>,
}

// Besides `type`, `id` and `name`.
const USER: &[&str] = &["username", "email", "active", "has_account"];
const USER_GROUP: &[&str] = &["members", "active"];
const PERSONAL_GROUP: &[&str] = &["owner", "members", "visible_to_members", "active"];
const SECRET: &[&str] =
    &["owner", "url", "client_id", "client_secret", "identifier", "method", "tags", "notes", "disabled"];

impl<'de> Object<'de> for Line {
    type Read = ImportLine;

    fn member<A: MapAccess<'de>>(&mut self, name: &str, member: Member<'_, A>) -> Result<(), A::Error> {
        match name {
            "type" => member.read(Text::Filled, &mut self.kind),
            "id" => member.read(id(), &mut self.id),
            "username" => member.read(Kept(text::username), &mut self.username),
            "name" => member.read(Kept(text::name), &mut self.name),
            "email" => member.read(Kept(text::email), &mut self.email),
            "active" => member.read(Flag, &mut self.active),
            "has_account" => member.read(Flag, &mut self.has_account),
            "owner" => member.read(id(), &mut self.owner),
            "members" => member.read(ids(), &mut self.members),
            "visible_to_members" => member.read(Flag, &mut self.visible_to_members),
            "url" => member.read(Kept(text::url), &mut self.url),
            "client_id" => member.read(Kept(text::client_id), &mut self.client_id),
            "client_secret" => secret(member, &mut self.client_secret),
            "identifier" => member.read(Kept(text::identifier), &mut self.identifier),
            "method" => member.read(Kept(text::method), &mut self.method),
            "tags" => member.read(Tags, &mut self.tags),
            "notes" => member.read(Kept(text::notes), &mut self.notes),
            "disabled" => member.read(Flag, &mut self.disabled),
            _ => member.unknown(),
        }
    }

    fn whole(self, place: &Place<'_>) -> Result<ImportLine, Invalid> {
        let came = self.came();
        let only = |allowed: &[&str]| match came.iter().find(|(name, came)| *came && !allowed.contains(name))
        {
            Some((name, _)) => Err(place.member(name).invalid(UNKNOWN)),
            None => Ok(()),
        };
        match self.kind.required(place, "type")?.as_str() {
            "user" => only(USER).and_then(|()| {
                Ok(ImportLine::User(User {
                    id: self.id.required(place, "id")?,
                    username: self.username.required(place, "username")?,
                    name: self.name.required(place, "name")?,
                    email: self.email.some().unwrap_or_default(),
                    active: self.active.some().unwrap_or(true),
                    has_account: self.has_account.some().unwrap_or(true),
                }))
            }),
            "user_group" => only(USER_GROUP).and_then(|()| {
                Ok(ImportLine::UserGroup(UserGroup {
                    id: self.id.required(place, "id")?,
                    name: self.name.required(place, "name")?,
                    members: sorted(self.members.some()),
                    active: self.active.some().unwrap_or(true),
                }))
            }),
            "personal_group" => only(PERSONAL_GROUP).and_then(|()| {
                Ok(ImportLine::PersonalGroup(PersonalGroup {
                    id: self.id.required(place, "id")?,
                    name: self.name.required(place, "name")?,
                    owner: self.owner.required(place, "owner")?,
                    members: sorted(self.members.some()),
                    visible_to_members: self.visible_to_members.some().unwrap_or(false),
                    active: self.active.some().unwrap_or(true),
                }))
            }),
            "secret" => only(SECRET).and_then(|()| {
                let id = self.id.required(place, "id")?;
                Ok(ImportLine::Secret(Secret {
                    // The two kinds of ids have one range.
                    id: SecretId::new(id.get()).ok_or_else(|| place.member("id").invalid("is missing"))?,
                    owner: self.owner.required(place, "owner")?,
                    name: self.name.required(place, "name")?,
                    url: self.url.required(place, "url")?,
                    client_id: self.client_id.required(place, "client_id")?,
                    client_secret: self.client_secret.some(),
                    identifier: self.identifier.some().filter(|text| !text.is_empty()),
                    method: self.method.some().unwrap_or_default(),
                    tags: self.tags.some().unwrap_or_default(),
                    notes: self.notes.some().unwrap_or_default(),
                    disabled: self.disabled.some().unwrap_or(false),
                }))
            }),
            _ => Err(place.member("type").invalid("must be user, user_group, personal_group or secret")),
        }
    }
}

impl Line {
    /// Which of the fields came that only some types have.
    fn came(&self) -> [(&'static str, bool); 15] {
        [
            ("username", self.username.came()),
            ("email", self.email.came()),
            ("active", self.active.came()),
            ("has_account", self.has_account.came()),
            ("owner", self.owner.came()),
            ("members", self.members.came()),
            ("visible_to_members", self.visible_to_members.came()),
            ("url", self.url.came()),
            ("client_id", self.client_id.came()),
            ("client_secret", self.client_secret.came()),
            ("identifier", self.identifier.came()),
            ("method", self.method.came()),
            ("tags", self.tags.came()),
            ("notes", self.notes.came()),
            ("disabled", self.disabled.came()),
        ]
    }
}

fn sorted(members: Option<Vec<PrincipalId>>) -> Vec<PrincipalId> {
    let mut members = members.unwrap_or_default();
    members.sort_unstable();
    members.dedup();
    members
}
