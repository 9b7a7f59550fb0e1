//! What a person has asked for lately, whichever gateway took it.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use crate::db::{DbError, statement};
use crate::domain::PrincipalId;
use crate::store::codes::millis;
use crate::store::transact::Store;

/// What one person may still ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub pairs: u64,
    /// Of the messages that the requests become.
    pub bytes: u64,
}

impl Allowance {
    pub const UNLIMITED: Self = Self { pairs: u64::MAX, bytes: u64::MAX };
}

/// What a person asked for in a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    pub pairs: u64,
    pub bytes: u64,
    /// How long ago the first of these jobs was asked for; none where there is none.
    pub oldest: Option<Duration>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    pairs: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest_ms: Option<i64>,
}

impl Store {
    /// What the person asked for in the last `within`, over HTTP or from the command line: what comes by message in
    /// somebody's name is not counted against that person.
    ///
    /// # Errors
    /// The database's.
    pub async fn asked(&self, person: PrincipalId, within: Duration) -> Result<Asked, DbError> {
        // Newest first by the index that there is, up to the first one that is too old. The texts are not read,
        // only their lengths.
        const SQL: &str = "SELECT CAST(COALESCE(SUM(pairs), 0) AS BIGINT) AS pairs, \
            CAST(COALESCE(SUM(octet_length(selection) + octet_length(recipients)), 0) AS BIGINT) AS bytes, \
            now_ms() - MIN(requested_at) AS oldest_ms FROM jobs WHERE requested_by = $1 AND asked_here AND id > COALESCE(\
            (SELECT id FROM jobs WHERE requested_by = $1 AND requested_at < now_ms() - $2 \
            ORDER BY id DESC LIMIT 1), 0)";
        let row: Row = self
            .db
            .read(move |conn| {
                let asked = statement(SQL).bind::<BigInt, _>(person.get()).bind::<BigInt, _>(millis(within));
                Ok(asked.get_result(conn)?)
            })
            .await?;
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Asked {
            pairs: unsigned(row.pairs),
            bytes: unsigned(row.bytes),
            oldest: row.oldest_ms.map(|ms| Duration::from_millis(unsigned(ms))),
        })
    }
}
