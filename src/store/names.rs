//! Names: finding principals by them, and telling ids by them. For the operator's command line, who
//! sees everything; what a person may see is the gateway's business.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};
use diesel::{RunQueryDsl, sql_query};

use super::Store;
use super::access::visible_to;
use crate::db::DbError;
use crate::domain::share::fold;
use crate::domain::{PrincipalId, PrincipalKind, SecretId};

/// A principal that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub id: PrincipalId,
    pub name: String,
    /// Users only.
    pub username: Option<String>,
    pub email: Option<String>,
}

/// How a name is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The whole name, username or e-mail address, whatever the case.
    Whole,
    /// A part of one of them.
    Part,
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
    /// Principals of one kind by name, in the order of their ids. Personal groups only where
    /// `seen_by` may see them.
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
        // search_text has a line for each of name, username and e-mail address.
        let escaped = fold(text).replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let pattern = match matching {
            Match::Whole => format!("%\n{escaped}\n%"),
            Match::Part => format!("%{escaped}%"),
        };
        let sql = format!(
            "SELECT p.id, p.name, p.username, p.email FROM principals p WHERE p.kind = $1 \
             AND ('\n' || p.search_text || '\n') LIKE $2 ESCAPE '\\' AND {} ORDER BY p.id LIMIT $4",
            visible_to("$3"),
        );
        let seen_by = seen_by.map_or(0, PrincipalId::get);
        self.db
            .read(move |conn| {
                let rows = sql_query(sql)
                    .bind::<SmallInt, _>(kind.code())
                    .bind::<Text, _>(pattern)
                    .bind::<BigInt, _>(seen_by)
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

    /// The names of these principals; whoever does not exist is left out.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn principal_names(
        &self,
        ids: impl IntoIterator<Item = PrincipalId>,
    ) -> Result<HashMap<PrincipalId, String>, DbError> {
        self.names("principals", ids.into_iter().map(PrincipalId::get).collect()).await
    }

    /// The names of these secrets; what does not exist is left out.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn secret_names(
        &self,
        ids: impl IntoIterator<Item = SecretId>,
    ) -> Result<HashMap<SecretId, String>, DbError> {
        self.names("secrets", ids.into_iter().map(SecretId::get).collect()).await
    }

    async fn names<Id: TryFrom<i64, Error = String> + Eq + std::hash::Hash + Send + 'static>(
        &self,
        table: &'static str,
        ids: Vec<i64>,
    ) -> Result<HashMap<Id, String>, DbError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        self.db
            .read(move |conn| {
                let sql = format!("SELECT id, name FROM {table} WHERE id IN ({})", conn.each_id("$1"));
                let rows = sql_query(sql).bind::<Text, _>(conn.id_list(ids)).load::<NameRow>(conn)?;
                rows.into_iter()
                    .map(|row| Ok((Id::try_from(row.id).map_err(DbError::Corrupt)?, row.name)))
                    .collect()
            })
            .await
    }
}
