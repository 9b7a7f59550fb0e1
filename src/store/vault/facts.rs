//! What a plan needs to know, read inside the transaction that applies it.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, SmallInt, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::plan::{Access, Facts, PrincipalFact, SecretFact};
use crate::domain::{PrincipalId, PrincipalKind, Recipient, SecretId};
use crate::store::codes::id;

use crate::store::people::membership::{acting_as, visible_to};

#[derive(QueryableByName)]
struct SecretRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    owner_id: i64,
    #[diesel(sql_type = Bool)]
    disabled: bool,
    /// 0 none, 1 view, 2 edit or owner.
    #[diesel(sql_type = Integer)]
    access: i32,
}

#[derive(QueryableByName)]
struct PrincipalRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = Bool)]
    active: bool,
    #[diesel(sql_type = Bool)]
    has_account: bool,
    #[diesel(sql_type = Bool)]
    visible: bool,
}

impl SecretRow {
    fn add_to(self, facts: &mut Facts) -> Result<(), DbError> {
        let access = match self.access {
            0 => Access::None,
            1 => Access::View,
            _ => Access::Edit,
        };
        let fact = SecretFact { owner: id(self.owner_id)?, disabled: self.disabled, access };
        facts.secrets.insert(id(self.id)?, fact);
        Ok(())
    }
}

impl PrincipalRow {
    fn add_to(self, facts: &mut Facts) -> Result<(), DbError> {
        let kind = PrincipalKind::from_code(self.kind)
            .ok_or_else(|| DbError::Corrupt(format!("principals.kind is {}", self.kind)))?;
        let has_account = self.has_account || kind != PrincipalKind::User;
        let fact = PrincipalFact { kind, active: self.active, has_account, visible: self.visible };
        facts.principals.insert(id(self.id)?, fact);
        Ok(())
    }
}

/// Whether the person exists, is active and has an account.
pub(in crate::store) fn requester_valid(conn: &mut Conn, requester: PrincipalId) -> Result<bool, DbError> {
    use crate::store::schema::principals as p;
    let found = p::table
        .filter(p::id.eq(requester.get()))
        .filter(p::kind.eq(PrincipalKind::User.code()))
        .filter(p::active)
        .filter(p::has_account)
        .count()
        .get_result::<i64>(conn)?;
    Ok(found > 0)
}

/// Reads the facts of one request: its ids go to the database as lists.
fn read_one(
    conn: &mut Conn,
    requester: PrincipalId,
    secrets: &[SecretId],
    recipients: &[Recipient],
) -> Result<Facts, DbError> {
    let mut facts = Facts { requester_valid: requester_valid(conn, requester)?, ..Facts::default() };
    if !facts.requester_valid {
        return Ok(facts);
    }
    let sql = format!(
        "WITH me AS MATERIALIZED ({}) SELECT {} FROM secrets s WHERE s.id IN ({})",
        acting_as("$1"),
        secret_columns("$1", "me"),
        conn.each_id("$2"),
    );
    let list = conn.id_list(secrets.iter().copied());
    let rows: Vec<SecretRow> =
        statement(sql).bind::<BigInt, _>(requester.get()).bind::<Text, _>(list).load(conn)?;
    for row in rows {
        row.add_to(&mut facts)?;
    }
    let sql = format!(
        "SELECT {} FROM principals p WHERE p.id IN ({})",
        principal_columns("$1"),
        conn.each_id("$2"),
    );
    let list = conn.id_list(recipients.iter().map(|recipient| recipient.id));
    let rows: Vec<PrincipalRow> =
        statement(sql).bind::<BigInt, _>(requester.get()).bind::<Text, _>(list).load(conn)?;
    for row in rows {
        row.add_to(&mut facts)?;
    }
    Ok(facts)
}

/// Somebody's request, to read the facts of.
pub(in crate::store) struct Asked<'a> {
    pub(in crate::store) requester: PrincipalId,
    pub(in crate::store) secrets: &'a [SecretId],
    pub(in crate::store) recipients: &'a [Recipient],
}

/// Reads everything that the plans of these requests need, in two statements. The answers are in their order.
pub(in crate::store) fn read(conn: &mut Conn, asked: &[Asked<'_>]) -> Result<Vec<Facts>, DbError> {
    match asked {
        [] => Ok(Vec::new()),
        [one] => Ok(vec![read_one(conn, one.requester, one.secrets, one.recipients)?]),
        many => read_many(conn, many),
    }
}

/// Reads the facts of many requests: their ids go to the database as rows that say whose they are.
fn read_many(conn: &mut Conn, asked: &[Asked<'_>]) -> Result<Vec<Facts>, DbError> {
    let mut secrets = Vec::new();
    let mut people = Vec::new();
    for (place, of) in asked.iter().enumerate() {
        secrets.extend(of.secrets.iter().map(|id| json!([place, of.requester, id])));
        people.push(json!([place, of.requester, of.requester]));
        people.extend(of.recipients.iter().map(|to| json!([place, of.requester, to.id])));
    }
    let columns = [("place", "bigint"), ("who", "bigint"), ("id", "bigint")];
    let rows = conn.each_row("$1", &columns);
    let sql = format!(
        "WITH a AS MATERIALIZED ({rows}) SELECT a.place, {} FROM a JOIN secrets s ON s.id = a.id",
        secret_columns("a.who", &format!("({})", acting_as("a.who"))),
    );
    let secrets: Vec<(Place, SecretRow)> =
        statement(sql).bind::<Text, _>(Value::from(secrets).to_string()).load(conn)?;
    let sql = format!(
        "WITH a AS MATERIALIZED ({rows}) SELECT a.place, {} FROM a JOIN principals p ON p.id = a.id",
        principal_columns("a.who"),
    );
    let people: Vec<(Place, PrincipalRow)> =
        statement(sql).bind::<Text, _>(Value::from(people).to_string()).load(conn)?;
    let mut facts: Vec<Facts> = asked.iter().map(|_| Facts::default()).collect();
    let strange = || DbError::Corrupt("a row of nobody's request".to_owned());
    for (place, row) in secrets {
        row.add_to(place.of(&mut facts).ok_or_else(strange)?)?;
    }
    for (place, row) in people {
        let facts = place.of(&mut facts).ok_or_else(strange)?;
        row.add_to(facts)?;
    }
    for (of, facts) in asked.iter().zip(&mut facts) {
        let valid =
            |fact: &PrincipalFact| fact.kind == PrincipalKind::User && fact.active && fact.has_account;
        facts.requester_valid = facts.principals.get(&of.requester).is_some_and(valid);
    }
    Ok(facts)
}

/// Whose row it is, by the place of the request.
#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = BigInt)]
    place: i64,
}

impl Place {
    fn of(self, facts: &mut [Facts]) -> Option<&mut Facts> {
        facts.get_mut(usize::try_from(self.place).ok()?)
    }
}

/// What a plan needs of the secret `s` for this user; `me` are the principals through which they act.
fn secret_columns(user: &str, me: &str) -> String {
    format!(
        "s.id, s.owner_id, s.disabled, CAST(CASE WHEN s.owner_id = {user} THEN 2 ELSE COALESCE( \
         (SELECT MAX(g.permission) FROM {me} me JOIN grants g \
          ON g.secret_id = s.id AND g.principal_id = me.principal_id), 0) END AS INTEGER) AS access"
    )
}

/// What a plan needs of the principal `p` for this user.
fn principal_columns(user: &str) -> String {
    format!("p.id, p.kind, p.active, p.has_account, {} AS visible", visible_to(user))
}
