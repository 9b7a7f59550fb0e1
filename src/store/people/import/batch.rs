//! Writes a batch of imported lines into the tables, by a few statements for each table.

use std::collections::{HashMap, HashSet};

use diesel::sql_types::{BigInt, Text};
use diesel::{RunQueryDsl, sql_query};
use serde::Serialize;

use crate::db::{Conn, DbError};
use crate::domain::PrincipalKind;
use crate::domain::import::{ImportLine, PersonalGroup, Secret, User, UserGroup};
use crate::store::people::import::kinds::ImportError;
use crate::store::people::import::rows::{
    MEMBER, MemberRow, PRINCIPAL, PrincipalRow, SECRET, SecretRow, TAG, TagRow, json, names, replaced,
    rows_of,
};
use crate::store::people::import::unsettled::Unsettled;

/// A batch with this many rows is written, members and tags included.
const FULL_ROWS: usize = 10_000;
/// A batch with this many bytes of texts is written, even if it has few rows.
const FULL_BYTES: usize = 2 * 1024 * 1024;

/// Lines that are written together. A batch has each id, username and identifier only once, because a statement cannot
/// write the same row twice.
#[derive(Default)]
pub(in crate::store) struct Batch {
    principals: Vec<PrincipalRow>,
    members: Vec<MemberRow>,
    secrets: Vec<SecretRow>,
    tags: Vec<TagRow>,
    /// The line of each principal in the batch, by its id.
    principal_lines: HashMap<i64, u64>,
    /// The line of each secret in the batch, by its id.
    secret_lines: HashMap<i64, u64>,
    usernames: HashSet<String>,
    identifiers: HashSet<String>,
    bytes: usize,
}

impl Batch {
    /// Whether the batch has to be written before it takes another line.
    pub(in crate::store) fn is_full(&self) -> bool {
        self.principals.len() + self.members.len() + self.secrets.len() + self.tags.len() >= FULL_ROWS
            || self.bytes >= FULL_BYTES
    }

    /// Whether a line has an id, a username or an identifier that is in the batch already, so that the batch has to be
    /// written first.
    pub(in crate::store) fn overlaps(&self, line: &ImportLine) -> bool {
        match line {
            ImportLine::User(user) => {
                self.principal_lines.contains_key(&user.id.get()) || self.usernames.contains(&user.username)
            }
            ImportLine::UserGroup(group) => self.principal_lines.contains_key(&group.id.get()),
            ImportLine::PersonalGroup(group) => self.principal_lines.contains_key(&group.id.get()),
            ImportLine::Secret(secret) => {
                self.secret_lines.contains_key(&secret.id.get())
                    || secret.identifier.as_ref().is_some_and(|text| self.identifiers.contains(text))
            }
        }
    }

    pub(in crate::store) fn add_user(&mut self, line: u64, user: &User) {
        self.usernames.insert(user.username.clone());
        self.add_principal(line, PrincipalRow::user(user));
    }

    pub(in crate::store) fn add_user_group(&mut self, line: u64, group: &UserGroup) {
        self.add_members(group.id.get(), group.members.iter().map(|id| id.get()));
        self.add_principal(line, PrincipalRow::user_group(group));
    }

    pub(in crate::store) fn add_personal_group(&mut self, line: u64, group: &PersonalGroup) {
        self.add_members(group.id.get(), group.members.iter().map(|id| id.get()));
        self.add_principal(line, PrincipalRow::personal_group(group));
    }

    fn add_members(&mut self, group_id: i64, members: impl Iterator<Item = i64>) {
        self.members.extend(members.map(|user_id| MemberRow { group_id, user_id }));
    }

    fn add_principal(&mut self, line: u64, row: PrincipalRow) {
        self.bytes += row.name.len() + row.search_text.len();
        self.principal_lines.insert(row.id, line);
        self.principals.push(row);
    }

    pub(in crate::store) fn add_secret(
        &mut self,
        line: u64,
        secret: &Secret,
        sealed: Option<(Vec<u8>, String)>,
    ) {
        let id = secret.id.get();
        self.identifiers.extend(secret.identifier.clone());
        self.tags.extend(secret.tags.iter().map(|tag| TagRow { secret_id: id, tag: tag.clone() }));
        let row = SecretRow::of(secret, sealed);
        self.bytes +=
            row.search_text.len() * 2 + row.notes.len() + row.sealed.as_ref().map_or(0, String::len);
        self.secret_lines.insert(id, line);
        self.secrets.push(row);
    }

    /// Writes the rows of the batch and empties it.
    pub(in crate::store) fn flush(
        &mut self,
        conn: &mut Conn,
        open: &mut Unsettled,
    ) -> Result<(), ImportError> {
        let mut batch = std::mem::take(self);
        // Rows of secrets are locked in the order of their ids, as everywhere.
        batch.secrets.sort_unstable_by_key(|row| row.id);
        if !batch.principals.is_empty() {
            batch.write_principals(conn, open)?;
        }
        if !batch.secrets.is_empty() {
            batch.write_secrets(conn, open)?;
        }
        Ok(())
    }

    fn write_principals(&self, conn: &mut Conn, open: &mut Unsettled) -> Result<(), ImportError> {
        let rows = json(&self.principals)?;
        let from = rows_of(conn, PRINCIPAL);
        let lines = |id: &i64| self.principal_lines.get(id).copied().unwrap_or_default();

        let other_kind = format!(
            "SELECT r.id AS taker, p.id AS holder FROM {from} CROSS JOIN principals p WHERE p.id = r.id AND p.kind <> r.kind"
        );
        let found = sql_query(other_kind).bind::<Text, _>(&rows).load::<Taken>(conn)?;
        if let Some(line) = found.iter().map(|row| lines(&row.taker)).min() {
            return Err(ImportError::line(line, "id is that of a principal of another type"));
        }

        take_unique(conn, "principals", "username", &from, &rows, &lines, &mut open.usernames)?;
        let columns = names(PRINCIPAL, "");
        let insert = format!(
            "INSERT INTO principals ({columns}) SELECT {} FROM {from} WHERE true ON CONFLICT (id) DO UPDATE SET {}",
            names(PRINCIPAL, "r."),
            replaced(PRINCIPAL),
        );
        sql_query(insert).bind::<Text, _>(&rows).execute(conn)?;
        open.usernames.retain(|id, _| !self.principal_lines.contains_key(id));

        let groups = self.principals.iter().filter(|row| row.kind != PrincipalKind::User.code());
        delete(conn, "members", "group_id", groups.map(|row| row.id))?;
        insert_all(conn, "members", MEMBER, &self.members)?;
        Ok(())
    }

    fn write_secrets(&self, conn: &mut Conn, open: &mut Unsettled) -> Result<(), ImportError> {
        let rows = json(&self.secrets)?;
        let from = rows_of(conn, SECRET);
        let lines = |id: &i64| self.secret_lines.get(id).copied().unwrap_or_default();

        take_unique(conn, "secrets", "identifier", &from, &rows, &lines, &mut open.identifiers)?;
        let sealed = conn.bytes_of("r.sealed");
        // If a line has no client secret, the row keeps the one that it has. The value and the id of its key are kept
        // or replaced together, since a line gives both or neither.
        let insert = format!(
            "INSERT INTO secrets (id, owner_id, name, url, client_id, client_secret, client_secret_key, \
             identifier, method, notes, disabled, search_text, updated_at) \
             SELECT r.id, r.owner_id, r.name, r.url, r.client_id, {sealed}, r.client_secret_key, \
             r.identifier, r.method, r.notes, r.disabled, r.search_text, now_ms() FROM {from} WHERE true ORDER BY r.id \
             ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, name = excluded.name, \
             url = excluded.url, client_id = excluded.client_id, \
             client_secret = coalesce(excluded.client_secret, secrets.client_secret), \
             client_secret_key = coalesce(excluded.client_secret_key, secrets.client_secret_key), \
             identifier = excluded.identifier, method = excluded.method, notes = excluded.notes, \
             disabled = excluded.disabled, search_text = excluded.search_text, \
             updated_at = excluded.updated_at",
        );
        sql_query(insert).bind::<Text, _>(&rows).execute(conn)?;
        open.identifiers.retain(|id, _| !self.secret_lines.contains_key(id));

        delete(conn, "secret_tags", "secret_id", self.secrets.iter().map(|row| row.id))?;
        insert_all(conn, "secret_tags", TAG, &self.tags)?;
        Ok(())
    }
}

/// A row of the batch (`taker`) that needs an id or a text which another row (`holder`) has.
#[derive(diesel::QueryableByName)]
struct Taken {
    #[diesel(sql_type = BigInt)]
    taker: i64,
    #[diesel(sql_type = BigInt)]
    holder: i64,
}

/// Takes a unique text from the row that has it, so that it can pass from one row to another within a file. That row
/// is noted in `lost`, with the line that took its text: its own line has to come, in this batch or later, and give
/// it a new one.
fn take_unique(
    conn: &mut Conn,
    table: &str,
    column: &str,
    from: &str,
    rows: &str,
    lines: &dyn Fn(&i64) -> u64,
    lost: &mut HashMap<i64, u64>,
) -> Result<(), DbError> {
    // SQLite joins in the order of the text at a CROSS JOIN: it reads the rows of the batch and looks each up in the
    // index.
    let sql = format!(
        "SELECT r.id AS taker, h.id AS holder FROM {from} CROSS JOIN {table} h \
         WHERE h.{column} = r.{column} AND h.id <> r.id",
    );
    let taken = sql_query(sql).bind::<Text, _>(rows).load::<Taken>(conn)?;
    if taken.is_empty() {
        return Ok(());
    }
    let holders = conn.id_list(taken.iter().map(|row| row.holder));
    let sql = format!("UPDATE {table} SET {column} = NULL WHERE id IN ({})", conn.each_id("$1"));
    sql_query(sql).bind::<Text, _>(holders).execute(conn)?;
    lost.extend(taken.iter().map(|row| (row.holder, lines(&row.taker))));
    Ok(())
}

/// Deletes the rows of `table` whose `column` has one of these ids.
fn delete(
    conn: &mut Conn,
    table: &str,
    column: &str,
    ids: impl IntoIterator<Item = i64>,
) -> Result<(), DbError> {
    let list = conn.id_list(ids);
    let sql = format!("DELETE FROM {table} WHERE {column} IN ({})", conn.each_id("$1"));
    sql_query(sql).bind::<Text, _>(list).execute(conn)?;
    Ok(())
}

/// Inserts rows in parts, since a single line may have a million members.
fn insert_all<T: Serialize>(
    conn: &mut Conn,
    table: &str,
    columns: &[(&str, &str)],
    rows: &[T],
) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO {table} ({}) SELECT {} FROM {}",
        names(columns, ""),
        names(columns, "r."),
        rows_of(conn, columns)
    );
    for part in rows.chunks(FULL_ROWS) {
        sql_query(&sql).bind::<Text, _>(json(part)?).execute(conn)?;
    }
    Ok(())
}
