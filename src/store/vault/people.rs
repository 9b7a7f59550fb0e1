//! Lists the people who have access to a secret, whether by their own grant, through a group, or as its owner.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::db::{DbError, statement};
use crate::domain::{PrincipalId, Reach, SecretId};
use crate::store::codes::id;
use crate::store::people::membership::may_act;
use crate::store::transact::Store;
use crate::store::vault::access::{everybody_on_secret, some_reach};
use crate::store::vault::secret::reach_of;

/// A person, and the most that they may do with the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub id: PrincipalId,
    pub name: String,
    pub username: String,
    pub email: String,
    pub reach: Reach,
}

/// What came of the question who has access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holders {
    /// There is no such secret, or the reader cannot reach it. The reader must not learn which.
    NotSeen,
    /// The reader may only view the secret.
    NotAllowed,
    People(Vec<Holder>),
}

#[derive(QueryableByName)]
struct HolderRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    username: String,
    #[diesel(sql_type = Text)]
    email: String,
    #[diesel(sql_type = BigInt)]
    level: i64,
}

impl TryFrom<HolderRow> for Holder {
    type Error = DbError;

    fn try_from(row: HolderRow) -> Result<Self, DbError> {
        let HolderRow { id: number, name, username, email, level } = row;
        Ok(Self { id: id(number)?, name, username, email, reach: some_reach(level)? })
    }
}

impl Store {
    /// A page of the people who can sign in and have access to the secret now, in the order of their ids, which are
    /// greater than `after`. Whoever may edit the secret may know them all, as with [`why`](Self::why).
    pub async fn holders(
        &self,
        reader: PrincipalId,
        secret: SecretId,
        after: i64,
        limit: i64,
    ) -> Result<Holders, DbError> {
        self.db
            .read(move |conn| {
                match reach_of(conn, reader, secret)? {
                    None => return Ok(Holders::NotSeen),
                    Some(reach) if !reach.may_edit() => return Ok(Holders::NotAllowed),
                    Some(_) => {}
                }
                let sql = format!(
                    "SELECT p.id, p.name, COALESCE(p.username, '') AS username, COALESCE(p.email, '') AS email, \
                     CAST(MAX(w.level) AS BIGINT) AS level \
                     FROM ({ways}) AS w JOIN principals p ON p.id = w.user_id \
                     WHERE {may_act} AND p.id > $2 GROUP BY p.id, p.name, p.username, p.email ORDER BY p.id LIMIT $3",
                    ways = everybody_on_secret("$1"),
                    may_act = may_act("p"),
                );
                let rows: Vec<HolderRow> = statement(sql)
                    .bind::<BigInt, _>(secret.get())
                    .bind::<BigInt, _>(after)
                    .bind::<BigInt, _>(limit)
                    .load(conn)?;
                Ok(Holders::People(rows.into_iter().map(Holder::try_from).collect::<Result<_, _>>()?))
            })
            .await
    }
}
