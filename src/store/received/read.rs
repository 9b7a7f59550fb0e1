//! Lists what a person and their groups received, and keeps up to where they have seen it.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, SmallInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::received::{Received, ReceivedState};
use crate::domain::{Permission, PrincipalId, PrincipalKind};
use crate::store::codes::id;
use crate::store::people::membership::{acting_as, visible_to};
use crate::store::transact::Store;

/// One page of what a person received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedPage {
    /// The newest first.
    pub items: Vec<Received>,
    /// Where the next page begins, if there is one.
    pub next: Option<i64>,
    /// How many entries the person has not seen. They are counted up to 1,000.
    pub unseen: i64,
}

/// How far the entries are counted that a person has not seen.
const MOST_UNSEEN: i64 = 1_000;

impl Store {
    /// A page of what a person and their active groups received, the newest first, without what the person shared with
    /// their groups themselves. `before` is the `next` that came with the page before.
    ///
    /// What a group received before the person became a member is listed, too, since they have access to it.
    pub async fn received(
        &self,
        user: PrincipalId,
        before: Option<i64>,
        limit: i64,
    ) -> Result<ReceivedPage, DbError> {
        self.db
            .read(move |conn| {
                let mut items = page(conn, user, before, limit.saturating_add(1))?;
                let more = items.len() > usize::try_from(limit).unwrap_or(0);
                items.truncate(usize::try_from(limit).unwrap_or(0));
                let next = items.last().map(|item| item.id).filter(|_| more);
                Ok(ReceivedPage { items, next, unseen: unseen(conn, user)? })
            })
            .await
    }

    /// Marks this entry of a person and all older ones as seen. True also if they were seen before; false if the person
    /// has no such entry.
    pub async fn see_received(&self, user: PrincipalId, id: i64) -> Result<bool, DbError> {
        self.db
            .write(move |conn| {
                let sql = format!(
                    "SELECT r.id AS n FROM ({}) AS me CROSS JOIN received r WHERE r.principal_id = me.principal_id \
                     AND r.shared_by <> $1 AND r.id = $2",
                    acting_as("$1"),
                );
                let query = statement(sql).bind::<BigInt, _>(user.get()).bind::<BigInt, _>(id);
                if query.load::<Number>(conn)?.is_empty() {
                    return Ok(false);
                }
                let sql = "INSERT INTO received_seen (user_id, until) VALUES ($1, $2) ON CONFLICT (user_id) \
                           DO UPDATE SET until = excluded.until WHERE received_seen.until < excluded.until";
                statement(sql).bind::<BigInt, _>(user.get()).bind::<BigInt, _>(id).execute(conn)?;
                Ok(true)
            })
            .await
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = BigInt)]
    shared_by: i64,
    #[diesel(sql_type = Nullable<Text>)]
    sharer: Option<String>,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    visible: bool,
    #[diesel(sql_type = SmallInt)]
    permission: i16,
    #[diesel(sql_type = Integer)]
    secrets: i32,
    #[diesel(sql_type = Nullable<Text>)]
    note: Option<String>,
    /// 0: not, 1: in part, 2: undone.
    #[diesel(sql_type = BigInt)]
    undone: i64,
    #[diesel(sql_type = Bool)]
    seen: bool,
}

/// The first entries before this one. The order by an expression keeps the database from reading all entries of
/// everybody in their order: it looks for those of the person's own principals, by the index.
fn page(
    conn: &mut Conn,
    user: PrincipalId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Received>, DbError> {
    let sql = format!(
        "WITH me AS MATERIALIZED ({acting}), page AS MATERIALIZED (\
         SELECT r.id, r.job, r.principal_id, r.shared_by, r.permission, r.secrets, r.created_at \
         FROM me CROSS JOIN received r WHERE r.principal_id = me.principal_id AND r.shared_by <> $1 AND r.id < $2 \
         ORDER BY r.id + 0 DESC LIMIT $3) \
         SELECT r.id, j.job_id, r.shared_by, b.name AS sharer, r.created_at, r.principal_id, p.kind, p.name, \
         {visible} AS visible, r.permission, r.secrets, j.note, {undone} AS undone, \
         r.id <= COALESCE((SELECT s.until FROM received_seen s WHERE s.user_id = $1), 0) AS seen \
         FROM page r JOIN jobs j ON j.id = r.job JOIN principals p ON p.id = r.principal_id \
         LEFT JOIN principals b ON b.id = r.shared_by ORDER BY r.id DESC",
        acting = acting_as("$1"),
        visible = visible_to("$1"),
        undone = UNDONE,
    );
    let rows: Vec<Row> = statement(sql)
        .bind::<BigInt, _>(user.get())
        .bind::<BigInt, _>(before.unwrap_or(i64::MAX))
        .bind::<BigInt, _>(limit)
        .load(conn)?;
    rows.into_iter().map(Received::try_from).collect()
}

/// Whether the job `j` is undone: 2 if an undo of it has completed, 1 if one is at work, or ended otherwise and took
/// something back. A job may have several undos, since another one may follow one that did not take everything.
const UNDONE: &str = "CAST(COALESCE((SELECT MAX(CASE WHEN u.state = 'completed' THEN 2 WHEN u.finished_at IS NULL \
    OR COALESCE(u.revoked, 0) + COALESCE(u.lowered, 0) > 0 THEN 1 ELSE 0 END) \
    FROM jobs u WHERE u.parent = j.job_id AND u.kind = 'undo'), 0) AS BIGINT)";

/// How many entries the person has not seen.
fn unseen(conn: &mut Conn, user: PrincipalId) -> Result<i64, DbError> {
    let sql = format!(
        "WITH me AS MATERIALIZED ({}), new AS MATERIALIZED (SELECT r.id FROM me CROSS JOIN received r \
         WHERE r.principal_id = me.principal_id AND r.shared_by <> $1 AND r.id > \
         COALESCE((SELECT s.until FROM received_seen s WHERE s.user_id = $1), 0) LIMIT {MOST_UNSEEN}) \
         SELECT COUNT(*) AS n FROM new",
        acting_as("$1"),
    );
    Ok(statement(sql).bind::<BigInt, _>(user.get()).get_result::<Number>(conn)?.n)
}

impl TryFrom<Row> for Received {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(format!("{what} of received {}", row.id));
        Ok(Self {
            id: row.id,
            job: row.job_id.parse().map_err(|()| corrupt("jobs.job_id"))?,
            shared_by: id(row.shared_by)?,
            sharer: row.sharer,
            at: row.created_at,
            to: id(row.principal_id)?,
            to_kind: PrincipalKind::from_code(row.kind).ok_or_else(|| corrupt("principals.kind"))?,
            to_name: Some(row.name).filter(|_| row.visible),
            permission: Permission::from_code(row.permission).ok_or_else(|| corrupt("permission"))?,
            secrets: row.secrets,
            note: row.note,
            state: match row.undone {
                0 => ReceivedState::Shared,
                1 => ReceivedState::PartlyUndone,
                _ => ReceivedState::Undone,
            },
            seen: row.seen,
        })
    }
}
