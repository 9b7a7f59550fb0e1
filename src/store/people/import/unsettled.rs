//! What only the end of an imported file can settle: people who were referred to, and names that changed hands.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError};
use crate::domain::PrincipalId;
use crate::store::people::import::kinds::ImportError;

/// What only the end of the file can settle, each with the line to blame.
#[derive(Default)]
pub(in crate::store) struct Unsettled {
    /// Users that were referred to, by the first line that did.
    pub(in crate::store) references: HashMap<PrincipalId, u64>,
    /// Users whose username went to another line, until their own line gives them a new one.
    pub(in crate::store) usernames: HashMap<i64, u64>,
    /// Secrets whose identifier went to another line, likewise.
    pub(in crate::store) identifiers: HashMap<i64, u64>,
}

/// Ids in one statement of the check.
const CHECKED_TOGETHER: usize = 10_000;

impl Unsettled {
    pub(in crate::store) fn refer<'a>(
        &mut self,
        line: u64,
        users: impl IntoIterator<Item = &'a PrincipalId>,
    ) {
        for user in users {
            self.references.entry(*user).or_insert(line);
        }
    }

    pub(in crate::store) fn check(&self, conn: &mut Conn) -> Result<(), ImportError> {
        let first = |map: &HashMap<i64, u64>| map.iter().map(|(id, line)| (*line, *id)).min();
        if let Some((line, holder)) = first(&self.usernames) {
            return Err(ImportError::line(line, format!("username is that of user {holder}")));
        }
        if let Some((line, holder)) = first(&self.identifiers) {
            return Err(ImportError::line(line, format!("identifier is that of secret {holder}")));
        }
        let mut referred: Vec<(u64, PrincipalId)> =
            self.references.iter().map(|(id, line)| (*line, *id)).collect();
        referred.sort_unstable();
        for part in referred.chunks(CHECKED_TOGETHER) {
            let unknown: Vec<i64> = not_users(conn, part)?;
            if let Some((line, id)) = part.iter().find(|(_, id)| unknown.contains(&id.get())) {
                return Err(ImportError::line(
                    *line,
                    format!("refers to user {id}, and there is no such user"),
                ));
            }
        }
        Ok(())
    }
}

#[derive(diesel::QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

fn not_users(conn: &mut Conn, referred: &[(u64, PrincipalId)]) -> Result<Vec<i64>, DbError> {
    let sql = format!(
        "WITH ids(id) AS ({}) SELECT CAST(ids.id AS BIGINT) AS id FROM ids \
         LEFT JOIN principals p ON p.id = ids.id AND p.kind = 1 WHERE p.id IS NULL",
        conn.each_id("$1"),
    );
    let list = conn.id_list(referred.iter().map(|(_, id)| *id));
    Ok(sql_query(sql).bind::<Text, _>(list).load::<Id>(conn)?.into_iter().map(|row| row.id).collect())
}
