//! The outbox: messages that were committed with the change they tell of, and wait to be sent.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, SmallInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::event::EventKind;

use super::schema::outbox;
use super::{Store, millis};

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
    pub(super) fn code(self) -> i16 {
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
pub(super) const FIRST_TERMINAL: i16 = 5;

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
}

#[derive(Clone, Insertable)]
#[diesel(table_name = outbox)]
pub(super) struct NewLetter {
    pub(super) letter: i16,
    pub(super) message_id: String,
    pub(super) traceparent: String,
    pub(super) body: Vec<u8>,
    pub(super) job: Option<i64>,
    pub(super) lane: Option<i32>,
    pub(super) created_at: i64,
    pub(super) leased_until: i64,
}

/// Inserts messages, each leased for `lease` by the database's clock (zero: free to take).
pub(super) fn insert(
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
            })
        })
        .collect()
}

/// All in one statement: bodies are bytes, which only PostgreSQL's arrays can hold.
fn insert_postgres(conn: &mut PgConnection, letters: &[NewLetter], lease: i64) -> Result<Vec<i64>, DbError> {
    let sql = "INSERT INTO outbox (letter, message_id, traceparent, body, job, lane, created_at, leased_until) \
               SELECT l.letter, l.message_id, l.traceparent, l.body, l.job, l.lane, l.created_at, \
               CASE WHEN $8 > 0 THEN now_ms() + $8 ELSE 0 END FROM unnest($1, $2, $3, $4, $5, $6, $7) WITH ORDINALITY \
               AS l (letter, message_id, traceparent, body, job, lane, created_at, place) ORDER BY l.place RETURNING id";
    let each = letters.iter();
    let rows: Vec<Id> = statement(sql)
        .bind::<Array<SmallInt>, _>(each.clone().map(|of| of.letter).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(each.clone().map(|of| of.message_id.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(each.clone().map(|of| of.traceparent.as_str()).collect::<Vec<_>>())
        .bind::<Array<Binary>, _>(each.clone().map(|of| of.body.as_slice()).collect::<Vec<_>>())
        .bind::<Array<Nullable<BigInt>>, _>(each.clone().map(|of| of.job).collect::<Vec<_>>())
        .bind::<Array<Nullable<Integer>>, _>(each.clone().map(|of| of.lane).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(each.map(|of| of.created_at).collect::<Vec<_>>())
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
            let row = NewLetter { leased_until: until, ..letter.clone() };
            Ok(diesel::insert_into(outbox::table).values(row).returning(outbox::id).get_result(conn)?)
        })
        .collect()
}

/// Milliseconds since 1970 by the database's clock.
pub(super) fn now(conn: &mut Conn) -> Result<i64, DbError> {
    Ok(statement("SELECT now_ms() AS now").get_result::<Now>(conn)?.now)
}

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = BigInt)]
    now: i64,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

impl Store {
    /// Takes up to `limit` messages whose lease has run out, oldest first, and leases them anew.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn take_unsent(&self, limit: usize, lease: Duration) -> Result<Vec<OutboxRow>, DbError> {
        let lease = millis(lease);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db
            .write(move |conn| {
                let sql = format!(
                    "WITH due AS MATERIALIZED (SELECT id FROM outbox WHERE leased_until <= now_ms() \
                     ORDER BY id LIMIT $1 {}) UPDATE outbox SET leased_until = now_ms() + $2 FROM due \
                     WHERE outbox.id = due.id RETURNING outbox.id AS id",
                    conn.skip_locked()
                );
                let ids: Vec<Id> =
                    statement(sql).bind::<BigInt, _>(limit).bind::<BigInt, _>(lease).load(conn)?;
                let ids: Vec<i64> = ids.into_iter().map(|row| row.id).collect();
                type Columns = (i64, i16, String, String, Vec<u8>, i64);
                let rows: Vec<Columns> = outbox::table
                    .filter(outbox::id.eq_any(ids))
                    .order(outbox::id)
                    .select((
                        outbox::id,
                        outbox::letter,
                        outbox::message_id,
                        outbox::traceparent,
                        outbox::body,
                        outbox::created_at,
                    ))
                    .load(conn)?;
                rows.into_iter()
                    .map(|(id, letter, message_id, traceparent, body, created_at)| {
                        Ok(OutboxRow {
                            id,
                            letter: Letter::from_code(letter)?,
                            message_id,
                            traceparent,
                            body,
                            created_at,
                        })
                    })
                    .collect()
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
