//! Names: finding principals by them, and telling ids by them. For the operator's command line, who
//! sees everything; what a person may see is the gateway's business.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};
use diesel::{RunQueryDsl, sql_query};

use crate::db::DbError;
use crate::domain::text::{fold, words};
use crate::domain::{PrincipalId, PrincipalKind, SecretId};
use crate::store::people::membership::visible_to;
use crate::store::search::found;
use crate::store::transact::Store;

/// A principal that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub id: PrincipalId,
    pub name: String,
    /// Users only.
    pub username: Option<String>,
    pub email: Option<String>,
}

/// What somebody or something is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    /// Users only, like the e-mail.
    pub username: Option<String>,
    pub email: Option<String>,
}

impl Known {
    /// By a name alone.
    #[must_use]
    pub fn called(name: &str) -> Self {
        Self { name: name.to_owned(), username: None, email: None }
    }

    /// The name with the username behind it, where there is one.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.username {
            Some(username) => format!("{} ({username})", self.name),
            None => self.name.clone(),
        }
    }
}

/// How a name is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The whole name, username or e-mail address, without case and accents.
    Whole,
    /// As a search finds it: each word in one of them.
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
    /// Principals of one kind by name, in the order of their ids, but for the one with exactly this username,
    /// who is first. Personal groups only where `seen_by` may see them.
    ///
    /// # Errors
    /// Where the database fails.
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
                // search_text has a line for each of name, username and e-mail address.
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

    /// The names of these principals, with what tells those of one name apart; whoever does not exist is left out.
    ///
    /// # Errors
    /// Where the database fails.
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

    /// The names of these secrets; what does not exist is left out.
    ///
    /// # Errors
    /// Where the database fails.
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
