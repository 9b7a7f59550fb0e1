//! Looks up people and groups: who can sign in, and who can be shared with.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, SmallInt, Text};

use crate::db::DbError;
use crate::domain::plan::{PrincipalFact, recipient_rejection};
use crate::domain::text::{id_of, words};
use crate::domain::{Permission, PrincipalId, PrincipalKind, Recipient, RejectReason};
use crate::store::people::membership::{may_act, visible_to};
use crate::store::schema::principals;
use crate::store::search::found;
use crate::store::transact::Store;

/// A person who can sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub id: PrincipalId,
    pub username: String,
    pub name: String,
}

/// What a username leads to when somebody signs in with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignIn {
    /// The user can sign in.
    Person(Person),
    /// There is no user with this username.
    Unknown,
    /// There is such a user, but the user is not active or has no account.
    Refused(RejectReason),
}

/// A user or a group that a search for recipients found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientItem {
    pub kind: PrincipalKind,
    pub id: PrincipalId,
    pub name: String,
    /// Only users have a username and an e-mail address.
    pub username: Option<String>,
    pub email: Option<String>,
    /// The reason why nothing can be shared with it. `None` if it can be shared with.
    pub reason: Option<RejectReason>,
}

/// The name of a principal, its kind, and what tells it from others with the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalName {
    pub kind: PrincipalKind,
    pub name: String,
    /// Only users have a username and an e-mail address.
    pub username: Option<String>,
    pub email: Option<String>,
}

#[derive(QueryableByName, Queryable, Selectable)]
#[diesel(table_name = principals)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    active: bool,
    #[diesel(sql_type = Nullable<Text>)]
    username: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    email: Option<String>,
    #[diesel(sql_type = Bool)]
    has_account: bool,
}

impl Store {
    /// Whether the user with exactly this username can sign in.
    pub async fn sign_in(&self, username: String) -> Result<SignIn, DbError> {
        self.db
            .read(move |conn| {
                let row: Option<Row> = principals::table
                    .filter(principals::username.eq(&username))
                    .filter(principals::kind.eq(PrincipalKind::User.code()))
                    .select(Row::as_select())
                    .first(conn)
                    .optional()?;
                let Some(row) = row else { return Ok(SignIn::Unknown) };
                let item = RecipientItem::try_from(row)?;
                Ok(match item.reason {
                    Some(reason) => SignIn::Refused(reason),
                    None => SignIn::Person(Person { id: item.id, username, name: item.name }),
                })
            })
            .await
    }

    /// The users and groups that the person may know of and that the search finds: each word is in the name, the
    /// username or the e-mail address, or is the id, as [`crate::domain::text`] compares them. Those whose name,
    /// username, e-mail address or id is exactly the search come first, then those whose name begins with it, then
    /// the others.
    pub async fn recipients(
        &self,
        user: PrincipalId,
        search: String,
        limit: i64,
    ) -> Result<Vec<RecipientItem>, DbError> {
        self.db
            .read(move |conn| {
                let words = words(&search);
                let (find, line) = (conn.find(), conn.line_break());
                let this_id = match words.as_slice() {
                    [word] => id_of(word).unwrap_or(0),
                    _ => 0,
                };
                let collate = conn.collation();
                // `search_text` has a line for each of name, username and e-mail address. So a text that is found
                // with a line break on both sides is exactly one of them.
                let sql = format!(
                    "SELECT p.id, p.kind, p.name, p.active, p.username, p.email, p.has_account \
                     FROM principals p WHERE {found} AND {visible} \
                     ORDER BY CASE WHEN p.id = {this_id} \
                     OR {find}({line} || p.search_text, {line} || $3 || {line}) > 0 THEN 0 \
                     WHEN {find}(p.search_text, $3) = 1 THEN 1 ELSE 2 END, p.search_text {collate}, p.id \
                     LIMIT $4",
                    found = found(conn, "p", "$1", &words),
                    visible = visible_to("$2"),
                );
                let rows: Vec<Row> = diesel::sql_query(sql)
                    .bind::<Text, _>(conn.word_list(&words))
                    .bind::<BigInt, _>(user.get())
                    .bind::<Text, _>(words.join(" "))
                    .bind::<BigInt, _>(limit)
                    .load(conn)?;
                rows.into_iter().map(RecipientItem::try_from).collect()
            })
            .await
    }

    /// A page of the people who can sign in, in the order of their ids, which are greater than `after`. The demo mode
    /// lets its user choose among them.
    pub async fn people(&self, after: i64, limit: i64) -> Result<Vec<Person>, DbError> {
        self.db
            .read(move |conn| {
                let sql = format!(
                    "SELECT p.id, p.kind, p.name, p.active, p.username, p.email, p.has_account \
                     FROM principals p WHERE {may_act} AND p.id > $1 ORDER BY p.id LIMIT $2",
                    may_act = may_act("p"),
                );
                let rows: Vec<Row> =
                    diesel::sql_query(sql).bind::<BigInt, _>(after).bind::<BigInt, _>(limit).load(conn)?;
                rows.into_iter()
                    .map(|row| {
                        let username = row.username.clone().unwrap_or_default();
                        RecipientItem::try_from(row).map(|item| Person {
                            id: item.id,
                            username,
                            name: item.name,
                        })
                    })
                    .collect()
            })
            .await
    }

    /// The names of these principals. Principals that the person may not know of are left out. An operator (`user` is
    /// `None`) may know of all.
    pub async fn principal_names_seen_by(
        &self,
        user: impl Into<Option<PrincipalId>>,
        ids: Vec<PrincipalId>,
    ) -> Result<HashMap<PrincipalId, PrincipalName>, DbError> {
        let user = user.into().map_or(0, PrincipalId::get);
        self.db
            .read(move |conn| {
                let sql = format!(
                    "SELECT p.id, p.kind, p.name, p.active, p.username, p.email, p.has_account \
                     FROM principals p WHERE ($1 = 0 OR {visible}) AND p.id IN ({ids})",
                    visible = visible_to("$1"),
                    ids = conn.each_id("$2"),
                );
                let list = conn.id_list(ids);
                let rows: Vec<Row> =
                    diesel::sql_query(sql).bind::<BigInt, _>(user).bind::<Text, _>(list).load(conn)?;
                rows.into_iter()
                    .map(|row| {
                        let item = RecipientItem::try_from(row)?;
                        let RecipientItem { kind, id, name, username, email, .. } = item;
                        Ok((id, PrincipalName { kind, name, username, email }))
                    })
                    .collect()
            })
            .await
    }
}

impl TryFrom<Row> for RecipientItem {
    type Error = DbError;

    /// The reader may know of every principal that is read here. Whether it can be shared with is decided in `domain`.
    fn try_from(row: Row) -> Result<Self, DbError> {
        let id = PrincipalId::try_from(row.id).map_err(DbError::Corrupt)?;
        let kind = PrincipalKind::from_code(row.kind)
            .ok_or_else(|| DbError::Corrupt(format!("principals.kind is {}", row.kind)))?;
        let is_user = kind == PrincipalKind::User;
        let fact = PrincipalFact {
            kind,
            active: row.active,
            has_account: row.has_account || !is_user,
            visible: true,
        };
        let reason = recipient_rejection(&Recipient { kind, id, permission: Permission::View }, Some(&fact));
        Ok(Self {
            kind,
            id,
            name: row.name,
            username: row.username.filter(|_| is_user),
            email: row.email.filter(|_| is_user),
            reason,
        })
    }
}
