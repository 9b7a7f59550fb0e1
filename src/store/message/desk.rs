//! Lets an operator look at dead letters, and discard those that are not worth a replay.
//!
//! No letter is deleted. A letter that was replayed or discarded stays in the table, with its state and the time. The
//! body of a discarded letter is freed, since it may be large and may hold a secret. Its digest and length stay, so
//! that one can still tell which body it was.

use diesel::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::db::{Conn, DbError};
use crate::domain::hex::hex;
use crate::domain::{Actor, DeadReason, DeadState, JobId};
use crate::store::audit::entry::Entry;
use crate::store::audit::write as audit;
use crate::store::clock;

use crate::domain::Origin;
use crate::store::schema::dead_letters;
use crate::store::transact::Store;

/// A dead letter as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadItem {
    pub id: i64,
    pub reason: DeadReason,
    /// What was wrong, in words. Parts of it come from outside, so it must be made safe before it is printed.
    pub detail: String,
    pub job_id: Option<JobId>,
    /// The run of the job that this letter ended, or whose step it was.
    pub run: Option<i32>,
    /// The sender chose this id, so it must be made safe before it is printed.
    pub message_id: Option<String>,
    pub origin: Origin,
    /// The size of the body as it came. It stays after the body was freed.
    pub bytes: u64,
    /// Milliseconds since 1970, as is `state_at`.
    pub received_at: i64,
    pub state: DeadState,
    /// When the letter was replayed or discarded. `None` while it is kept.
    pub state_at: Option<i64>,
}

/// A dead letter with its headers and its body. They come from outside, so they must be made safe before they are
/// printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLetter {
    pub item: DeadItem,
    /// The user who published the message, as the broker says. `None` if the broker does not say.
    pub user_id: Option<String>,
    pub headers: Vec<(String, String)>,
    /// The body as it came. It is empty if it was freed.
    pub body: Vec<u8>,
    /// The SHA-256 of a body that was freed, in lower-case hex. `None` if the body is here.
    pub freed: Option<String>,
    pub(in crate::store) dead_id: String,
}

/// Selects dead letters. A part that is not set selects all of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeadFilter {
    pub reason: Option<DeadReason>,
    pub state: Option<DeadState>,
}

/// What became of the attempt to discard a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discarded {
    /// The letter was kept and is discarded now.
    Done,
    /// There is no such letter.
    Absent,
    /// The letter was replayed or discarded before, and stays in that state.
    Settled(DeadState),
}

diesel::define_sql_function! {
    /// The number of bytes of a body, which the database knows without reading the body.
    fn length(body: diesel::sql_types::Binary) -> diesel::sql_types::Integer;
}

/// The columns that make a [`DeadItem`], as the database returns them.
#[derive(Queryable)]
struct DeadColumns {
    id: i64,
    reason: String,
    detail: String,
    job_id: Option<String>,
    run: Option<i32>,
    message_id: Option<String>,
    origin: String,
    bytes: i32,
    freed_bytes: Option<i32>,
    received_at: i64,
    state: String,
    state_at: Option<i64>,
}

/// The columns of [`DeadColumns`], in the order of its fields.
macro_rules! columns {
    () => {
        (
            dead_letters::id,
            dead_letters::reason,
            dead_letters::detail,
            dead_letters::job_id,
            dead_letters::run,
            dead_letters::message_id,
            dead_letters::origin,
            length(dead_letters::body),
            dead_letters::body_bytes,
            dead_letters::received_at,
            dead_letters::state,
            dead_letters::state_at,
        )
    };
}

impl TryFrom<DeadColumns> for DeadItem {
    type Error = DbError;

    fn try_from(row: DeadColumns) -> Result<Self, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(format!("dead_letters.{what} of letter {}", row.id));
        Ok(Self {
            id: row.id,
            reason: DeadReason::from_name(&row.reason).ok_or_else(|| corrupt("reason"))?,
            detail: row.detail,
            job_id: row.job_id.map(|id| id.parse().map_err(|()| corrupt("job_id"))).transpose()?,
            run: row.run,
            message_id: row.message_id,
            origin: Origin::from_name(&row.origin).ok_or_else(|| corrupt("origin"))?,
            bytes: u64::try_from(row.freed_bytes.unwrap_or(row.bytes)).map_err(|_| corrupt("body"))?,
            received_at: row.received_at,
            state: DeadState::from_name(&row.state).ok_or_else(|| corrupt("state"))?,
            state_at: row.state_at,
        })
    }
}

/// Reads a letter with its headers and its body. `None` if there is no such letter.
pub(in crate::store) fn read(conn: &mut Conn, id: i64) -> Result<Option<KeptLetter>, DbError> {
    type Row = (DeadColumns, Option<String>, String, Vec<u8>, Option<String>, String);
    let row: Option<Row> = dead_letters::table
        .filter(dead_letters::id.eq(id))
        .select((
            columns!(),
            dead_letters::user_id,
            dead_letters::headers,
            dead_letters::body,
            dead_letters::digest,
            dead_letters::dead_id,
        ))
        .first(conn)
        .optional()?;
    let Some((columns, user_id, headers, body, freed, dead_id)) = row else { return Ok(None) };
    // `letters::insert` writes the headers as a JSON object of texts.
    let headers: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&headers)
        .map_err(|_| DbError::Corrupt(format!("dead_letters.headers of letter {id}")))?;
    let headers = headers
        .into_iter()
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            (name, value)
        })
        .collect();
    Ok(Some(KeptLetter { item: columns.try_into()?, user_id, headers, body, freed, dead_id }))
}

/// Moves a kept letter to this state, in which it stays for ever, and leaves its body as it is. False if the letter
/// is not kept, or not any more.
pub(in crate::store) fn settle(
    conn: &mut Conn,
    id: i64,
    state: DeadState,
    now: i64,
) -> Result<bool, DbError> {
    let kept = dead_letters::table
        .filter(dead_letters::id.eq(id))
        .filter(dead_letters::state.eq(DeadState::Kept.as_str()));
    let settled = diesel::update(kept)
        .set((dead_letters::state.eq(state.as_str()), dead_letters::state_at.eq(now)))
        .execute(conn)?;
    Ok(settled == 1)
}

/// Discards a kept letter and frees its body, in one update, and records that. False if the letter is not kept, or not
/// any more.
fn discard(conn: &mut Conn, id: i64, now: i64) -> Result<bool, DbError> {
    let kept = dead_letters::table
        .filter(dead_letters::id.eq(id))
        .filter(dead_letters::state.eq(DeadState::Kept.as_str()));
    // The body of a kept letter never changes, so the update frees the body that is read here.
    let read: Option<(DeadColumns, Vec<u8>)> =
        kept.select((columns!(), dead_letters::body)).first(conn).optional()?;
    let Some((letter, body)) = read else { return Ok(false) };
    let DeadItem { reason, job_id: job, .. } = letter.try_into()?;
    let digest = hex(&Sha256::digest(&body));
    let settled = diesel::update(kept)
        .set((
            dead_letters::state.eq(DeadState::Discarded.as_str()),
            dead_letters::state_at.eq(now),
            dead_letters::digest.eq(digest),
            dead_letters::body_bytes.eq(i32::try_from(body.len()).unwrap_or(i32::MAX)),
            dead_letters::body.eq(Vec::new()),
        ))
        .execute(conn)?;
    if settled != 1 {
        return Ok(false);
    }
    audit::write(conn, &Entry::DeadLetterDiscarded { letter: id, reason, job, by: Actor::Operator })?;
    Ok(true)
}

/// The state of a letter. `None` if there is no such letter.
pub(in crate::store) fn state(conn: &mut Conn, id: i64) -> Result<Option<DeadState>, DbError> {
    let name: Option<String> = dead_letters::table
        .filter(dead_letters::id.eq(id))
        .select(dead_letters::state)
        .first(conn)
        .optional()?;
    name.map(|name| {
        DeadState::from_name(&name)
            .ok_or_else(|| DbError::Corrupt(format!("dead_letters.state of letter {id}")))
    })
    .transpose()
}

impl Store {
    /// A page of dead letters, newest first, without their bodies. `before` is the cursor that came with the page
    /// before. Returns the cursor of the next page, if there is one.
    pub async fn dead_letters(
        &self,
        filter: DeadFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<(Vec<DeadItem>, Option<i64>), DbError> {
        self.db
            .read(move |conn| {
                let mut query = dead_letters::table.select(columns!()).into_boxed();
                if let Some(reason) = filter.reason {
                    query = query.filter(dead_letters::reason.eq(reason.as_str()));
                }
                if let Some(state) = filter.state {
                    query = query.filter(dead_letters::state.eq(state.as_str()));
                }
                if let Some(before) = before {
                    query = query.filter(dead_letters::id.lt(before));
                }
                // One row more than the page needs shows whether there is a next page.
                let mut rows: Vec<DeadColumns> =
                    query.order(dead_letters::id.desc()).limit(limit + 1).load(conn)?;
                let more = rows.len() > usize::try_from(limit).unwrap_or(0);
                rows.truncate(usize::try_from(limit).unwrap_or(0));
                let next = rows.last().map(|row| row.id).filter(|_| more);
                Ok((rows.into_iter().map(DeadItem::try_from).collect::<Result<_, _>>()?, next))
            })
            .await
    }

    /// A dead letter with its headers and its body. `None` if there is no such letter.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<KeptLetter>, DbError> {
        self.db.read(move |conn| read(conn, id)).await
    }

    /// The ids of the letters that are kept now, oldest first. Without a reason, the letters of all reasons.
    pub async fn kept_letters(&self, reason: Option<DeadReason>) -> Result<Vec<i64>, DbError> {
        self.db
            .read(move |conn| {
                let mut query = dead_letters::table
                    .filter(dead_letters::state.eq(DeadState::Kept.as_str()))
                    .select(dead_letters::id)
                    .into_boxed();
                if let Some(reason) = reason {
                    query = query.filter(dead_letters::reason.eq(reason.as_str()));
                }
                Ok(query.order(dead_letters::id).load(conn)?)
            })
            .await
    }

    /// Discards a kept letter, so that it can never be replayed. The letter stays in the table. Only the body is
    /// freed, and its digest and length stay.
    pub async fn discard_letter(&self, id: i64) -> Result<Discarded, DbError> {
        self.db
            .write(move |conn| {
                let now = clock::now(conn)?;
                if discard(conn, id, now)? {
                    return Ok(Discarded::Done);
                }
                Ok(state(conn, id)?.map_or(Discarded::Absent, Discarded::Settled))
            })
            .await
    }
}
