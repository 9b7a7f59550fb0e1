//! Keeps orders that came by message about a job that is not there yet, and hands them out when they are due.
//!
//! With several workers, an order may overtake the request of its job. So it waits in a table of its own, and due work
//! looks for the job again. It never makes a row in the table of jobs, since the request would find its id taken.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Text};

use crate::contract;
use crate::contract::Order;
use crate::db::{Conn, DbError, Flow, statement};
use crate::domain::{DeadReason, OrderKind, Origin};
use crate::store::codes::{id, millis};
use crate::store::message::letters;
use crate::store::message::letters::DeadLetter;
use crate::store::schema::pending_orders;
use crate::store::transact::{LOCKS_OF_RECORDS, Store};
use crate::store::tx::Tx;

/// The most orders that wait in the name of one person. Whoever publishes a message can name any person in it.
const PER_PERSON: i64 = 1_000;

/// The most orders that one look takes. The next look, a second later, takes the rest.
const BATCH: i64 = 500;

/// The wait between two looks, in milliseconds: a second at first, since most jobs come in a moment, and then this.
const LATER_LOOKS_MS: i64 = 5_000;
const FIRST_LOOKS_MS: i64 = 1_000;
/// So long an order is looked at every second.
const FIRST_MS: i64 = 5_000;

/// What became of an order that was to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It waits now, or waited before: this is a second delivery.
    Yes,
    /// Another order with its id waits. The caller makes a dead letter of it.
    Conflict,
    /// As many orders wait in the person's name as may. The caller makes a dead letter of it.
    TooMany,
}

/// An order that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueOrder {
    pub order: Order,
    /// Whether there is a job of its id that this person asked for.
    pub is_there: bool,
    /// Whether it has waited for as long as an order may.
    pub is_last: bool,
    key: i64,
}

#[derive(QueryableByName)]
struct DueRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    event_id: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = BigInt)]
    requested_by: i64,
    #[diesel(sql_type = Text)]
    traceparent: String,
    #[diesel(sql_type = Bool)]
    is_there: bool,
    #[diesel(sql_type = Bool)]
    is_last: bool,
}

impl TryFrom<DueRow> for DueOrder {
    type Error = DbError;

    fn try_from(row: DueRow) -> Result<Self, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(format!("pending_orders.{what} of the order {}", row.id));
        let order = Order {
            id: row.event_id.parse().map_err(|()| corrupt("event_id"))?,
            kind: OrderKind::from_name(&row.kind).ok_or_else(|| corrupt("kind"))?,
            job_id: row.job_id.parse().map_err(|()| corrupt("job_id"))?,
            requested_by: id(row.requested_by)?,
            traceparent: Some(row.traceparent),
        };
        Ok(Self { order, is_there: row.is_there, is_last: row.is_last, key: row.id })
    }
}

impl Store {
    /// Keeps an order until its job is there. `body` is the body of its message, for the dead letter.
    ///
    /// # Errors
    /// An error of the database. The caller must not acknowledge the message then, since the order may not be kept.
    pub async fn order_waits(&self, order: Order, body: Vec<u8>) -> Result<Waits, DbError> {
        self.transact_soon(LOCKS_OF_RECORDS, move |tx| {
            let waits = wait(tx, &order, body)?;
            Ok(if waits == Waits::Yes { Flow::Commit(waits) } else { Flow::Rollback(waits) })
        })
        .await
    }

    /// The orders that are due. Each is due again a few seconds later, unless the caller removes it
    /// ([`Store::order_done`], [`Store::order_dies`]), so that one that cannot be carried out holds up no other.
    /// `patience` is how long an order waits for its job.
    pub async fn due_orders(&self, patience: Duration) -> Result<Vec<DueOrder>, DbError> {
        // Most of the time there is none, and reading that is cheaper than a transaction.
        if !self.db.read(any_due).await? {
            return Ok(Vec::new());
        }
        self.transact(move |tx| take_due(tx.conn, patience).map(Flow::Commit)).await
    }

    /// Removes an order that was carried out.
    pub async fn order_done(&self, order: DueOrder) -> Result<(), DbError> {
        self.transact(move |tx| remove(tx.conn, order.key).map(|_| Flow::Commit(()))).await
    }

    /// Makes a dead letter of an order and removes it, in one transaction. False if the order is gone already.
    pub async fn order_dies(
        &self,
        DueOrder { order, key, .. }: DueOrder,
        reason: DeadReason,
        detail: String,
    ) -> Result<bool, DbError> {
        self.transact(move |tx| {
            let Some((body, created_at)) = remove(tx.conn, key)? else { return Ok(Flow::Rollback(false)) };
            let letter = DeadLetter {
                // An order that is replayed may die once more, and that is another death.
                dead_id: format!("order/{}/{created_at}", order.id),
                reason,
                detail,
                // A letter that names a job goes on with that job when it is replayed, if attempts were used up. An
                // order is no attempt of its job.
                job_id: (reason == DeadReason::UnknownJob).then_some(order.job_id),
                run: None,
                message_id: Some(order.id.to_string()),
                user_id: None,
                is_from_us: false,
                origin: Origin::Request,
                headers: Default::default(),
                readable_bytes: body.len(),
                body: body.into(),
                received_at: tx.now()?,
            };
            letters::insert(tx, &letter)?;
            Ok(Flow::Commit(true))
        })
        .await
    }
}

fn wait(tx: &mut Tx<'_>, order: &Order, body: Vec<u8>) -> Result<Waits, DbError> {
    use crate::store::schema::pending_orders::dsl;
    // It is the first lock of its transaction, so that it cannot be part of a circle.
    tx.conn.lock_name("batchshare orders", order.requested_by.get())?;
    let mine = dsl::pending_orders.filter(dsl::requested_by.eq(order.requested_by.get()));
    let waiting: Option<(String, String)> = mine
        .filter(dsl::event_id.eq(order.id.to_string()))
        .select((dsl::kind, dsl::job_id))
        .first(tx.conn)
        .optional()?;
    if let Some((kind, job_id)) = waiting {
        let same = kind == order.kind.as_str() && job_id == order.job_id.to_string();
        return Ok(if same { Waits::Yes } else { Waits::Conflict });
    }
    if mine.count().get_result::<i64>(tx.conn)? >= PER_PERSON {
        return Ok(Waits::TooMany);
    }
    let sql = "INSERT INTO pending_orders \
               (event_id, kind, job_id, requested_by, traceparent, body, due_at, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, now_ms() + $7, now_ms()) ON CONFLICT (event_id) DO NOTHING";
    let inserted = statement(sql)
        .bind::<Text, _>(order.id.to_string())
        .bind::<Text, _>(order.kind.as_str())
        .bind::<Text, _>(order.job_id.to_string())
        .bind::<BigInt, _>(order.requested_by.get())
        .bind::<Text, _>(order.traceparent.clone().unwrap_or_else(contract::new_traceparent))
        .bind::<Binary, _>(body)
        .bind::<BigInt, _>(FIRST_LOOKS_MS)
        .execute(tx.conn)?;
    // An order of another person has its id.
    Ok(if inserted == 1 { Waits::Yes } else { Waits::Conflict })
}

fn any_due(conn: &mut Conn) -> Result<bool, DbError> {
    #[derive(QueryableByName)]
    struct Due {
        #[diesel(sql_type = Bool)]
        due: bool,
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM pending_orders WHERE due_at <= now_ms()) AS due";
    Ok(statement(sql).get_result::<Due>(conn)?.due)
}

/// Takes the orders that are due and sets the time of the next look at each. By `skip_locked` it leaves out rows that
/// another worker has taken.
fn take_due_statement(skip_locked: &str) -> String {
    format!(
        "UPDATE pending_orders SET due_at = now_ms() + \
         CASE WHEN now_ms() - created_at < {FIRST_MS} THEN {FIRST_LOOKS_MS} ELSE {LATER_LOOKS_MS} END \
         WHERE id IN (SELECT id FROM pending_orders WHERE due_at <= now_ms() ORDER BY due_at LIMIT $1 {skip_locked}) \
         RETURNING id, event_id, kind, job_id, requested_by, traceparent, created_at <= now_ms() - $2 AS is_last, \
         EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = pending_orders.job_id \
           AND j.requested_by = pending_orders.requested_by) AS is_there"
    )
}

fn take_due(conn: &mut Conn, patience: Duration) -> Result<Vec<DueOrder>, DbError> {
    let sql = take_due_statement(conn.skip_locked());
    let mut rows: Vec<DueRow> =
        statement(sql).bind::<BigInt, _>(BATCH).bind::<BigInt, _>(millis(patience)).load(conn)?;
    rows.sort_by_key(|row| row.id);
    let read = |row: DueRow| {
        let key = row.id;
        // One that cannot be read holds up no other.
        row.try_into()
            .map_err(
                |error: DbError| tracing::error!(order = key, %error, "an order is due and cannot be read"),
            )
            .ok()
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// Removes an order. Returns its body and when it came; `None` if it is gone already.
fn remove(conn: &mut Conn, key: i64) -> Result<Option<(Vec<u8>, i64)>, DbError> {
    let one = pending_orders::table.filter(pending_orders::id.eq(key));
    let returning = (pending_orders::body, pending_orders::created_at);
    Ok(diesel::delete(one).returning(returning).get_result(conn).optional()?)
}
