//! Explains why a person has access to a secret: on which ways, through which jobs, and who else has asked for it.
//!
//! Each answer costs a few look-ups by key, however many grants, jobs and members there are.

use std::collections::{BTreeSet, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, SmallInt, Text};

use crate::contract;
use crate::db::{Conn, DbError, statement};
use crate::domain::access::{Access, AlsoAsked, Asking, Because, Inactive, Standing, Way};
use crate::domain::outcome::is_among;
use crate::domain::plan::{PrincipalFact, recipient_rejection};
use crate::domain::{Permission, PrincipalId, PrincipalKind, Reach, Recipient, SecretId};
use crate::store::clock::{micros, millis_of};
use crate::store::codes::id;
use crate::store::people::membership::{every_way, visible_to};
use crate::store::transact::Store;
use crate::store::vault::claims::NOT_UNDONE;
use crate::store::vault::givers::GRANTS;
use crate::store::vault::secret::reach_of;

/// The most ways in an answer. The ways that give the most come first, so that what the person may do is right however
/// many there are.
const MOST_WAYS: i64 = 1_000;
/// How many jobs that claim something on the secret are looked at, the latest first.
const MOST_CLAIMS: i64 = 100;
/// The most other requests that a way names.
const MOST_ASKED: usize = 10;

/// What came of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explained {
    /// There is no such secret, or the reader cannot reach it. The reader must not learn which.
    NotSeen,
    /// The reader may only view the secret, and asks about somebody else.
    NotAllowed,
    /// There is no such person.
    Nobody,
    Access(Access),
}

impl Store {
    /// Why the person `user` has access to the secret, as the reader may know it: who may edit the secret asks about
    /// anybody, and who may view it about themselves. An operator (`reader` is `None`) sees everything.
    pub async fn why(
        &self,
        reader: Option<PrincipalId>,
        secret: SecretId,
        user: PrincipalId,
    ) -> Result<Explained, DbError> {
        self.db.read(move |conn| explain(conn, reader, secret, user)).await
    }
}

/// As [`Store::why`].
pub(in crate::store) fn explain(
    conn: &mut Conn,
    reader: Option<PrincipalId>,
    secret: SecretId,
    user: PrincipalId,
) -> Result<Explained, DbError> {
    if let Some(reader) = reader {
        match reach_of(conn, reader, secret)? {
            None => return Ok(Explained::NotSeen),
            Some(reach) if !reach.may_edit() && reader != user => return Ok(Explained::NotAllowed),
            Some(_) => {}
        }
    }
    let Some(about) = about(conn, secret, user)? else { return Ok(Explained::NotSeen) };
    let Some(person) = about.person(user) else { return Ok(Explained::Nobody) };
    let rows = ways(conn, reader, secret, user)?;
    let claims = if rows.is_empty() { Vec::new() } else { claims(conn, secret)? };
    let jobs = rows.iter().flat_map(WayRow::jobs).chain(claims.iter().map(|claim| claim.job));
    let jobs = askings(conn, jobs.collect())?;
    let mut because = Vec::new();
    if about.owner_id == user.get() {
        because.push(Because {
            way: Way::Owner,
            principal: user,
            kind: PrincipalKind::User,
            name: Some(person.name.clone()),
            reach: Reach::Owner,
            since: None,
            view: None,
            edit: None,
            also_asked_by: Vec::new(),
            inactive: person.inactive,
        });
    }
    for row in rows {
        because.push(row.because(person.inactive, &claims, &jobs)?);
    }
    let active = because.iter().filter(|way| way.inactive.is_none());
    let effective = active.map(|way| way.reach).max();
    Ok(Explained::Access(Access { effective, because }))
}

/// The secret's owner, and the person that is asked about. The person's columns are null if there is no such person.
#[derive(QueryableByName)]
struct About {
    #[diesel(sql_type = BigInt)]
    owner_id: i64,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Bool>)]
    active: Option<bool>,
    #[diesel(sql_type = Nullable<Bool>)]
    has_account: Option<bool>,
}

struct AboutPerson {
    name: String,
    /// Why the person can do nothing at all. `None` if they can sign in.
    inactive: Option<Inactive>,
}

impl About {
    fn person(&self, user: PrincipalId) -> Option<AboutPerson> {
        let kind = PrincipalKind::User;
        let fact =
            PrincipalFact { kind, active: self.active?, has_account: self.has_account?, visible: true };
        let reason =
            recipient_rejection(&Recipient { kind, id: user, permission: Permission::View }, Some(&fact));
        Some(AboutPerson { name: self.name.clone()?, inactive: reason.map(Inactive::of_person) })
    }
}

fn about(conn: &mut Conn, secret: SecretId, user: PrincipalId) -> Result<Option<About>, DbError> {
    let sql = "SELECT s.owner_id, p.name, p.active, p.has_account FROM secrets s \
               LEFT JOIN principals p ON p.id = $2 AND p.kind = 1 WHERE s.id = $1";
    let query = statement(sql).bind::<BigInt, _>(secret.get()).bind::<BigInt, _>(user.get());
    Ok(query.get_result(conn).optional()?)
}

#[derive(QueryableByName)]
struct WayRow {
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    visible: bool,
    #[diesel(sql_type = Bool)]
    gives: bool,
    #[diesel(sql_type = SmallInt)]
    permission: i16,
    #[diesel(sql_type = Nullable<BigInt>)]
    view_job: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    edit_job: Option<i64>,
    #[diesel(sql_type = BigInt)]
    granted_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    edit_at: Option<i64>,
}

/// The grants through which the person has access or would have it, those that give the most first. It costs a look-up
/// by key for each group that the person is a member of.
fn ways(
    conn: &mut Conn,
    reader: Option<PrincipalId>,
    secret: SecretId,
    user: PrincipalId,
) -> Result<Vec<WayRow>, DbError> {
    let sql = format!(
        "WITH me AS MATERIALIZED ({ways}) SELECT g.principal_id, p.kind, p.name, ($3 = 0 OR {visible}) AS visible, \
         me.gives, g.permission, g.view_job, g.edit_job, g.granted_at, g.edit_at \
         FROM me CROSS JOIN {GRANTS} g CROSS JOIN principals p \
         WHERE g.secret_id = $2 AND g.principal_id = me.principal_id AND p.id = me.principal_id \
         ORDER BY CASE WHEN me.gives THEN 0 ELSE 1 END, g.permission DESC, p.kind, p.id LIMIT $4",
        ways = every_way("$1"),
        visible = visible_to("$3"),
    );
    Ok(statement(sql)
        .bind::<BigInt, _>(user.get())
        .bind::<BigInt, _>(secret.get())
        .bind::<BigInt, _>(reader.map_or(0, PrincipalId::get))
        .bind::<BigInt, _>(MOST_WAYS)
        .load(conn)?)
}

impl WayRow {
    /// The jobs that gave what the row gives. 0 stands for a view whose job is not known.
    fn jobs(&self) -> impl Iterator<Item = i64> {
        [self.view_job, self.edit_job].into_iter().flatten().filter(|job| *job != 0)
    }

    fn because(
        self,
        person: Option<Inactive>,
        claims: &[Claim],
        jobs: &HashMap<i64, Asking>,
    ) -> Result<Because, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(format!("{what} of a grant to {}", self.principal_id));
        let kind = PrincipalKind::from_code(self.kind).ok_or_else(|| corrupt("kind"))?;
        let permission = Permission::from_code(self.permission).ok_or_else(|| corrupt("permission"))?;
        let standing =
            Standing { permission, granted_at: micros(self.granted_at), edit_at: self.edit_at.map(micros) };
        let principal: PrincipalId = id(self.principal_id)?;
        let asking = |job: Option<i64>| job.and_then(|job| jobs.get(&job)).cloned();
        let kept = claims.iter().filter_map(|claim| {
            let kept = standing.kept_by(claim.asked_of(principal)?, claim.at)?;
            // A job that stands in the row for as much has not only asked.
            let gave = self.edit_job == Some(claim.job)
                || (self.view_job == Some(claim.job) && kept == Permission::View);
            let asking = jobs.get(&claim.job).filter(|_| !gave)?;
            Some(AlsoAsked { asking: asking.clone(), permission: kept })
        });
        Ok(Because {
            way: match kind {
                PrincipalKind::User => Way::Direct,
                PrincipalKind::UserGroup => Way::UserGroup,
                PrincipalKind::PersonalGroup => Way::PersonalGroup,
            },
            principal,
            kind,
            reach: if permission == Permission::Edit { Reach::Edit } else { Reach::View },
            since: Some(millis_of(self.edit_at.unwrap_or(self.granted_at))),
            view: asking(self.view_job),
            edit: asking(self.edit_job),
            also_asked_by: kept.take(MOST_ASKED).collect(),
            inactive: person.or((!self.gives).then_some(Inactive::GroupInactive)),
            name: Some(self.name).filter(|_| self.visible),
        })
    }
}

/// What a job claims on the secret.
struct Claim {
    job: i64,
    /// Microseconds since 1970.
    at: i64,
    /// A bit for each recipient. `None` for all of them.
    among: Option<Vec<u8>>,
    recipients: Vec<Recipient>,
}

impl Claim {
    /// What the job asked for this principal and found there already. `None` if it did not.
    fn asked_of(&self, principal: PrincipalId) -> Option<Permission> {
        let (place, of) = self.recipients.iter().enumerate().find(|(_, of)| of.id == principal)?;
        is_among(self.among.as_deref(), place).then_some(of.permission)
    }
}

#[derive(QueryableByName)]
struct ClaimRow {
    #[diesel(sql_type = BigInt)]
    job: i64,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    among: Option<Vec<u8>>,
    #[diesel(sql_type = Text)]
    recipients: String,
}

/// The claims of the latest jobs that found something on this secret as they wanted it. A job that is undone claims
/// nothing.
fn claims(conn: &mut Conn, secret: SecretId) -> Result<Vec<Claim>, DbError> {
    let sql = format!(
        "SELECT c.job, c.at, c.among, k.recipients FROM claims c JOIN jobs k ON k.id = c.job \
         WHERE c.secret_id = $1 AND k.recipients IS NOT NULL AND {NOT_UNDONE} ORDER BY c.job DESC LIMIT $2"
    );
    let rows: Vec<ClaimRow> =
        statement(sql).bind::<BigInt, _>(secret.get()).bind::<BigInt, _>(MOST_CLAIMS).load(conn)?;
    rows.into_iter()
        .map(|row| {
            let recipients = contract::recipients_from_json(&row.recipients)
                .map_err(|error| DbError::Corrupt(format!("jobs.recipients of job {}: {error}", row.job)))?;
            Ok(Claim { job: row.job, at: row.at, among: row.among, recipients })
        })
        .collect()
}

#[derive(QueryableByName)]
struct AskingRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = BigInt)]
    requested_by: i64,
    #[diesel(sql_type = Nullable<Text>)]
    requester: Option<String>,
    #[diesel(sql_type = BigInt)]
    requested_at: i64,
    #[diesel(sql_type = Nullable<Text>)]
    note: Option<String>,
}

/// Who asked for these jobs and when, by the jobs' keys.
fn askings(conn: &mut Conn, jobs: BTreeSet<i64>) -> Result<HashMap<i64, Asking>, DbError> {
    if jobs.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT j.id, j.job_id, j.requested_by, p.name AS requester, j.requested_at, j.note FROM jobs j \
         LEFT JOIN principals p ON p.id = j.requested_by WHERE j.id IN ({})",
        conn.each_id("$1"),
    );
    let list = conn.id_list(jobs);
    let rows: Vec<AskingRow> = statement(sql).bind::<Text, _>(list).load(conn)?;
    rows.into_iter()
        .map(|row| {
            let job = row
                .job_id
                .parse()
                .map_err(|()| DbError::Corrupt(format!("jobs.job_id of job {}", row.id)))?;
            let asking = Asking {
                job,
                requested_by: id(row.requested_by)?,
                requester: row.requester,
                requested_at: row.requested_at,
                note: row.note,
            };
            Ok((row.id, asking))
        })
        .collect()
}
