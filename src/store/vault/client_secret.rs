//! Gives the client secret of a secret to a person, and records that.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use crate::db::{DbError, Flow, statement};
use crate::domain::{Actor, PrincipalId, SecretId};
use crate::store::audit::entry::Entry;
use crate::store::audit::write as audit;
use crate::store::people::membership::acting_as;
use crate::store::transact::Store;
use crate::store::vault::access::{level_on_secret, reach};

/// An encrypted client secret, which only the vault can decrypt, and the id of its key.
pub struct Sealed {
    pub bytes: Vec<u8>,
    pub key_id: String,
}

/// What became of an attempt to read a client secret.
pub enum ClientSecret<T, E> {
    /// There is no such secret, or the person cannot reach it.
    NotSeen,
    /// The secret has no client secret.
    Empty,
    /// The client secret, as it was opened. That it was given is recorded.
    Given(T),
    /// It could not be opened, so nothing was given and nothing recorded.
    NotOpened(E),
}

impl Store {
    /// Reads the client secret and opens it with `open`, which must be quick, since the transaction waits for it.
    ///
    /// # Errors
    /// The database cannot be read, or it takes no record of the reading, as a standby does. The value is dropped then,
    /// and the caller has nothing that it could give. There may be a record of a value that nobody was given.
    pub async fn client_secret<T: Send + 'static, E: Send + 'static>(
        &self,
        user: PrincipalId,
        id: SecretId,
        open: impl FnOnce(Sealed) -> Result<T, E> + Send + 'static,
    ) -> Result<ClientSecret<T, E>, DbError> {
        self.db
            .write_or_not(move |conn| {
                // Access and value come in one statement, because each statement is a round trip while somebody waits.
                let sql = format!(
                    "SELECT {} AS level, s.client_secret, s.client_secret_key FROM secrets s WHERE s.id = $2",
                    level_on_secret("$1", &format!("({})", acting_as("$1"))),
                );
                let row: Option<SealedRow> = statement(sql)
                    .bind::<BigInt, _>(user.get())
                    .bind::<BigInt, _>(id.get())
                    .get_result(conn)
                    .optional()?;
                let Some(row) = row else { return Ok(Flow::Rollback(ClientSecret::NotSeen)) };
                if reach(row.level)?.is_none() {
                    return Ok(Flow::Rollback(ClientSecret::NotSeen));
                }
                let Some(bytes) = row.client_secret else { return Ok(Flow::Rollback(ClientSecret::Empty)) };
                match open(Sealed { bytes, key_id: row.client_secret_key.unwrap_or_default() }) {
                    Err(error) => Ok(Flow::Rollback(ClientSecret::NotOpened(error))),
                    Ok(value) => {
                        audit::write(conn, &Entry::SecretRead { secret: id, by: Actor::Person(user) })?;
                        Ok(Flow::Commit(ClientSecret::Given(value)))
                    }
                }
            })
            .await
    }
}

#[derive(QueryableByName)]
struct SealedRow {
    #[diesel(sql_type = BigInt)]
    level: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    client_secret: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Text>)]
    client_secret_key: Option<String>,
}
