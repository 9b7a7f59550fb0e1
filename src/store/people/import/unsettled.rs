//! Checks, at the end of an import, that every user who was referred to exists, and that nobody lost a unique name.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError};
use crate::domain::PrincipalId;
use crate::store::people::import::kinds::ImportError;

/// What can be checked only at the end of the file, each with the line to blame if it is wrong.
#[derive(Default)]
pub(in crate::store) struct Unsettled {
    /// The users that were referred to, each with the first line that did.
    pub(in crate::store) references: HashMap<PrincipalId, u64>,
    /// The users whose username was given to another user by this line. A user is removed from here when the user's
    /// own line gives a new username.
    pub(in crate::store) usernames: HashMap<i64, u64>,
    /// The same for secrets whose identifier was given to another secret.
    pub(in crate::store) identifiers: HashMap<i64, u64>,
}

/// The most ids that one statement of the check looks up.
const CHECKED_TOGETHER: usize = 10_000;

impl Unsettled {
    /// Notes that this line refers to these users.
    pub(in crate::store) fn refer<'a>(
        &mut self,
        line: u64,
        users: impl IntoIterator<Item = &'a PrincipalId>,
    ) {
        for user in users {
            self.references.entry(*user).or_insert(line);
        }
    }

    /// Checks everything that was noted. The error names the first line that is wrong.
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

/// Those of these ids that no user has.
fn not_users(conn: &mut Conn, referred: &[(u64, PrincipalId)]) -> Result<Vec<i64>, DbError> {
    let sql = format!(
        "WITH ids(id) AS ({}) SELECT CAST(ids.id AS BIGINT) AS id FROM ids \
         LEFT JOIN principals p ON p.id = ids.id AND p.kind = 1 WHERE p.id IS NULL",
        conn.each_id("$1"),
    );
    let list = conn.id_list(referred.iter().map(|(_, id)| *id));
    Ok(sql_query(sql).bind::<Text, _>(list).load::<Id>(conn)?.into_iter().map(|row| row.id).collect())
}
