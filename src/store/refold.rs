//! Folds texts again that an older program wrote by an older rule, and brings their tags into the normal form.
//!
//! Folded texts are what a search compares. Rows by the older rule are from before an upgrade, or were written by an
//! older program that still ran beside the new one. `migrate` folds the rows that it finds, and workers fold those
//! that come later. An index has only the rows that are left to fold, so looking for them is cheap.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, SmallInt, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DataStep, Db, DbError, FOLD_TEXTS, apply_migrations_and_steps};
use crate::domain::PrincipalKind;
use crate::domain::text::{group_search_text, normal, person_search_text, secret_search_text};
use crate::store::transact::Store;

/// The most rows of each table that one transaction folds.
const PART: i64 = 1_000;

const STEPS: &[DataStep] = &[DataStep { name: FOLD_TEXTS, part: |conn| part(conn, "") }];

/// Brings the database up to date: runs the migrations, and then the changes to rows that only the program can make.
/// Returns the names of the migrations and changes that were done. Several processes may run this at the same time.
///
/// # Errors
/// An error of the database in one of the parts. The parts before it stay done, and the next run goes on from there.
pub async fn migrate(db: &Db) -> Result<Vec<String>, DbError> {
    apply_migrations_and_steps(db, STEPS).await
}

impl Store {
    /// Folds some of the rows that an older program wrote. True if there may be more of them.
    pub async fn fold_stale_texts(&self) -> Result<bool, DbError> {
        if !self.db.read(any).await? {
            return Ok(false);
        }
        // Rows that another transaction is changing are left for the next call.
        self.db.write(|conn| part(conn, "SKIP LOCKED")).await
    }
}

/// The condition for rows that are left to fold. It is that of the indexes, word for word, so that they are used: a
/// text that was folded by today's rule ends with a tab.
fn stale(conn: &Conn) -> String {
    format!("rtrim(search_text, {}) = search_text", conn.tab())
}

/// Whether any row is left to fold.
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

/// Folds some of the rows that are left. False if there was none. `locked` says what to do about locked rows.
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

/// Locks and reads some rows that are left to fold. They are locked by id, as everywhere, so that two transactions
/// never wait for each other.
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

/// Writes the folded texts of these rows, each given as its id and its text.
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

/// Brings the tags of these secrets into their normal form. Tags of a secret that are the same then become one.
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
    // Two tags of a secret may have become the same.
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
