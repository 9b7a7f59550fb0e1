//! Sums up what a person has requested lately, whichever gateway took the requests.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use crate::db::{DbError, statement};
use crate::domain::PrincipalId;
use crate::store::codes::millis;
use crate::store::transact::Store;

/// How much a person may still request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub pairs: u64,
    /// The size of the messages that the requests become, together.
    pub bytes: u64,
}

impl Allowance {
    /// No limit at all.
    pub const UNLIMITED: Self = Self { pairs: u64::MAX, bytes: u64::MAX };
}

/// How much a person has requested in a period of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    pub pairs: u64,
    pub bytes: u64,
    /// How long ago the first of these jobs was requested. `None` if there is no such job.
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
    /// How much the person has requested within this time, over HTTP or from the command line. Jobs that came by
    /// message are not counted, since whoever publishes a message can name any person in it.
    pub async fn asked(&self, person: PrincipalId, within: Duration) -> Result<Asked, DbError> {
        // The inner query finds the newest job that is too old, by the index of a person's jobs, and the outer one
        // sums up the jobs after it. So only the jobs of that time are read, and of their texts only the lengths.
        const SQL: &str = "SELECT CAST(COALESCE(SUM(pairs), 0) AS BIGINT) AS pairs, \
            CAST(COALESCE(SUM(COALESCE(octet_length(selection), 0) + octet_length(recipients)), 0) AS BIGINT) AS bytes, \
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
