//! The statements on the table `queue_messages`. Every function is one step of a transaction that its caller has
//! begun.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Map, Value};

use crate::broker::message::{Death, Delivery, Outgoing};
use crate::broker::topology::{Exchange, HEADER_TRACEPARENT, KEY_DEAD, Queue, Topology};
use crate::db::{Conn, DbError};

/// How long a message that was taken stays with a consumer that gives no sign of life.
pub(super) const LEASE_MS: i64 = 60_000;

diesel::table! {
    queue_messages (id) {
        id -> BigInt,
        queue -> Text,
        exchange -> SmallInt,
        routing_key -> Text,
        message_id -> Nullable<Text>,
        #[sql_name = "type"]
        kind -> Nullable<Text>,
        traceparent -> Nullable<Text>,
        headers -> Text,
        body -> Binary,
        visible_at -> BigInt,
        holder -> Nullable<Text>,
        deliveries -> Integer,
    }
}

diesel::define_sql_function! {
    /// The database's clock, as every other statement uses it (see `db/conn.rs`).
    fn now_ms() -> BigInt;
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// The headers of a message that was given up, which say so.
const DEATH_QUEUE: &str = "x-first-death-queue";
const DEATH_REASON: &str = "x-first-death-reason";
const DEATH_EXCHANGE: &str = "x-first-death-exchange";
const DEATH_TIME: &str = "x-death-time";
const DEATH_COUNT: &str = "x-death-count";

/// What a delivery needs of a row. The last column counts the deliveries before this one.
type Found = (i64, String, Option<String>, Option<String>, String, Vec<u8>, i32);

/// What [`take`] did.
pub(super) struct TakeOutcome {
    pub deliveries: Vec<Delivery>,
    /// Some messages went to the dead letters instead of to the consumer.
    pub died: bool,
    /// There may be more messages to take.
    pub more: bool,
}

/// Puts each message at the end of its queue.
pub(super) fn insert(conn: &mut Conn, messages: &[(Queue, Outgoing)]) -> Result<(), DbError> {
    use queue_messages::dsl;
    for (queue, message) in messages {
        let headers: Map<String, Value> =
            message.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        diesel::insert_into(dsl::queue_messages)
            .values((
                dsl::queue.eq(queue.suffix()),
                dsl::exchange.eq(message.exchange.code()),
                dsl::routing_key.eq(&message.routing_key),
                dsl::message_id.eq(&message.message_id),
                dsl::kind.eq(&message.kind),
                dsl::traceparent.eq(&message.traceparent),
                dsl::headers.eq(Value::Object(headers).to_string()),
                dsl::body.eq(&message.body),
                dsl::visible_at.eq(now_ms()),
                dsl::deliveries.eq(0),
            ))
            .execute(conn)?;
    }
    Ok(())
}

/// How many messages could be taken now.
pub(super) fn ready(conn: &mut Conn, queue: Queue) -> Result<u64, DbError> {
    use queue_messages::dsl;
    let count: i64 = dsl::queue_messages
        .filter(dsl::queue.eq(queue.suffix()).and(dsl::visible_at.le(now_ms())))
        .count()
        .get_result(conn)?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Whether there is anything to take. This is cheap however long the queue is.
pub(super) fn any_ready(conn: &mut Conn, queue: Queue) -> Result<bool, DbError> {
    use queue_messages::dsl;
    let ready = dsl::queue_messages.filter(dsl::queue.eq(queue.suffix()).and(dsl::visible_at.le(now_ms())));
    Ok(diesel::select(diesel::dsl::exists(ready)).get_result(conn)?)
}

/// Takes the oldest messages, `limit` of them at most. A message that was delivered too often goes to the dead
/// letters instead. The limit counts returns, so a message is delivered once more than the limit says.
pub(super) fn take(
    conn: &mut Conn,
    queue: Queue,
    holder: &str,
    limit: usize,
) -> Result<TakeOutcome, DbError> {
    use queue_messages::dsl;
    let found: Vec<Found> = dsl::queue_messages
        .filter(dsl::queue.eq(queue.suffix()).and(dsl::visible_at.le(now_ms())))
        .order((dsl::visible_at, dsl::id))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select((
            dsl::id,
            dsl::routing_key,
            dsl::message_id,
            dsl::traceparent,
            dsl::headers,
            dsl::body,
            dsl::deliveries,
        ))
        .load(conn)?;
    let more = found.len() >= limit;
    let too_often = |row: &Found| queue.dead_letters() && row.6 > queue.delivery_limit();
    let (dead, alive): (Vec<Found>, Vec<Found>) = found.into_iter().partition(too_often);
    if !dead.is_empty() {
        bury(conn, queue, &dead.iter().map(|row| row.0).collect::<Vec<i64>>())?;
    }
    if !alive.is_empty() {
        diesel::sql_query(format!(
            "UPDATE queue_messages SET holder = $1, visible_at = now_ms() + {LEASE_MS}, \
             deliveries = deliveries + 1 WHERE id IN ({})",
            conn.each_id("$2"),
        ))
        .bind::<Text, _>(holder)
        .bind::<Text, _>(conn.id_list(alive.iter().map(|row| row.0)))
        .execute(conn)?;
    }
    let deliveries = alive.into_iter().map(delivery).collect::<Result<_, _>>()?;
    Ok(TakeOutcome { deliveries, died: !dead.is_empty(), more })
}

fn delivery(row: Found) -> Result<Delivery, DbError> {
    let (id, routing_key, message_id, traceparent, headers, body, deliveries) = row;
    let tag = u64::try_from(id).map_err(|_| DbError::Corrupt(format!("queue_messages: the id {id}")))?;
    // `insert` has written it. Whatever else it may be, it must not stop the queue: the body is what counts.
    let headers: Map<String, Value> = serde_json::from_str(&headers).unwrap_or_default();
    let mut headers: Vec<(String, String)> = headers
        .into_iter()
        .filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            _ => None,
        })
        .collect();
    headers.extend(traceparent.map(|value| (HEADER_TRACEPARENT.to_owned(), value)));
    let death = if routing_key == KEY_DEAD { death(&headers) } else { None };
    Ok(Delivery {
        tag,
        redelivered: deliveries > 0,
        routing_key,
        // Only this program publishes here, and always in structured mode.
        content_type: None,
        message_id,
        user_id: None,
        headers,
        death,
        body,
    })
}

/// Reads what [`bury`] wrote. Nobody but this program writes to the queues, so it can be believed.
fn death(headers: &[(String, String)]) -> Option<Death> {
    let header = |name| headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
    let (queue, reason) = header(DEATH_QUEUE).zip(header(DEATH_REASON))?;
    Some(Death { queue, reason, time: header(DEATH_TIME).unwrap_or_default() })
}

/// Moves messages to the dead letters, with the headers that RabbitMQ gives its own.
fn bury(conn: &mut Conn, queue: Queue, ids: &[i64]) -> Result<(), DbError> {
    let names = Topology::default();
    let exchange = queue.bindings().first().map_or(Exchange::Jobs, |(exchange, _)| *exchange);
    diesel::sql_query(format!(
        "UPDATE queue_messages SET queue = $1, exchange = {}, routing_key = $2, holder = NULL, \
         visible_at = now_ms(), deliveries = 0, headers = json_patch(headers, json_object( \
         '{DEATH_QUEUE}', $3, '{DEATH_EXCHANGE}', $4, \
         '{DEATH_REASON}', 'delivery_limit', '{DEATH_COUNT}', '1', \
         '{DEATH_TIME}', CAST(now_ms() / 1000 AS TEXT))) \
         WHERE id IN ({})",
        Exchange::Internal.code(),
        conn.each_id("$5"),
    ))
    .bind::<Text, _>(Queue::Dead.suffix())
    .bind::<Text, _>(KEY_DEAD)
    .bind::<Text, _>(names.queue(queue))
    .bind::<Text, _>(names.exchange(exchange))
    .bind::<Text, _>(conn.id_list(ids.iter().copied()))
    .execute(conn)?;
    Ok(())
}

/// Deletes what the holder is done with. Returns the ids that it really held.
pub(super) fn delete(conn: &mut Conn, holder: &str, ids: &[i64]) -> Result<Vec<i64>, DbError> {
    let sql = "DELETE FROM queue_messages WHERE holder = $1";
    among(conn, sql, holder, ids)
}

/// Puts messages back behind those that wait, because at the front one that fails would be taken again and again.
/// Returns the ids that the holder really held.
pub(super) fn requeue(conn: &mut Conn, holder: &str, ids: &[i64]) -> Result<Vec<i64>, DbError> {
    let sql = "UPDATE queue_messages SET holder = NULL, visible_at = now_ms() WHERE holder = $1";
    among(conn, sql, holder, ids)
}

fn among(conn: &mut Conn, sql: &str, holder: &str, ids: &[i64]) -> Result<Vec<i64>, DbError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<Id> = diesel::sql_query(format!("{sql} AND id IN ({}) RETURNING id", conn.each_id("$2")))
        .bind::<Text, _>(holder)
        .bind::<Text, _>(conn.id_list(ids.iter().copied()))
        .load(conn)?;
    Ok(found.into_iter().map(|row| row.id).collect())
}

/// Keeps what the holder has for another lease.
pub(super) fn renew(conn: &mut Conn, holder: &str, ids: &[i64]) -> Result<(), DbError> {
    let sql = format!("UPDATE queue_messages SET visible_at = now_ms() + {LEASE_MS} WHERE holder = $1");
    among(conn, &sql, holder, ids).map(drop)
}

/// Gives back all that the holder has, to the front of its queue and in order. Among them may be rows that were
/// leased by a commit whose answer never arrived, so that the holder does not know of them.
pub(super) fn give_back(conn: &mut Conn, holder: &str) -> Result<(), DbError> {
    use queue_messages::dsl;
    diesel::update(dsl::queue_messages.filter(dsl::holder.eq(holder)))
        .set((dsl::holder.eq(None::<String>), dsl::visible_at.eq(0)))
        .execute(conn)?;
    Ok(())
}

/// Does the same for every holder that there is.
pub(super) fn recover(conn: &mut Conn) -> Result<(), DbError> {
    use queue_messages::dsl;
    diesel::update(dsl::queue_messages.filter(dsl::holder.is_not_null()))
        .set((dsl::holder.eq(None::<String>), dsl::visible_at.eq(0)))
        .execute(conn)?;
    Ok(())
}
