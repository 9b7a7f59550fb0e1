//! Which vault keys the client secrets are sealed with, and whose data this is.

use std::ops::RangeInclusive;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel::{QueryableByName, RunQueryDsl};

use crate::db::{DbError, statement};
use crate::store::transact::Store;

/// More than anybody has; what is beyond them is not needed to tell that a key is wrong.
const MOST_KEYS: usize = 8;

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = Text)]
    id: String,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

impl Store {
    /// The ids of the keys that client secrets are sealed with, the first eight. A key's id is made from the key
    /// itself. It is a jump in an index for each id, however many secrets there are.
    ///
    /// # Errors
    /// The database's.
    pub async fn vault_keys(&self) -> Result<Vec<String>, DbError> {
        self.db
            .read(|conn| {
                let mut found: Vec<String> = Vec::new();
                while found.len() < MOST_KEYS {
                    let sql = "SELECT client_secret_key AS id FROM secrets WHERE client_secret_key > $1 \
                               ORDER BY client_secret_key LIMIT 1";
                    let last = found.last().cloned().unwrap_or_default();
                    match statement(sql).bind::<Text, _>(last).get_result::<Key>(conn).optional()? {
                        Some(key) => found.push(key.id),
                        None => break,
                    }
                }
                Ok(found)
            })
            .await
    }

    /// Whether there is a person whose e-mail address ends otherwise, or a secret with another id. It ends with the
    /// first that it finds.
    ///
    /// # Errors
    /// The database's.
    pub async fn has_others(
        &self,
        email_ending: &'static str,
        secrets: RangeInclusive<i64>,
    ) -> Result<bool, DbError> {
        self.db
            .read(move |conn| {
                let sql = "SELECT EXISTS (SELECT 1 FROM principals \
                           WHERE kind = 1 AND (email IS NULL OR email NOT LIKE $1)) \
                           OR EXISTS (SELECT 1 FROM secrets WHERE id < $2 OR id > $3) AS yes";
                let answer = statement(sql)
                    .bind::<Text, _>(format!("%{email_ending}"))
                    .bind::<BigInt, _>(*secrets.start())
                    .bind::<BigInt, _>(*secrets.end());
                Ok(answer.get_result::<Answer>(conn)?.yes)
            })
            .await
    }
}
