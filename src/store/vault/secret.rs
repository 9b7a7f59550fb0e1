//! Reads one secret with its details, and changes it.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use crate::db::{Conn, DbError, Flow};
use crate::domain::text::secret_search_text;
use crate::domain::{Actor, PrincipalId, Reach, SecretId, SecretPatch};
use crate::store::audit::entry::Entry;
use crate::store::audit::write as audit;
use crate::store::people::membership::acting_as;
use crate::store::schema::{secret_tags, secrets};
use crate::store::transact::Store;
use crate::store::vault::access::{level_on_secret, reach};
use crate::store::vault::client_secret::Sealed;
use crate::store::vault::reach::{SHARED, tags};

/// A secret with everything except its client secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretDetail {
    pub id: SecretId,
    pub name: String,
    pub url: String,
    pub client_id: String,
    pub has_client_secret: bool,
    pub identifier: Option<String>,
    pub method: String,
    pub tags: Vec<String>,
    pub notes: String,
    pub shared: bool,
    pub owner: PrincipalId,
    /// The name of the owner. It is empty if the owner is unknown.
    pub owner_name: String,
    pub owner_username: Option<String>,
    pub disabled: bool,
    /// Milliseconds since 1970.
    pub updated_at: i64,
    pub reach: Reach,
}

/// What became of an attempt to change a secret, or a grant on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// The change is made.
    Done,
    /// There is no such secret, or the person cannot reach it. The person must not learn which.
    NotSeen,
    /// The person may only view the secret.
    NotAllowed,
    /// Another secret has this identifier.
    IdentifierTaken,
}

impl Store {
    /// A secret with its details. `None` if there is no such secret or the person cannot reach it.
    pub async fn secret(&self, user: PrincipalId, id: SecretId) -> Result<Option<SecretDetail>, DbError> {
        self.db
            .read(move |conn| {
                let Some(reach) = reach_of(conn, user, id)? else { return Ok(None) };
                detail(conn, user, id, reach)
            })
            .await
    }

    /// Changes a secret: either the whole patch is applied or nothing. The client secret in the patch is not used.
    /// The caller has encrypted it and gives it as `sealed`: the outer `None` leaves it as it is, the inner `None`
    /// removes it.
    pub async fn edit_secret(
        &self,
        user: PrincipalId,
        id: SecretId,
        patch: SecretPatch,
        sealed: Option<Option<Sealed>>,
    ) -> Result<Edited, DbError> {
        let edited = self
            .db
            .write_or_not(move |conn| {
                let refused = lock_to_edit(conn, user, id)?;
                if refused != Edited::Done {
                    return Ok(Flow::Rollback(refused));
                }
                let (fields, disabled) = update(conn, id, patch, sealed)?;
                if !fields.is_empty() {
                    let by = Actor::Person(user);
                    audit::write(conn, &Entry::SecretChanged { secret: id, by, fields, disabled })?;
                }
                Ok(Flow::Commit(Edited::Done))
            })
            .await;
        match edited {
            // The identifier is the only unique column that a patch can set.
            Err(error) if error.is_unique_violation() => Ok(Edited::IdentifierTaken),
            other => other,
        }
    }
}

#[derive(QueryableByName)]
struct LevelRow {
    #[diesel(sql_type = BigInt)]
    level: i64,
}

/// What the person may do with the secret. `None` if they cannot reach it, or there is no such secret.
pub(in crate::store) fn reach_of(
    conn: &mut Conn,
    user: PrincipalId,
    id: SecretId,
) -> Result<Option<Reach>, DbError> {
    let level = level_on_secret("$1", &format!("({})", acting_as("$1")));
    let sql = format!("SELECT {level} AS level FROM secrets s WHERE s.id = $2");
    let row: Option<LevelRow> = diesel::sql_query(sql)
        .bind::<BigInt, _>(user.get())
        .bind::<BigInt, _>(id.get())
        .get_result(conn)
        .optional()?;
    row.map_or(Ok(None), |row| reach(row.level))
}

/// Locks the row of the secret and decides whether the person may change it: `Done` means that they may.
pub(in crate::store) fn lock_to_edit(
    conn: &mut Conn,
    user: PrincipalId,
    id: SecretId,
) -> Result<Edited, DbError> {
    if conn.locks_rows() {
        diesel::sql_query("SELECT id FROM secrets WHERE id = $1 FOR UPDATE")
            .bind::<BigInt, _>(id.get())
            .execute(conn)?;
    }
    Ok(match reach_of(conn, user, id)? {
        None => Edited::NotSeen,
        Some(reach) if !reach.may_edit() => Edited::NotAllowed,
        Some(_) => Edited::Done,
    })
}

#[derive(AsChangeset)]
#[diesel(table_name = secrets)]
struct Change {
    name: String,
    url: String,
    client_id: Option<String>,
    client_secret: Option<Option<Vec<u8>>>,
    client_secret_key: Option<Option<String>>,
    /// Always set: here `Some(None)` clears the column, and `None` would leave it as it is.
    identifier: Option<Option<String>>,
    method: Option<String>,
    notes: Option<String>,
    disabled: Option<bool>,
    search_text: String,
}

/// What a secret was before it is changed.
#[derive(Queryable, Selectable)]
#[diesel(table_name = secrets)]
struct Before {
    name: String,
    url: String,
    client_id: String,
    #[diesel(select_expression = secrets::client_secret.is_not_null())]
    has_client_secret: bool,
    identifier: Option<String>,
    method: String,
    notes: String,
    disabled: bool,
}

/// Applies the patch. Returns the names of the fields that have another value now, and what `disabled` became if it is
/// among them. A client secret that is set counts as another value, because the two cannot be compared.
fn update(
    conn: &mut Conn,
    id: SecretId,
    patch: SecretPatch,
    sealed: Option<Option<Sealed>>,
) -> Result<(Vec<&'static str>, Option<bool>), DbError> {
    let this = secrets::table.filter(secrets::id.eq(id.get()));
    let before: Before = this.select(Before::as_select()).first(conn)?;
    let tags = match patch.tags {
        Some(tags) if tags != tags_of(conn, id)? => Some(tags),
        _ => None,
    };
    let disabled = patch.disabled.filter(|disabled| *disabled != before.disabled);
    let differs = |new: &Option<String>, old: &str| new.as_deref().is_some_and(|new| new != old);
    let changed = [
        ("name", differs(&patch.name, &before.name)),
        ("url", differs(&patch.url, &before.url)),
        ("client_id", differs(&patch.client_id, &before.client_id)),
        ("client_secret", sealed.as_ref().is_some_and(|new| new.is_some() || before.has_client_secret)),
        ("identifier", patch.identifier.as_ref().is_some_and(|new| *new != before.identifier)),
        ("method", differs(&patch.method, &before.method)),
        ("tags", tags.is_some()),
        ("notes", differs(&patch.notes, &before.notes)),
        ("disabled", disabled.is_some()),
    ];
    let fields = changed.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect();
    let name = patch.name.unwrap_or(before.name);
    let url = patch.url.unwrap_or(before.url);
    let identifier = patch.identifier.unwrap_or(before.identifier);
    let (client_secret, client_secret_key) = match sealed {
        None => (None, None),
        Some(None) => (Some(None), Some(None)),
        Some(Some(sealed)) => (Some(Some(sealed.bytes)), Some(Some(sealed.key_id))),
    };
    let change = Change {
        search_text: secret_search_text(&name, identifier.as_deref(), &url),
        name,
        url,
        client_id: patch.client_id,
        client_secret,
        client_secret_key,
        identifier: Some(identifier),
        method: patch.method,
        notes: patch.notes,
        disabled: patch.disabled,
    };
    let now = diesel::dsl::sql::<BigInt>("now_ms()");
    diesel::update(this).set((change, secrets::updated_at.eq(now))).execute(conn)?;
    if let Some(tags) = tags {
        diesel::delete(secret_tags::table).filter(secret_tags::secret_id.eq(id.get())).execute(conn)?;
        for tag in tags {
            diesel::insert_into(secret_tags::table)
                .values((secret_tags::secret_id.eq(id.get()), secret_tags::tag.eq(tag)))
                .execute(conn)?;
        }
    }
    Ok((fields, disabled))
}

/// The tags of the secret, in order.
fn tags_of(conn: &mut Conn, id: SecretId) -> Result<Vec<String>, DbError> {
    let list = conn.id_list([id]);
    Ok(tags(conn, list)?.remove(&id.get()).unwrap_or_default())
}

#[derive(QueryableByName)]
struct DetailRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    url: String,
    #[diesel(sql_type = Text)]
    client_id: String,
    #[diesel(sql_type = Bool)]
    has_client_secret: bool,
    #[diesel(sql_type = Nullable<Text>)]
    identifier: Option<String>,
    #[diesel(sql_type = Text)]
    method: String,
    #[diesel(sql_type = Text)]
    notes: String,
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
    #[diesel(sql_type = BigInt)]
    updated_at: i64,
}

fn detail(
    conn: &mut Conn,
    user: PrincipalId,
    id: SecretId,
    reach: Reach,
) -> Result<Option<SecretDetail>, DbError> {
    let sql = format!(
        "SELECT s.name, s.url, s.client_id, s.client_secret IS NOT NULL AS has_client_secret, s.identifier, \
         s.method, s.notes, {SHARED} AS shared, s.owner_id, p.name AS owner_name, \
         p.username AS owner_username, s.disabled, s.updated_at \
         FROM secrets s LEFT JOIN principals p ON p.id = s.owner_id WHERE s.id = $2"
    );
    let row: Option<DetailRow> = diesel::sql_query(sql)
        .bind::<BigInt, _>(user.get())
        .bind::<BigInt, _>(id.get())
        .get_result(conn)
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let tags = tags_of(conn, id)?;
    Ok(Some(SecretDetail {
        id,
        name: row.name,
        url: row.url,
        client_id: row.client_id,
        has_client_secret: row.has_client_secret,
        identifier: row.identifier,
        method: row.method,
        tags,
        notes: row.notes,
        shared: row.shared,
        owner: PrincipalId::try_from(row.owner_id).map_err(DbError::Corrupt)?,
        owner_name: row.owner_name.unwrap_or_default(),
        owner_username: row.owner_username,
        disabled: row.disabled,
        updated_at: row.updated_at,
        reach,
    }))
}
