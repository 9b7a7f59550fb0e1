//! Reads the facts that a plan is made from, inside the transaction that applies the plan.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, SmallInt, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::plan::{Facts, PrincipalFact, SecretFact};
use crate::domain::{PrincipalId, PrincipalKind, Recipient, SecretId};
use crate::store::codes::id;

use crate::store::people::membership::{acting_as, may_act, visible_to};
use crate::store::vault::access::{level_on_secret, reach};

#[derive(QueryableByName)]
struct SecretRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    owner_id: i64,
    #[diesel(sql_type = Bool)]
    disabled: bool,
    #[diesel(sql_type = BigInt)]
    level: i64,
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
    #[diesel(sql_type = Bool)]
    may_act: bool,
}

impl SecretRow {
    fn add_to(self, facts: &mut Facts) -> Result<(), DbError> {
        let reach = reach(self.level)?;
        let fact = SecretFact { owner: id(self.owner_id)?, disabled: self.disabled, reach };
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

#[derive(QueryableByName)]
struct Acts {
    #[diesel(sql_type = Bool)]
    may_act: bool,
}

/// Whether the requester exists and is a person who may act.
pub(in crate::store) fn requester_valid(conn: &mut Conn, requester: PrincipalId) -> Result<bool, DbError> {
    let sql = format!("SELECT {} AS may_act FROM principals p WHERE p.id = $1", may_act("p"));
    let row: Option<Acts> = statement(sql).bind::<BigInt, _>(requester.get()).get_result(conn).optional()?;
    Ok(row.is_some_and(|row| row.may_act))
}

/// Reads the facts of one request. Its ids go to the database as two lists, which are shorter than rows if there are
/// many ids.
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

/// The part of a request that its facts are about.
pub(in crate::store) struct Asked<'a> {
    pub(in crate::store) requester: PrincipalId,
    pub(in crate::store) secrets: &'a [SecretId],
    pub(in crate::store) recipients: &'a [Recipient],
}

/// Reads everything that the plans of these requests need. The number of statements does not grow with the requests.
/// The answers are in the order of the requests.
pub(in crate::store) fn read(conn: &mut Conn, asked: &[Asked<'_>]) -> Result<Vec<Facts>, DbError> {
    match asked {
        [] => Ok(Vec::new()),
        [one] => Ok(vec![read_one(conn, one.requester, one.secrets, one.recipients)?]),
        many => read_many(conn, many),
    }
}

/// Reads the facts of many small requests by two statements. Their ids go to the database as rows, each with the
/// place of its request in the list and with the requester.
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
        row.add_to(place.of_mut(&mut facts).ok_or_else(strange)?)?;
    }
    for (place, row) in people {
        let (requester, facts) = place.of(asked).zip(place.of_mut(&mut facts)).ok_or_else(strange)?;
        facts.requester_valid |= row.may_act && row.id == requester.requester.get();
        row.add_to(facts)?;
    }
    Ok(facts)
}

/// The place, in the list of requests, of the request that a row belongs to.
#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = BigInt)]
    place: i64,
}

impl Place {
    fn of<'a, T>(&self, all: &'a [T]) -> Option<&'a T> {
        all.get(usize::try_from(self.place).ok()?)
    }

    fn of_mut<'a, T>(&self, all: &'a mut [T]) -> Option<&'a mut T> {
        all.get_mut(usize::try_from(self.place).ok()?)
    }
}

/// The columns of the secret `s` that a plan for this user needs. `me` has the principals through which the user acts.
fn secret_columns(user: &str, me: &str) -> String {
    format!("s.id, s.owner_id, s.disabled, {} AS level", level_on_secret(user, me))
}

/// The columns of the principal `p` that a plan for this user needs.
fn principal_columns(user: &str) -> String {
    let (visible, may_act) = (visible_to(user), may_act("p"));
    format!("p.id, p.kind, p.active, p.has_account, {visible} AS visible, {may_act} AS may_act")
}
