//! Gives a relay the messages of the outbox that wait to be sent, and removes those that the broker has confirmed.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};

use crate::db::{DbError, statement};
use crate::store::codes::millis;
use crate::store::outbox::{MessageKind, OutboxRow, release};
use crate::store::schema::outbox;
use crate::store::transact::Store;

/// The number of tries after which a message is held back for longer. What the broker does not take so often is not
/// taken because of the message itself, or because of something that an operator has to change.
pub const TRIES: i32 = 10;

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Integer)]
    bytes: i32,
}

#[derive(QueryableByName)]
#[diesel(table_name = outbox)]
struct Tried {
    id: i64,
    tries: i32,
}

/// The columns that make an [`OutboxRow`], as the database returns them.
#[derive(QueryableByName)]
#[diesel(table_name = outbox)]
struct OutboxColumns {
    id: i64,
    #[diesel(column_name = letter)]
    kind: i16,
    message_id: String,
    traceparent: String,
    body: Vec<u8>,
    created_at: i64,
    asides: i32,
}

impl TryFrom<OutboxColumns> for OutboxRow {
    type Error = DbError;

    fn try_from(row: OutboxColumns) -> Result<Self, DbError> {
        let OutboxColumns { id, kind, message_id, traceparent, body, created_at, asides } = row;
        Ok(Self {
            id,
            kind: MessageKind::from_code(kind)?,
            message_id,
            traceparent,
            body,
            created_at,
            asides,
        })
    }
}

/// The most bytes of messages that a relay reads at once, so that its memory does not grow with the outbox.
const BYTES_TAKEN: i64 = 4 * 1024 * 1024;

impl Store {
    /// Takes up to `limit` messages that nobody has a lease on, oldest first, and leases them to the caller. Their
    /// bodies together have at most [`BYTES_TAKEN`] bytes, except that the first message is taken whatever its size
    /// is.
    pub async fn take_unsent(&self, limit: usize, lease: Duration) -> Result<Vec<OutboxRow>, DbError> {
        let lease = millis(lease);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db
            .write(move |conn| {
                let sql = format!(
                    "SELECT id, length(body) AS bytes FROM outbox WHERE leased_until <= now_ms() \
                     ORDER BY id LIMIT $1 {}",
                    conn.skip_locked()
                );
                let due: Vec<Due> = statement(sql).bind::<BigInt, _>(limit).load(conn)?;
                let mut bytes = 0;
                let fits = |row: &&Due| {
                    let first = bytes == 0;
                    bytes += i64::from(row.bytes);
                    first || bytes <= BYTES_TAKEN
                };
                let ids = conn.id_list(due.iter().take_while(fits).map(|row| row.id));
                if due.is_empty() {
                    return Ok(Vec::new());
                }
                let sql = format!(
                    "UPDATE outbox SET leased_until = now_ms() + $2 WHERE id IN ({}) \
                     RETURNING id, letter, message_id, traceparent, body, created_at, asides",
                    conn.each_id("$1")
                );
                let rows: Vec<OutboxColumns> =
                    statement(sql).bind::<Text, _>(ids).bind::<BigInt, _>(lease).load(conn)?;
                let mut rows: Vec<OutboxRow> =
                    rows.into_iter().map(OutboxRow::try_from).collect::<Result<_, _>>()?;
                rows.sort_unstable_by_key(|row| row.id);
                Ok(rows)
            })
            .await
    }

    /// Removes messages that the broker has confirmed.
    ///
    /// # Errors
    /// An error of the database. The messages are then sent a second time, with the same ids.
    pub async fn remove_sent(&self, ids: Vec<i64>) -> Result<(), DbError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.db
            .write(move |conn| {
                let sql = format!("DELETE FROM outbox WHERE id IN ({})", conn.each_id("$1"));
                let list = conn.id_list(ids);
                statement(sql).bind::<Text, _>(list).execute(conn)?;
                Ok(())
            })
            .await
    }

    /// Ends the lease of messages that could not be sent, so that any relay may take them at once.
    ///
    /// # Errors
    /// An error of the database. The caller need not try again, since the lease runs out anyway.
    pub async fn release_unsent(&self, ids: Vec<i64>) -> Result<(), DbError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.db.write(move |conn| release(conn, ids)).await
    }

    /// Counts one more try of messages that the broker refused to take. Each is sent again when its lease runs out,
    /// or, after [`TRIES`] tries, when `hold` has passed. Returns the number of tries of each message by its id.
    ///
    /// # Errors
    /// An error of the database. The try is not counted then, and the messages are sent again when their leases run
    /// out.
    pub async fn not_taken(&self, ids: Vec<i64>, hold: Duration) -> Result<Vec<(i64, i32)>, DbError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.db
            .write(move |conn| {
                let sql = format!(
                    "UPDATE outbox SET tries = tries + 1, \
                     leased_until = CASE WHEN tries + 1 >= {TRIES} THEN now_ms() + $2 ELSE leased_until END \
                     WHERE id IN ({}) RETURNING id, tries",
                    conn.each_id("$1")
                );
                let ids = conn.id_list(ids);
                let rows: Vec<Tried> =
                    statement(sql).bind::<Text, _>(ids).bind::<BigInt, _>(millis(hold)).load(conn)?;
                Ok(rows.into_iter().map(|row| (row.id, row.tries)).collect())
            })
            .await
    }

    /// Ends the leases of all messages, so that they are sent at once. The only process with a relay calls this when
    /// it starts, since whoever leased a message before is gone. Requests that were put aside still wait for their
    /// time.
    ///
    /// # Errors
    /// An error of the database. The caller need not try again, since the leases run out anyway.
    pub async fn recover_unsent(&self) -> Result<(), DbError> {
        self.db
            .write(|conn| {
                let leased = outbox::table.filter(outbox::leased_until.gt(0)).filter(outbox::asides.eq(0));
                diesel::update(leased).set(outbox::leased_until.eq(0)).execute(conn)?;
                Ok(())
            })
            .await
    }

    /// The number of messages in the outbox.
    pub async fn unsent(&self) -> Result<i64, DbError> {
        self.db.read(|conn| Ok(outbox::table.count().get_result(conn)?)).await
    }
}
