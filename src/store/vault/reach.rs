//! The queries of the secrets that a person can reach, for listings and for jobs about all secrets that match.
//!
//! A person can reach the secrets that they own, and those that are granted to them or to an active group that they
//! are a member of (see [`crate::store::vault::access`]).

use std::collections::HashMap;

use diesel::connection::DefaultLoadingMode;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use crate::db::{Conn, DbError};
use crate::domain::text::normal;
use crate::domain::{PrincipalId, SecretId, text};
use crate::store::search::found;
use crate::store::vault::access::{all_in_reach, some_reach};
use crate::store::vault::filter::{OwnedBy, SecretCursor, SecretFilter, SecretItem, SecretSort};

/// A stored id as the id of a secret.
pub(in crate::store) fn secret_id(id: i64) -> Result<SecretId, DbError> {
    SecretId::try_from(id).map_err(DbError::Corrupt)
}

/// The two parts that all listings share: the WITH, and the FROM with its conditions. `s` is a secret that the person
/// `$1` can reach, and `r.level` is the level of the person on it (1 view, 2 edit, 3 owner). `$2` is bound to the
/// list of words, and `$3` to the tag, both from [`Wanted`]. If there is an `after`, only secrets with a greater id.
fn in_reach(conn: &Conn, filter: &SecretFilter, wanted: &Wanted, after: Option<i64>) -> (String, String) {
    let with = format!("WITH {}", all_in_reach("$1", after));
    let shared = match filter.shared {
        None => String::new(),
        Some(shared) => format!("AND {}{SHARED}", if shared { "" } else { "NOT " }),
    };
    let owner = match filter.owner {
        None => "",
        Some(OwnedBy::Me) => "AND s.owner_id = $1",
        Some(OwnedBy::Others) => "AND s.owner_id <> $1",
    };
    // The ids are numbers, and there are few of them, so they can be part of the text.
    let ids = match filter.ids.as_slice() {
        [] => String::new(),
        ids => {
            let list: Vec<String> = ids.iter().map(|id| id.get().to_string()).collect();
            format!("AND s.id IN ({})", list.join(", "))
        }
    };
    let found = found(conn, "s", "$2", &wanted.words);
    let from = format!(
        "FROM reach r CROSS JOIN secrets s WHERE s.id = r.secret_id AND {found} \
         AND ($3 = '' OR EXISTS (SELECT 1 FROM secret_tags t WHERE t.secret_id = s.id AND t.tag = $3)) \
         {shared} {owner} {ids}"
    );
    (with, from)
}

/// What a filter looks for, in the form in which the statements compare it.
struct Wanted {
    words: Vec<String>,
    list: String,
    tag: String,
}

impl Wanted {
    fn of(conn: &Conn, filter: &SecretFilter) -> Self {
        let words = text::words(&filter.search);
        Self { list: conn.word_list(&words), words, tag: normal(&filter.tag).into_owned() }
    }
}

/// A condition on the secret `s`: somebody other than the person `$1` has a grant on it.
pub(in crate::store) const SHARED: &str =
    "EXISTS (SELECT 1 FROM grants o WHERE o.secret_id = s.id AND o.principal_id <> $1)";

#[derive(QueryableByName)]
pub(in crate::store) struct MatchRow {
    #[diesel(sql_type = BigInt)]
    pub(in crate::store) id: i64,
    #[diesel(sql_type = BigInt)]
    pub(in crate::store) level: i64,
    #[diesel(sql_type = Bool)]
    pub(in crate::store) disabled: bool,
}

/// Calls `take` with each secret in reach that matches, in the order of ids: at most `limit` of those with an id
/// greater than `after`. The rows are read one by one, so that the whole answer is never in memory.
pub(in crate::store) fn each_match(
    conn: &mut Conn,
    user: PrincipalId,
    filter: &SecretFilter,
    after: i64,
    limit: usize,
    mut take: impl FnMut(MatchRow) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let wanted = Wanted::of(conn, filter);
    let (with, from) = in_reach(conn, filter, &wanted, Some(after));
    let sql = format!(
        "{with} SELECT s.id, CAST(r.level AS BIGINT) AS level, s.disabled {from} ORDER BY s.id LIMIT $4"
    );
    let query = diesel::sql_query(sql)
        .bind::<BigInt, _>(user.get())
        .bind::<Text, _>(wanted.list)
        .bind::<Text, _>(wanted.tag)
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX));
    match conn {
        Conn::Pg(conn) => {
            query.load_iter::<MatchRow, PgRowByRowLoadingMode>(conn)?.try_for_each(|row| take(row?))
        }
        Conn::Sqlite(conn) => {
            query.load_iter::<MatchRow, DefaultLoadingMode>(conn)?.try_for_each(|row| take(row?))
        }
    }
}

#[derive(QueryableByName)]
struct TagRow {
    #[diesel(sql_type = Text)]
    tag: String,
}

/// The tags of all secrets in reach that match, each once, in order. They are sorted here, because a database sorts
/// texts by the rules of its language.
pub(in crate::store) fn tags_in_reach(
    conn: &mut Conn,
    user: PrincipalId,
    filter: &SecretFilter,
) -> Result<Vec<String>, DbError> {
    let wanted = Wanted::of(conn, filter);
    let (with, from) = in_reach(conn, filter, &wanted, None);
    let sql = format!(
        "{with} SELECT DISTINCT own.tag FROM secret_tags own WHERE own.secret_id IN (SELECT s.id {from})"
    );
    let rows: Vec<TagRow> = diesel::sql_query(sql)
        .bind::<BigInt, _>(user.get())
        .bind::<Text, _>(wanted.list)
        .bind::<Text, _>(wanted.tag)
        .load(conn)?;
    let mut tags: Vec<String> = rows.into_iter().map(|row| row.tag).collect();
    tags.sort_unstable();
    Ok(tags)
}

#[derive(QueryableByName)]
pub(in crate::store) struct PageRow {
    #[diesel(sql_type = BigInt)]
    pub(in crate::store) id: i64,
    #[diesel(sql_type = Text)]
    pub(in crate::store) sort_key: String,
    #[diesel(sql_type = BigInt)]
    pub(in crate::store) level: i64,
}

/// The ids of one page of a listing. The other columns are read afterwards ([`items`]), for these secrets only.
pub(in crate::store) fn page(
    conn: &mut Conn,
    user: PrincipalId,
    filter: &SecretFilter,
    sort: SecretSort,
    after: Option<SecretCursor>,
    limit: usize,
) -> Result<Vec<PageRow>, DbError> {
    // The folded text begins with the name, in a form without case and accents. It is compared byte by byte on both
    // databases, so that the order does not depend on the server's language. It is cut so that a cursor stays short.
    let key = if sort.by_name() { "substr(s.search_text, 1, 100)" } else { "CAST('' AS TEXT)" };
    let key = format!("{key} {}", conn.collation());
    let (compare, direction) = if sort.descending() { ("<", "DESC") } else { (">", "ASC") };
    let wanted = Wanted::of(conn, filter);
    let (with, from) = in_reach(conn, filter, &wanted, None);
    let sql = format!(
        "{with} SELECT s.id, {key} AS sort_key, CAST(r.level AS BIGINT) AS level {from} \
         AND ($4 = 0 OR ({key}, s.id) {compare} ($5, $4)) \
         ORDER BY sort_key {direction}, s.id {direction} LIMIT $6"
    );
    let (after_id, after_key) = after.map_or((0, String::new()), |cursor| (cursor.id, cursor.key));
    Ok(diesel::sql_query(sql)
        .bind::<BigInt, _>(user.get())
        .bind::<Text, _>(wanted.list)
        .bind::<Text, _>(wanted.tag)
        .bind::<BigInt, _>(after_id)
        .bind::<Text, _>(after_key)
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
        .load(conn)?)
}

#[derive(QueryableByName)]
struct ItemRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    url: String,
    #[diesel(sql_type = Nullable<Text>)]
    identifier: Option<String>,
    #[diesel(sql_type = Bool)]
    shared: bool,
    #[diesel(sql_type = BigInt)]
    owner_id: i64,
    #[diesel(sql_type = Nullable<Text>)]
    owner_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    owner_username: Option<String>,
    #[diesel(sql_type = Bool)]
    disabled: bool,
}

#[derive(QueryableByName)]
pub(in crate::store) struct NameRow {
    #[diesel(sql_type = BigInt)]
    pub(in crate::store) id: i64,
    #[diesel(sql_type = Text)]
    pub(in crate::store) name: String,
}

/// Reads the secrets of a page with everything that a listing shows, in the order of the page.
pub(in crate::store) fn items(
    conn: &mut Conn,
    user: PrincipalId,
    page: &[PageRow],
) -> Result<Vec<SecretItem>, DbError> {
    let list = conn.id_list(page.iter().map(|row| row.id));
    let sql = format!(
        "SELECT s.id, s.name, s.url, s.identifier, {SHARED} AS shared, s.owner_id, p.name AS owner_name, \
         p.username AS owner_username, s.disabled FROM secrets s LEFT JOIN principals p ON p.id = s.owner_id WHERE s.id IN ({})",
        conn.each_id("$2"),
    );
    let rows: Vec<ItemRow> =
        diesel::sql_query(sql).bind::<BigInt, _>(user.get()).bind::<Text, _>(&list).load(conn)?;
    let mut rows: HashMap<i64, ItemRow> = rows.into_iter().map(|row| (row.id, row)).collect();
    let mut tags = tags(conn, list)?;
    page.iter()
        // A secret that was removed after the ids of the page were read is left out.
        .filter_map(|at| rows.remove(&at.id).map(|row| (at, row)))
        .map(|(at, row)| {
            Ok(SecretItem {
                id: secret_id(row.id)?,
                name: row.name,
                url: row.url,
                identifier: row.identifier,
                tags: tags.remove(&row.id).unwrap_or_default(),
                shared: row.shared,
                owner: PrincipalId::try_from(row.owner_id).map_err(DbError::Corrupt)?,
                owner_name: row.owner_name.unwrap_or_default(),
                owner_username: row.owner_username,
                disabled: row.disabled,
                reach: some_reach(at.level)?,
            })
        })
        .collect()
}

/// The tags of each of these secrets, in order. `list` is a list of ids, as [`Conn::id_list`] makes it.
pub(in crate::store) fn tags(conn: &mut Conn, list: String) -> Result<HashMap<i64, Vec<String>>, DbError> {
    let sql = format!(
        "SELECT t.secret_id AS id, t.tag AS name FROM secret_tags t WHERE t.secret_id IN ({})",
        conn.each_id("$1"),
    );
    let rows: Vec<NameRow> = diesel::sql_query(sql).bind::<Text, _>(list).load(conn)?;
    let mut tags: HashMap<i64, Vec<String>> = HashMap::new();
    for row in rows {
        tags.entry(row.id).or_default().push(row.name);
    }
    tags.values_mut().for_each(|list| list.sort_unstable());
    Ok(tags)
}
