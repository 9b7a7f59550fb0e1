//! Finds principals by their names, and the names of ids, for the command line.
//!
//! An operator sees everything, so these methods do not check what a person may know of. The gateway uses the methods
//! of `directory` and `vault`, which do.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};
use diesel::{OptionalExtension, RunQueryDsl, sql_query};

use crate::db::DbError;
use crate::domain::text::{fold, normal, words};
use crate::domain::{PrincipalId, PrincipalKind, SecretId};
use crate::store::people::membership::visible_to;
use crate::store::search::found;
use crate::store::transact::Store;

/// A principal that was found by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub id: PrincipalId,
    pub name: String,
    /// Only users have a username and an e-mail address.
    pub username: Option<String>,
    pub email: Option<String>,
}

/// The name of a principal or a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    /// Only users have a username and an e-mail address.
    pub username: Option<String>,
    pub email: Option<String>,
}

impl Known {
    /// A name without a username and an e-mail address.
    #[must_use]
    pub fn called(name: &str) -> Self {
        Self { name: name.to_owned(), username: None, email: None }
    }

    /// The name, followed by the username if there is one.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.username {
            Some(username) => format!("{} ({username})", self.name),
            None => self.name.clone(),
        }
    }
}

/// How a given text is compared with names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The text is the whole name, username or e-mail address. Case and accents do not count.
    Whole,
    /// Each word of the text is in the name, username or e-mail address, as in a search.
    Words,
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    username: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    email: Option<String>,
}

#[derive(diesel::QueryableByName)]
struct NameRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
}

impl Store {
    /// The principals of one kind that a text finds, in the order of their ids, except that the user with exactly this
    /// username is first. Personal groups are found only if the person `seen_by` may know of them.
    pub async fn principals_named(
        &self,
        kind: PrincipalKind,
        text: &str,
        matching: Match,
        seen_by: Option<PrincipalId>,
        limit: i64,
    ) -> Result<Vec<Named>, DbError> {
        let seen_by = seen_by.map_or(0, PrincipalId::get);
        let text = text.to_owned();
        self.db
            .read(move |conn| {
                // `search_text` has a line for each of name, username and e-mail address. So a text that is found
                // with a line break on both sides is exactly one of them.
                let (find, line) = (conn.find(), conn.line_break());
                let (condition, wanted) = match matching {
                    Match::Whole => {
                        (format!("{find}({line} || p.search_text, $2) > 0"), format!("\n{}\n", fold(&text)))
                    }
                    Match::Words => {
                        let words = words(&text);
                        (found(conn, "p", "$2", &words), conn.word_list(&words))
                    }
                };
                let sql = format!(
                    "SELECT p.id, p.name, p.username, p.email FROM principals p WHERE p.kind = $1 \
                     AND {condition} AND {visible} \
                     ORDER BY CASE WHEN p.username = $4 THEN 0 ELSE 1 END, p.id LIMIT $5",
                    visible = visible_to("$3"),
                );
                let rows = sql_query(sql)
                    .bind::<SmallInt, _>(kind.code())
                    .bind::<Text, _>(wanted)
                    .bind::<BigInt, _>(seen_by)
                    .bind::<Text, _>(text)
                    .bind::<BigInt, _>(limit)
                    .load::<Row>(conn)?;
                rows.into_iter()
                    .map(|row| {
                        let id = PrincipalId::try_from(row.id).map_err(DbError::Corrupt)?;
                        Ok(Named { id, name: row.name, username: row.username, email: row.email })
                    })
                    .collect()
            })
            .await
    }

    /// The names of these principals, with what tells two of the same name apart. Ids of no principal are left out.
    pub async fn principal_names(
        &self,
        ids: impl IntoIterator<Item = PrincipalId>,
    ) -> Result<HashMap<PrincipalId, Known>, DbError> {
        let ids: Vec<PrincipalId> = ids.into_iter().collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        self.db
            .read(move |conn| {
                let each = conn.each_id("$1");
                let sql = format!("SELECT id, name, username, email FROM principals WHERE id IN ({each})");
                let rows = sql_query(sql).bind::<Text, _>(conn.id_list(ids)).load::<Row>(conn)?;
                rows.into_iter()
                    .map(|row| {
                        let id = PrincipalId::try_from(row.id).map_err(DbError::Corrupt)?;
                        Ok((id, Known { name: row.name, username: row.username, email: row.email }))
                    })
                    .collect()
            })
            .await
    }

    /// The secret that a text names: by its id or, where no secret has that id, by its identifier.
    pub async fn secret_named(&self, text: &str) -> Result<Option<(SecretId, String)>, DbError> {
        let id = text.parse().ok().and_then(SecretId::new).map_or(0, SecretId::get);
        let identifier = normal(text).into_owned();
        self.db
            .read(move |conn| {
                // Two look-ups by key. The one by id comes first.
                let sql = "SELECT id, name FROM (SELECT id, name, 0 AS place FROM secrets WHERE id = $1 UNION ALL \
                           SELECT id, name, 1 FROM secrets WHERE identifier = $2) AS found ORDER BY place LIMIT 1";
                let row = sql_query(sql).bind::<BigInt, _>(id).bind::<Text, _>(identifier);
                let row: Option<NameRow> = row.get_result(conn).optional()?;
                row.map(|row| Ok((SecretId::try_from(row.id).map_err(DbError::Corrupt)?, row.name)))
                    .transpose()
            })
            .await
    }

    /// The names of these secrets. Ids of no secret are left out.
    pub async fn secret_names(
        &self,
        ids: impl IntoIterator<Item = SecretId>,
    ) -> Result<HashMap<SecretId, String>, DbError> {
        let ids: Vec<SecretId> = ids.into_iter().collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        self.db
            .read(move |conn| {
                let sql = format!("SELECT id, name FROM secrets WHERE id IN ({})", conn.each_id("$1"));
                let rows = sql_query(sql).bind::<Text, _>(conn.id_list(ids)).load::<NameRow>(conn)?;
                rows.into_iter()
                    .map(|row| Ok((SecretId::try_from(row.id).map_err(DbError::Corrupt)?, row.name)))
                    .collect()
            })
            .await
    }
}
