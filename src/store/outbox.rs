//! Writes the outbox: a message is committed together with the change that it tells of, and waits there to be sent.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::JobKind;
use crate::domain::event::EventKind;
use crate::store::clock::Now;

use crate::store::codes::millis;
use crate::store::schema::outbox;

/// The kind of a message in the outbox. The relay knows to which exchange each kind goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// The request of a job, which makes a worker begin it.
    Request,
    /// A step, which makes a worker go on with one lane of a job.
    Step,
    /// An event of a job of this kind, for everybody who listens.
    Event(JobKind, EventKind),
}

impl MessageKind {
    /// The number of this kind in the column `outbox.letter`. The last digit says which event it is, and the tens say
    /// of which kind of job.
    pub(in crate::store) fn code(self) -> i16 {
        let (of, kind) = match self {
            Self::Request => return 1,
            Self::Step => return 2,
            Self::Event(of, kind) => (of, kind),
        };
        let tens = match of {
            JobKind::Share => 0,
            JobKind::Undo => 10,
            JobKind::Unshare => 20,
        };
        tens + match kind {
            EventKind::Accepted => 3,
            EventKind::Progress => 4,
            EventKind::Completed => FIRST_TERMINAL,
            EventKind::Failed => 6,
            EventKind::Cancelled => 7,
        }
    }

    pub(in crate::store) fn from_code(code: i16) -> Result<Self, DbError> {
        let events =
            JobKind::ALL.iter().flat_map(|of| EventKind::ALL.iter().map(|kind| Self::Event(*of, *kind)));
        [Self::Request, Self::Step]
            .into_iter()
            .chain(events)
            .find(|kind| kind.code() == code)
            .ok_or_else(|| DbError::Corrupt(format!("outbox.letter is {code}")))
    }
}

/// The smallest last digit of the number of a terminal event in the column `outbox.letter`.
pub(in crate::store) const FIRST_TERMINAL: i16 = 5;

/// A message that waits to be sent.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    pub id: i64,
    pub kind: MessageKind,
    pub message_id: String,
    pub traceparent: String,
    pub body: Vec<u8>,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// How often the request was put aside (see [`super::Aside`]). It is 0 for all other messages.
    pub asides: i32,
}

/// The values of a new row of the outbox.
#[derive(Clone, Insertable)]
#[diesel(table_name = outbox)]
pub(in crate::store) struct NewMessage {
    #[diesel(column_name = letter)]
    pub(in crate::store) kind: i16,
    pub(in crate::store) message_id: String,
    pub(in crate::store) traceparent: String,
    pub(in crate::store) body: Vec<u8>,
    pub(in crate::store) job: Option<i64>,
    pub(in crate::store) lane: Option<i32>,
    pub(in crate::store) created_at: i64,
    pub(in crate::store) leased_until: i64,
}

/// The largest body, in bytes, that is handed to the relay of this process. Larger messages would need their memory
/// twice, so the relay reads them from the table.
const LARGEST_HANDED_OVER: usize = 64 * 1024;

/// Whether a message with this body is handed to the relay of this process.
pub(in crate::store) fn is_handed_over(body: &[u8]) -> bool {
    body.len() <= LARGEST_HANDED_OVER
}

/// Inserts messages and returns their rows. Messages that are handed over to the relay of this process are leased for
/// `lease`, by the database's clock. The others, and all of them if `lease` is zero, are inserted without a lease, so
/// that any relay may send them at once.
pub(in crate::store) fn insert(
    conn: &mut Conn,
    messages: Vec<NewMessage>,
    lease: Duration,
) -> Result<Vec<OutboxRow>, DbError> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let lease = millis(lease);
    let mut ids = match conn {
        Conn::Pg(conn) => insert_postgres(conn, &messages, lease)?,
        Conn::Sqlite(conn) => insert_sqlite(conn, &messages, lease)?,
    };
    // Both databases give rising ids in the order in which the rows are inserted, but may return them in another
    // order.
    ids.sort_unstable();
    ids.into_iter()
        .zip(messages)
        .map(|(id, message)| {
            Ok(OutboxRow {
                id,
                kind: MessageKind::from_code(message.kind)?,
                message_id: message.message_id,
                traceparent: message.traceparent,
                body: message.body,
                created_at: message.created_at,
                asides: 0,
            })
        })
        .collect()
}

/// Inserts all messages by one statement, which is one round trip. They are bound as arrays, because bodies are bytes,
/// which the JSON lists of other statements cannot hold. The ordinality keeps the rows in the order of the messages.
fn insert_postgres(
    conn: &mut PgConnection,
    messages: &[NewMessage],
    lease: i64,
) -> Result<Vec<i64>, DbError> {
    let sql = "INSERT INTO outbox (letter, message_id, traceparent, body, job, lane, created_at, leased_until) \
               SELECT l.letter, l.message_id, l.traceparent, l.body, l.job, l.lane, l.created_at, \
               CASE WHEN l.leased THEN now_ms() + $9 ELSE 0 END \
               FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) WITH ORDINALITY \
               AS l (letter, message_id, traceparent, body, job, lane, created_at, leased, place) \
               ORDER BY l.place RETURNING id";
    let each = messages.iter();
    let rows: Vec<Id> = statement(sql)
        .bind::<Array<SmallInt>, _>(each.clone().map(|of| of.kind).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(each.clone().map(|of| of.message_id.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(each.clone().map(|of| of.traceparent.as_str()).collect::<Vec<_>>())
        .bind::<Array<Binary>, _>(each.clone().map(|of| of.body.as_slice()).collect::<Vec<_>>())
        .bind::<Array<Nullable<BigInt>>, _>(each.clone().map(|of| of.job).collect::<Vec<_>>())
        .bind::<Array<Nullable<Integer>>, _>(each.clone().map(|of| of.lane).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(each.clone().map(|of| of.created_at).collect::<Vec<_>>())
        .bind::<Array<Bool>, _>(each.map(|of| lease > 0 && is_handed_over(&of.body)).collect::<Vec<_>>())
        .bind::<BigInt, _>(lease)
        .load(conn)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Inserts the messages one by one. SQLite is in this process, so that costs no round trips.
fn insert_sqlite(
    conn: &mut SqliteConnection,
    messages: &[NewMessage],
    lease: i64,
) -> Result<Vec<i64>, DbError> {
    let until = match lease {
        0 => 0,
        lease => statement("SELECT now_ms() AS now").get_result::<Now>(conn)?.now + lease,
    };
    messages
        .iter()
        .map(|message| {
            let leased_until = if is_handed_over(&message.body) { until } else { 0 };
            let row = NewMessage { leased_until, ..message.clone() };
            Ok(diesel::insert_into(outbox::table).values(row).returning(outbox::id).get_result(conn)?)
        })
        .collect()
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Ends the lease of messages that could not be sent, so that any relay may take them at once.
pub(in crate::store) fn release(conn: &mut Conn, ids: Vec<i64>) -> Result<(), DbError> {
    let sql = format!("UPDATE outbox SET leased_until = 0 WHERE id IN ({})", conn.each_id("$1"));
    let list = conn.id_list(ids);
    statement(sql).bind::<Text, _>(list).execute(conn)?;
    Ok(())
}
