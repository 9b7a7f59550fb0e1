//! The outbox: messages that were committed with the change they tell of, and wait to be sent.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::event::EventKind;

use crate::store::schema::outbox;
use crate::store::{Store, millis};

/// What a message is. The relay knows where each goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letter {
    Request,
    Step,
    Event(EventKind),
}

impl Letter {
    const ALL: [Self; 7] = [
        Self::Request,
        Self::Step,
        Self::Event(EventKind::Accepted),
        Self::Event(EventKind::Progress),
        Self::Event(EventKind::Completed),
        Self::Event(EventKind::Failed),
        Self::Event(EventKind::Cancelled),
    ];

    /// The number in `outbox.letter`. Numbers from [`FIRST_TERMINAL`] on are terminal events.
    pub(in crate::store) fn code(self) -> i16 {
        match self {
            Self::Request => 1,
            Self::Step => 2,
            Self::Event(EventKind::Accepted) => 3,
            Self::Event(EventKind::Progress) => 4,
            Self::Event(EventKind::Completed) => FIRST_TERMINAL,
            Self::Event(EventKind::Failed) => 6,
            Self::Event(EventKind::Cancelled) => 7,
        }
    }

    fn from_code(code: i16) -> Result<Self, DbError> {
        Self::ALL
            .into_iter()
            .find(|letter| letter.code() == code)
            .ok_or_else(|| DbError::Corrupt(format!("outbox.letter is {code}")))
    }
}

/// The first number of a terminal event in `outbox.letter`.
pub(in crate::store) const FIRST_TERMINAL: i16 = 5;

/// A message that waits to be sent.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    pub id: i64,
    pub letter: Letter,
    pub message_id: String,
    pub traceparent: String,
    pub body: Vec<u8>,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// How often its request was put aside (see [`super::Aside`]).
    pub asides: i32,
}

#[derive(Clone, Insertable)]
#[diesel(table_name = outbox)]
pub(in crate::store) struct NewLetter {
    pub(in crate::store) letter: i16,
    pub(in crate::store) message_id: String,
    pub(in crate::store) traceparent: String,
    pub(in crate::store) body: Vec<u8>,
    pub(in crate::store) job: Option<i64>,
    pub(in crate::store) lane: Option<i32>,
    pub(in crate::store) created_at: i64,
    pub(in crate::store) leased_until: i64,
}

/// Bytes of a message that goes to this process's relay directly. Larger ones are not kept in memory twice:
/// a relay reads them from the table.
const LARGEST_HANDED_OVER: usize = 64 * 1024;

/// Whether a message of this body goes to this process's relay directly.
pub(in crate::store) fn is_handed_over(body: &[u8]) -> bool {
    body.len() <= LARGEST_HANDED_OVER
}

/// Inserts messages. Those that are handed over are leased for `lease` by the database's clock (zero: free to
/// take, as the others are).
pub(in crate::store) fn insert(
    conn: &mut Conn,
    letters: Vec<NewLetter>,
    lease: Duration,
) -> Result<Vec<OutboxRow>, DbError> {
    if letters.is_empty() {
        return Ok(Vec::new());
    }
    let lease = millis(lease);
    let mut ids = match conn {
        Conn::Pg(conn) => insert_postgres(conn, &letters, lease)?,
        Conn::Sqlite(conn) => insert_sqlite(conn, &letters, lease)?,
    };
    // Ids are given in the order of the rows.
    ids.sort_unstable();
    ids.into_iter()
        .zip(letters)
        .map(|(id, letter)| {
            Ok(OutboxRow {
                id,
                letter: Letter::from_code(letter.letter)?,
                message_id: letter.message_id,
                traceparent: letter.traceparent,
                body: letter.body,
                created_at: letter.created_at,
                asides: 0,
            })
        })
        .collect()
}

/// All in one statement: bodies are bytes, which only PostgreSQL's arrays can hold.
fn insert_postgres(conn: &mut PgConnection, letters: &[NewLetter], lease: i64) -> Result<Vec<i64>, DbError> {
    let sql = "INSERT INTO outbox (letter, message_id, traceparent, body, job, lane, created_at, leased_until) \
               SELECT l.letter, l.message_id, l.traceparent, l.body, l.job, l.lane, l.created_at, \
               CASE WHEN l.leased THEN now_ms() + $9 ELSE 0 END \
               FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) WITH ORDINALITY \
               AS l (letter, message_id, traceparent, body, job, lane, created_at, leased, place) \
               ORDER BY l.place RETURNING id";
    let each = letters.iter();
    let rows: Vec<Id> = statement(sql)
        .bind::<Array<SmallInt>, _>(each.clone().map(|of| of.letter).collect::<Vec<_>>())
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

/// One by one: there is no way to a server to be saved.
fn insert_sqlite(
    conn: &mut SqliteConnection,
    letters: &[NewLetter],
    lease: i64,
) -> Result<Vec<i64>, DbError> {
    let until = match lease {
        0 => 0,
        lease => statement("SELECT now_ms() AS now").get_result::<Now>(conn)?.now + lease,
    };
    letters
        .iter()
        .map(|letter| {
            let leased_until = if is_handed_over(&letter.body) { until } else { 0 };
            let row = NewLetter { leased_until, ..letter.clone() };
            Ok(diesel::insert_into(outbox::table).values(row).returning(outbox::id).get_result(conn)?)
        })
        .collect()
}

/// Milliseconds since 1970 by the database's clock.
pub(in crate::store) fn now(conn: &mut Conn) -> Result<i64, DbError> {
    Ok(statement("SELECT now_ms() AS now").get_result::<Now>(conn)?.now)
}

#[derive(QueryableByName)]
pub(in crate::store) struct Now {
    #[diesel(sql_type = BigInt)]
    pub(in crate::store) now: i64,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Integer)]
    bytes: i32,
}

/// Tries after which a message is kept aside: what the broker answers is then about the message, or about
/// something that an operator has to change.
pub const TRIES: i32 = 10;

#[derive(QueryableByName)]
#[diesel(table_name = outbox)]
struct Tried {
    id: i64,
    tries: i32,
}

#[derive(QueryableByName)]
#[diesel(table_name = outbox)]
struct Columns {
    id: i64,
    letter: i16,
    message_id: String,
    traceparent: String,
    body: Vec<u8>,
    created_at: i64,
    asides: i32,
}

impl TryFrom<Columns> for OutboxRow {
    type Error = DbError;

    fn try_from(row: Columns) -> Result<Self, DbError> {
        let Columns { id, letter, message_id, traceparent, body, created_at, asides } = row;
        Ok(Self { id, letter: Letter::from_code(letter)?, message_id, traceparent, body, created_at, asides })
    }
}

/// Bytes of messages that a relay reads from the table at once: its memory is not to grow with what waits.
const BYTES_TAKEN: i64 = 4 * 1024 * 1024;

impl Store {
    /// Takes up to `limit` messages whose lease has run out, oldest first, and leases them anew. One at
    /// least, if there is any, and no more than [`BYTES_TAKEN`] of them.
    ///
    /// # Errors
    /// Where the database fails.
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
                let rows: Vec<Columns> =
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
    /// Where the database fails; the messages are sent once more then, with the same ids.
    pub async fn remove_sent(&self, ids: Vec<i64>) -> Result<(), DbError> {
        self.on_outbox("DELETE FROM outbox WHERE id IN", ids).await
    }

    /// Gives messages up that could not be sent: any relay may take them at once.
    ///
    /// # Errors
    /// Where the database fails; their lease runs out by itself.
    pub async fn release_unsent(&self, ids: Vec<i64>) -> Result<(), DbError> {
        self.on_outbox("UPDATE outbox SET leased_until = 0 WHERE id IN", ids).await
    }

    /// Counts one more try of messages that the broker did not take though it answered, and keeps each for another
    /// time: until its lease runs out, and after [`TRIES`] of them for `hold`. Returns how often each was tried.
    ///
    /// # Errors
    /// Where the database fails; their leases run out by themselves.
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

    /// Frees what relays were about to send. To be called when the only process that has a relay starts: whoever
    /// leased a message then is gone. What was put aside keeps its time.
    ///
    /// # Errors
    /// Where the database fails; the leases run out by themselves.
    pub async fn recover_unsent(&self) -> Result<(), DbError> {
        self.db
            .write(|conn| {
                let leased = outbox::table.filter(outbox::leased_until.gt(0)).filter(outbox::asides.eq(0));
                diesel::update(leased).set(outbox::leased_until.eq(0)).execute(conn)?;
                Ok(())
            })
            .await
    }

    /// How many messages wait to be sent.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn unsent(&self) -> Result<i64, DbError> {
        self.db.read(|conn| Ok(outbox::table.count().get_result(conn)?)).await
    }

    async fn on_outbox(&self, head: &'static str, ids: Vec<i64>) -> Result<(), DbError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.db
            .write(move |conn| {
                let sql = format!("{head} ({})", conn.each_id("$1"));
                let list = conn.id_list(ids);
                statement(sql).bind::<Text, _>(list).execute(conn)?;
                Ok(())
            })
            .await
    }
}
