//! Makes the rows of imported lines. The rows of a batch are bound to a statement as one JSON text, which the database
//! takes apart again, because a parameter for each value would be more parameters than a statement may have.

use serde::Serialize;

use crate::db::{Conn, DbError};
use crate::domain::PrincipalKind;
use crate::domain::hex::hex;
use crate::domain::import::{PersonalGroup, Secret, User, UserGroup};
use crate::domain::text::{group_search_text, person_search_text, secret_search_text};

/// A row of the table of principals.
#[derive(Serialize)]
pub(in crate::store) struct PrincipalRow {
    pub(in crate::store) id: i64,
    pub(in crate::store) kind: i16,
    pub(in crate::store) name: String,
    pub(in crate::store) active: bool,
    pub(in crate::store) username: Option<String>,
    pub(in crate::store) email: Option<String>,
    pub(in crate::store) has_account: bool,
    pub(in crate::store) owner_id: Option<i64>,
    pub(in crate::store) visible_to_members: bool,
    pub(in crate::store) search_text: String,
}

/// The columns of [`PrincipalRow`], with their types in PostgreSQL. SQLite uses the types of JSON.
pub(in crate::store) const PRINCIPAL: &[(&str, &str)] = &[
    ("id", "bigint"),
    ("kind", "smallint"),
    ("name", "text"),
    ("active", "boolean"),
    ("username", "text"),
    ("email", "text"),
    ("has_account", "boolean"),
    ("owner_id", "bigint"),
    ("visible_to_members", "boolean"),
    ("search_text", "text"),
];

/// A row of the table of secrets.
#[derive(Serialize)]
pub(in crate::store) struct SecretRow {
    pub(in crate::store) id: i64,
    pub(in crate::store) owner_id: i64,
    pub(in crate::store) name: String,
    pub(in crate::store) url: String,
    pub(in crate::store) client_id: String,
    /// The encrypted client secret, in hex. `None` if the line has none.
    pub(in crate::store) sealed: Option<String>,
    pub(in crate::store) client_secret_key: Option<String>,
    pub(in crate::store) identifier: Option<String>,
    pub(in crate::store) method: String,
    pub(in crate::store) notes: String,
    pub(in crate::store) disabled: bool,
    pub(in crate::store) search_text: String,
}

/// The columns of [`SecretRow`], like [`PRINCIPAL`].
pub(in crate::store) const SECRET: &[(&str, &str)] = &[
    ("id", "bigint"),
    ("owner_id", "bigint"),
    ("name", "text"),
    ("url", "text"),
    ("client_id", "text"),
    ("sealed", "text"),
    ("client_secret_key", "text"),
    ("identifier", "text"),
    ("method", "text"),
    ("notes", "text"),
    ("disabled", "boolean"),
    ("search_text", "text"),
];

/// A row of the table of members.
#[derive(Serialize)]
pub(in crate::store) struct MemberRow {
    pub(in crate::store) group_id: i64,
    pub(in crate::store) user_id: i64,
}

/// The columns of [`MemberRow`], like [`PRINCIPAL`].
pub(in crate::store) const MEMBER: &[(&str, &str)] = &[("group_id", "bigint"), ("user_id", "bigint")];

/// A row of the table of tags.
#[derive(Serialize)]
pub(in crate::store) struct TagRow {
    pub(in crate::store) secret_id: i64,
    pub(in crate::store) tag: String,
}

/// The columns of [`TagRow`], like [`PRINCIPAL`].
pub(in crate::store) const TAG: &[(&str, &str)] = &[("secret_id", "bigint"), ("tag", "text")];

impl PrincipalRow {
    pub(in crate::store) fn user(user: &User) -> Self {
        Self {
            id: user.id.get(),
            kind: PrincipalKind::User.code(),
            name: user.name.clone(),
            active: user.active,
            username: Some(user.username.clone()),
            email: Some(user.email.clone()).filter(|text| !text.is_empty()),
            has_account: user.has_account,
            owner_id: None,
            visible_to_members: false,
            search_text: person_search_text(&user.name, &user.username, &user.email),
        }
    }

    pub(in crate::store) fn user_group(group: &UserGroup) -> Self {
        Self::group(group.id.get(), PrincipalKind::UserGroup, &group.name, group.active)
    }

    pub(in crate::store) fn personal_group(group: &PersonalGroup) -> Self {
        Self {
            owner_id: Some(group.owner.get()),
            visible_to_members: group.visible_to_members,
            ..Self::group(group.id.get(), PrincipalKind::PersonalGroup, &group.name, group.active)
        }
    }

    fn group(id: i64, kind: PrincipalKind, name: &str, active: bool) -> Self {
        Self {
            id,
            kind: kind.code(),
            name: name.to_owned(),
            active,
            username: None,
            email: None,
            has_account: true,
            owner_id: None,
            visible_to_members: false,
            search_text: group_search_text(name),
        }
    }
}

impl SecretRow {
    /// The row of a secret. `sealed` is its encrypted client secret and the id of the key, if the line has a client
    /// secret.
    pub(in crate::store) fn of(secret: &Secret, sealed: Option<(Vec<u8>, String)>) -> Self {
        let (sealed, key) = sealed.unzip();
        Self {
            id: secret.id.get(),
            owner_id: secret.owner.get(),
            name: secret.name.clone(),
            url: secret.url.clone(),
            client_id: secret.client_id.clone(),
            sealed: sealed.map(|bytes| hex(&bytes)),
            client_secret_key: key,
            identifier: secret.identifier.clone(),
            method: secret.method.clone(),
            notes: secret.notes.clone(),
            disabled: secret.disabled,
            search_text: secret_search_text(&secret.name, secret.identifier.as_deref(), &secret.url),
        }
    }
}

/// These rows as one JSON text, to be bound as `$1`.
pub(in crate::store) fn json<T: Serialize>(rows: &[T]) -> Result<String, DbError> {
    serde_json::to_string(rows).map_err(|error| DbError::Corrupt(error.to_string()))
}

/// An expression that makes a table `r` of the JSON text bound as `$1`.
pub(in crate::store) fn rows_of(conn: &Conn, columns: &[(&str, &str)]) -> String {
    conn.each_object("$1", columns)
}

/// The names of the columns, separated by commas, each with `before` in front.
pub(in crate::store) fn names(columns: &[(&str, &str)], before: &str) -> String {
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("{before}{name}")).collect();
    names.join(", ")
}

/// `name = excluded.name, …` for every column except the first, which is the key.
pub(in crate::store) fn replaced(columns: &[(&str, &str)]) -> String {
    let parts: Vec<String> =
        columns.iter().skip(1).map(|(name, _)| format!("{name} = excluded.{name}")).collect();
    parts.join(", ")
}
