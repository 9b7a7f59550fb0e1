//! Puts a request aside, so that the messages behind it need not wait for it.
//!
//! While another transaction holds a job's row, its request cannot be begun, and a failed attempt cannot be recorded
//! either. The request then goes into the outbox with the time at which it is sent to its queue again. That needs no
//! lock on the row of the job.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, SmallInt, Text};

use crate::db::{DbError, statement};
use crate::domain::JobId;
use crate::store::codes::millis;
use crate::store::outbox::MessageKind;
use crate::store::schema::jobs;
use crate::store::transact::Store;

/// A request that is sent again later.
#[derive(Debug, Clone)]
pub struct Aside {
    pub job: JobId,
    /// The id of the message as it came. It names the run of the job if the message came from a replay.
    pub message_id: String,
    pub traceparent: String,
    pub body: Vec<u8>,
    /// How often the request has been put aside, this time included.
    pub times: i32,
    /// The request is sent again after this time.
    pub after: Duration,
}

impl Store {
    /// Keeps a request in the outbox until it is time to send it.
    ///
    /// # Errors
    /// An error of the database. The caller must not acknowledge the request then, since it may not be kept.
    pub async fn put_aside(&self, aside: Aside) -> Result<(), DbError> {
        self.db
            .write(move |conn| {
                // If the job has a row, the message names it. Due work then sees that the request is on its way and
                // does not send it a second time.
                let key: Option<i64> = jobs::table
                    .filter(jobs::job_id.eq(aside.job.to_string()))
                    .select(jobs::id)
                    .first(conn)
                    .optional()?;
                let sql = "INSERT INTO outbox (letter, message_id, traceparent, body, job, lane, created_at, asides, \
                           leased_until) VALUES ($1, $2, $3, $4, $5, NULL, now_ms(), $6, now_ms() + $7)";
                statement(sql)
                    .bind::<SmallInt, _>(MessageKind::Request.code())
                    // The sender chose this id, and PostgreSQL cannot keep a NUL character in a text.
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
