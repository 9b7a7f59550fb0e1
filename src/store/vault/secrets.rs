//! Lists, searches and selects the secrets that a person can reach.
//!
//! The queries are in [`crate::store::vault::reach`]. This file has the methods that use them.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError};
use crate::domain::{AllFilter, PrincipalId, RejectReason, SecretId};
use crate::store::people::membership::acting_as;
use crate::store::transact::Store;
use crate::store::vault::access::{level_on_secret, some_reach};
use crate::store::vault::filter::SecretCursor;
use crate::store::vault::filter::SecretFilter;
use crate::store::vault::filter::SecretItem;
use crate::store::vault::filter::SecretSort;
use crate::store::vault::reach::{NameRow, each_match, items, page, secret_id, tags_in_reach};

/// A secret that "select all" found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selectable {
    pub id: SecretId,
    /// The reason why the person cannot share it. `None` if they can.
    pub reason: Option<RejectReason>,
}

impl Store {
    /// A page of the secrets that the person can reach, and the cursor of the next page, if there is one.
    pub async fn secrets(
        &self,
        user: PrincipalId,
        filter: SecretFilter,
        sort: SecretSort,
        after: Option<SecretCursor>,
        limit: usize,
    ) -> Result<(Vec<SecretItem>, Option<SecretCursor>), DbError> {
        self.db
            .read(move |conn| {
                let mut page = page(conn, user, &filter, sort, after, limit + 1)?;
                let more = page.len() > limit;
                page.truncate(limit);
                let next = page
                    .last()
                    .filter(|_| more)
                    .map(|last| SecretCursor { id: last.id, key: last.sort_key.clone() });
                Ok((items(conn, user, &page)?, next))
            })
            .await
    }

    /// The tags of the secrets that the person can reach and that match, each once, in order.
    pub async fn secret_tags(&self, user: PrincipalId, filter: SecretFilter) -> Result<Vec<String>, DbError> {
        self.db.read(move |conn| tags_in_reach(conn, user, &filter)).await
    }

    /// The names of these secrets. Secrets that the person cannot reach are left out.
    pub async fn secret_names_seen_by(
        &self,
        user: PrincipalId,
        ids: Vec<SecretId>,
    ) -> Result<HashMap<SecretId, String>, DbError> {
        self.db
            .read(move |conn| {
                let sql = format!(
                    "WITH me AS MATERIALIZED ({acting}) \
                     SELECT s.id, s.name FROM secrets s WHERE {level} > 0 AND s.id IN ({ids})",
                    acting = acting_as("$1"),
                    level = level_on_secret("$1", "me"),
                    ids = conn.each_id("$2"),
                );
                let list = conn.id_list(ids);
                let rows: Vec<NameRow> =
                    diesel::sql_query(sql).bind::<BigInt, _>(user.get()).bind::<Text, _>(list).load(conn)?;
                rows.into_iter().map(|row| Ok((secret_id(row.id)?, row.name))).collect()
            })
            .await
    }
}

/// The secrets that a request for all means.
pub(in crate::store) struct Shareable {
    /// In ascending order: all of them, or the first that a job may have.
    pub(in crate::store) ids: Vec<SecretId>,
    /// How many there are.
    pub(in crate::store) count: usize,
}

/// Finds the secrets that a request for all means: those that match and that the person owns or may edit. Disabled
/// secrets are among them. The job rejects these, so that its report names them. At most `most` of them are kept, which
/// is as many as a job may have, and the others are counted: nobody needs the list of a job that is too large.
pub(in crate::store) fn shareable(
    conn: &mut Conn,
    user: PrincipalId,
    filter: &AllFilter,
    most: usize,
) -> Result<Shareable, DbError> {
    let matched = SecretFilter {
        search: filter.search.clone().unwrap_or_default(),
        tag: filter.tag.clone().unwrap_or_default(),
        shared: filter.shared,
        ..SecretFilter::default()
    };
    let mut found = Shareable { ids: Vec::new(), count: 0 };
    each_match(conn, user, &matched, 0, usize::MAX, |row| {
        let id = secret_id(row.id)?;
        if some_reach(row.level)?.may_edit() && filter.except.binary_search(&id).is_err() {
            found.count += 1;
            if found.count <= most {
                found.ids.push(id);
            }
        }
        Ok(())
    })?;
    Ok(found)
}
