//! Requests that are put aside, so that others do not wait for them.
//!
//! Where somebody holds a job's row, its request can neither be done nor its failure be recorded. It goes back to the
//! outbox with a time of its own, and from there to its queue; no row of the job is touched for that.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, SmallInt, Text};

use crate::db::{DbError, statement};
use crate::domain::JobId;
use crate::store::codes::millis;
use crate::store::outbox::MessageKind;
use crate::store::schema::jobs;
use crate::store::transact::Store;

/// A request to be sent again later.
#[derive(Debug, Clone)]
pub struct Aside {
    pub job: JobId,
    /// As it came: it may tell the job's run.
    pub message_id: String,
    pub traceparent: String,
    pub body: Vec<u8>,
    /// How often it has been put aside, this time included.
    pub times: i32,
    pub after: Duration,
}

impl Store {
    /// Keeps a request in the outbox until its time has come.
    ///
    /// # Errors
    /// Where the database fails: nothing was kept.
    pub async fn put_aside(&self, aside: Aside) -> Result<(), DbError> {
        self.db
            .write(move |conn| {
                // Where there is a row, due work sees that its request is on its way.
                let key: Option<i64> = jobs::table
                    .filter(jobs::job_id.eq(aside.job.to_string()))
                    .select(jobs::id)
                    .first(conn)
                    .optional()?;
                let sql = "INSERT INTO outbox (letter, message_id, traceparent, body, job, lane, created_at, asides, \
                           leased_until) VALUES ($1, $2, $3, $4, $5, NULL, now_ms(), $6, now_ms() + $7)";
                statement(sql)
                    .bind::<SmallInt, _>(MessageKind::Request.code())
                    // Properties come from outside: PostgreSQL keeps no NUL in a text.
                    .bind::<Text, _>(aside.message_id.replace('\0', "\u{fffd}"))
                    .bind::<Text, _>(aside.traceparent)
                    .bind::<Binary, _>(aside.body)
                    .bind::<diesel::sql_types::Nullable<BigInt>, _>(key)
                    .bind::<Integer, _>(aside.times)
                    .bind::<BigInt, _>(millis(aside.after))
                    .execute(conn)?;
                Ok(())
            })
            .await
    }
}
