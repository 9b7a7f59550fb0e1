//! Rows that were not folded by today's rule: folded anew, and their tags brought into their normal form.
//!
//! They are from before this program, or were written by an older one that still ran beside it. `migrate` does
//! those that it finds, workers what comes later. An index holds these rows only, so that looking for them is cheap.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DataStep, Db, DbError, FOLD_TEXTS, apply_migrations_and_steps};
use crate::domain::PrincipalKind;
use crate::domain::text::{group_search_text, normal, person_search_text, secret_search_text};
use crate::store::transact::Store;

/// Rows of each table in one transaction.
const PART: i64 = 1_000;

const STEPS: &[DataStep] = &[DataStep { name: FOLD_TEXTS, part: |conn| part(conn, "") }];

/// Brings the database up to date: migrations, and what only the program can do to the rows. Returns the names of
/// what was done. Safe to run from several processes at once.
///
/// # Errors
/// Where a part of it fails; what was done before it stays, and the next run goes on from there.
pub async fn migrate(db: &Db) -> Result<Vec<String>, DbError> {
    apply_migrations_and_steps(db, STEPS).await
}

impl Store {
    /// Folds rows that an older program wrote, some of them at a time. True: there may be more.
    ///
    /// # Errors
    /// The database's.
    pub async fn fold_stale_texts(&self) -> Result<bool, DbError> {
        if !self.db.read(any).await? {
            return Ok(false);
        }
        // Rows that somebody is changing are folded the next time.
        self.db.write(|conn| part(conn, "SKIP LOCKED")).await
    }
}

/// The condition of the indexes.
fn stale(conn: &Conn) -> String {
    format!("rtrim(search_text, {}) = search_text", conn.tab())
}

fn any(conn: &mut Conn) -> Result<bool, DbError> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = BigInt)]
        #[allow(dead_code, reason = "it is enough that there is one")]
        id: i64,
    }
    let stale = stale(conn);
    for table in ["principals", "secrets"] {
        let sql = format!("SELECT id FROM {table} WHERE {stale} LIMIT 1");
        if diesel::sql_query(sql).get_result::<Id>(conn).optional()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[derive(QueryableByName)]
struct PrincipalRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    username: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    email: Option<String>,
}

#[derive(QueryableByName)]
struct SecretRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    identifier: Option<String>,
    #[diesel(sql_type = Text)]
    url: String,
}

#[derive(QueryableByName)]
struct TagRow {
    #[diesel(sql_type = BigInt)]
    secret_id: i64,
    #[diesel(sql_type = Text)]
    tag: String,
}

/// Folds a part of what is left; false where nothing was.
fn part(conn: &mut Conn, locked: &str) -> Result<bool, DbError> {
    let principals: Vec<PrincipalRow> = rows(conn, "principals", "id, kind, name, username, email", locked)?;
    let folded = principals.iter().map(|row| {
        let text = if row.kind == PrincipalKind::User.code() {
            let (username, email) = (row.username.as_deref(), row.email.as_deref());
            person_search_text(&row.name, username.unwrap_or_default(), email.unwrap_or_default())
        } else {
            group_search_text(&row.name)
        };
        json!([row.id, text])
    });
    set_folded(conn, "principals", folded.collect())?;
    let secrets: Vec<SecretRow> = rows(conn, "secrets", "id, name, identifier, url", locked)?;
    let folded = secrets
        .iter()
        .map(|row| json!([row.id, secret_search_text(&row.name, row.identifier.as_deref(), &row.url)]));
    set_folded(conn, "secrets", folded.collect())?;
    normalise_tags(conn, &secrets)?;
    Ok(!principals.is_empty() || !secrets.is_empty())
}

/// Rows to fold, locked, in the order in which others lock them.
fn rows<R>(conn: &mut Conn, table: &str, columns: &str, locked: &str) -> Result<Vec<R>, DbError>
where
    R: QueryableByName<diesel::pg::Pg> + QueryableByName<diesel::sqlite::Sqlite> + 'static,
{
    let lock = conn.for_no_key_update(locked);
    let sql = format!("SELECT {columns} FROM {table} WHERE {} ORDER BY id LIMIT {PART} {lock}", stale(conn));
    Ok(match conn {
        Conn::Pg(c) => diesel::sql_query(sql).load(c)?,
        Conn::Sqlite(c) => diesel::sql_query(sql).load(c)?,
    })
}

fn set_folded(conn: &mut Conn, table: &str, rows: Vec<Value>) -> Result<(), DbError> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE {table} SET search_text = r.folded FROM ({}) AS r WHERE {table}.id = r.of",
        conn.each_row("$1", &[("of", "bigint"), ("folded", "text")]),
    );
    diesel::sql_query(sql).bind::<Text, _>(Value::from(rows).to_string()).execute(conn)?;
    Ok(())
}

/// Tags that are one in their normal form become one.
fn normalise_tags(conn: &mut Conn, secrets: &[SecretRow]) -> Result<(), DbError> {
    let list = conn.id_list(secrets.iter().map(|row| row.id));
    let sql = format!("SELECT secret_id, tag FROM secret_tags WHERE secret_id IN ({})", conn.each_id("$1"));
    let rows: Vec<TagRow> = diesel::sql_query(sql).bind::<Text, _>(list).load(conn)?;
    let others: Vec<&TagRow> = rows.iter().filter(|row| normal(&row.tag) != row.tag).collect();
    if others.is_empty() {
        return Ok(());
    }
    let columns = [("of", "bigint"), ("tag", "text")];
    let old: Vec<Value> = others.iter().map(|row| json!([row.secret_id, row.tag])).collect();
    // Two of them may have become the same.
    let new: BTreeSet<(i64, String)> =
        others.iter().map(|row| (row.secret_id, normal(&row.tag).into_owned())).collect();
    let sql = format!(
        "DELETE FROM secret_tags WHERE (secret_id, tag) IN (SELECT r.of, r.tag FROM ({}) AS r)",
        conn.each_row("$1", &columns),
    );
    diesel::sql_query(sql).bind::<Text, _>(Value::from(old).to_string()).execute(conn)?;
    let sql = format!(
        "INSERT INTO secret_tags (secret_id, tag) SELECT r.of, r.tag FROM ({}) AS r WHERE true \
         ON CONFLICT (secret_id, tag) DO NOTHING",
        conn.each_row("$1", &columns),
    );
    let new: Vec<Value> = new.iter().map(|(id, tag)| json!([id, tag])).collect();
    diesel::sql_query(sql).bind::<Text, _>(Value::from(new).to_string()).execute(conn)?;
    Ok(())
}
