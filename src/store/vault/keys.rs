//! Finds out which vault keys the client secrets are sealed with, and whether there is data other than the demo's.

use std::ops::RangeInclusive;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel::{QueryableByName, RunQueryDsl};

use crate::db::{DbError, statement};
use crate::store::transact::Store;

/// The most keys that are looked for. Nobody uses so many, and these are enough to see that a key is the wrong one.
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
    /// The ids of the first eight keys that client secrets are sealed with. The id of a key is made from the key
    /// itself. Each id costs one look-up in an index, however many secrets there are.
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

    /// Whether there is a person whose e-mail address does not end with this, or a secret whose id is not among
    /// these. The search ends with the first that it finds.
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
