//! Lists the grants on a secret for people, and takes a grant back.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, SmallInt, Text};

use crate::db::{Conn, DbError, Flow, statement};
use crate::domain::{Actor, JobId, Permission, PrincipalId, PrincipalKind, SecretId};
use crate::store::audit::entry::Entry;
use crate::store::audit::write as audit;
use crate::store::clock::millis_of;
use crate::store::people::membership::visible_to;
use crate::store::schema::jobs;
use crate::store::transact::Store;
use crate::store::vault::claims;
use crate::store::vault::givers::{GRANTS, giver};
use crate::store::vault::secret::{Edited, lock_to_edit, reach_of};

/// A grant as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantItem {
    pub principal: PrincipalId,
    /// `None` if the principal is unknown.
    pub kind: Option<PrincipalKind>,
    /// `None` if the reader may not know of the principal, which is then a personal group of somebody else.
    pub name: Option<String>,
    /// Only users have a username and an e-mail address. They tell two users with the same name apart.
    pub username: Option<String>,
    pub email: Option<String>,
    pub permission: Permission,
    /// The job that gave the permission. `None` if no job is known for it.
    pub job: Option<JobId>,
    /// When the permission was given, in milliseconds since 1970. For a view that was upgraded to edit, that is the time
    /// of the upgrade.
    pub granted_at: i64,
}

impl Store {
    /// A page of the grants on a secret, in the order of the principals' ids, which are greater than `after`. `None`
    /// if the person cannot reach the secret.
    pub async fn grants_of(
        &self,
        user: PrincipalId,
        id: SecretId,
        after: i64,
        limit: i64,
    ) -> Result<Option<Vec<GrantItem>>, DbError> {
        self.db
            .read(move |conn| {
                if reach_of(conn, user, id)?.is_none() {
                    return Ok(None);
                }
                let sql = format!(
                    "SELECT g.principal_id, p.kind, p.name, p.username, p.email, {visible} AS visible, g.permission, j.job_id, \
                     COALESCE(g.edit_at, g.granted_at) AS granted_at FROM {GRANTS} g LEFT JOIN principals p ON p.id = g.principal_id \
                     LEFT JOIN jobs j ON j.id = COALESCE(g.edit_job, g.view_job) \
                     WHERE g.secret_id = $2 AND g.principal_id > $3 ORDER BY g.principal_id LIMIT $4",
                    visible = visible_to("$1"),
                );
                let rows: Vec<GrantRow> = diesel::sql_query(sql)
                    .bind::<BigInt, _>(user.get())
                    .bind::<BigInt, _>(id.get())
                    .bind::<BigInt, _>(after)
                    .bind::<BigInt, _>(limit)
                    .load(conn)?;
                rows.into_iter().map(GrantItem::try_from).collect::<Result<_, _>>().map(Some)
            })
            .await
    }

    /// Takes the grant of a principal on a secret back, and records whose it was and who gave it. The answer is `Done`
    /// also if there was no such grant, of which nothing is recorded.
    pub async fn revoke(
        &self,
        user: PrincipalId,
        id: SecretId,
        principal: PrincipalId,
    ) -> Result<Edited, DbError> {
        self.db
            .write_or_not(move |conn| {
                // Whoever takes access away locks the secret before anything is read. Whoever confirms access to it
                // locks it, too, so nobody is told of a grant that is being deleted.
                let refused = lock_to_edit(conn, user, id)?;
                if refused != Edited::Done {
                    return Ok(Flow::Rollback(refused));
                }
                let sql = "DELETE FROM grants WHERE secret_id = $1 AND principal_id = $2 \
                           RETURNING permission, COALESCE(edit_at, granted_at) AS granted_at, view_job, edit_job";
                let taken: Option<TakenRow> = statement(sql)
                    .bind::<BigInt, _>(id.get())
                    .bind::<BigInt, _>(principal.get())
                    .get_result(conn)
                    .optional()?;
                let Some(taken) = taken else { return Ok(Flow::Rollback(Edited::Done)) };
                claims::strike(conn, &[id], &[principal])?;
                let entry = Entry::GrantRevoked {
                    secret: id,
                    principal,
                    by: Actor::Person(user),
                    permission: Permission::from_code(taken.permission)
                        .ok_or_else(|| DbError::Corrupt(format!("permission of a grant to {principal}")))?,
                    since: millis_of(taken.granted_at),
                    jobs: jobs_of(conn, id, &taken)?,
                };
                audit::write(conn, &entry)?;
                Ok(Flow::Commit(Edited::Done))
            })
            .await
    }
}

/// A grant that was deleted.
#[derive(QueryableByName)]
struct TakenRow {
    #[diesel(sql_type = SmallInt)]
    permission: i16,
    #[diesel(sql_type = BigInt)]
    granted_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    view_job: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    edit_job: Option<i64>,
}

/// The jobs that gave the grant: that of the edit, and then that of the view. Jobs that are not known are left out.
fn jobs_of(conn: &mut Conn, secret: SecretId, taken: &TakenRow) -> Result<Vec<JobId>, DbError> {
    let named = taken.edit_job.into_iter().chain(taken.view_job);
    let mut keys = named.map(|job| giver(conn, secret, job)).collect::<Result<Vec<i64>, _>>()?;
    keys.dedup();
    let mut found = Vec::new();
    for key in keys {
        let job: Option<String> =
            jobs::table.filter(jobs::id.eq(key)).select(jobs::job_id).first(conn).optional()?;
        if let Some(job) = job {
            let corrupt = |()| DbError::Corrupt(format!("jobs.job_id of {key}"));
            found.push(job.parse().map_err(corrupt)?);
        }
    }
    Ok(found)
}

#[derive(QueryableByName)]
struct GrantRow {
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
    #[diesel(sql_type = Nullable<SmallInt>)]
    kind: Option<i16>,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    username: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    email: Option<String>,
    #[diesel(sql_type = Nullable<Bool>)]
    visible: Option<bool>,
    #[diesel(sql_type = SmallInt)]
    permission: i16,
    #[diesel(sql_type = Nullable<Text>)]
    job_id: Option<String>,
    #[diesel(sql_type = BigInt)]
    granted_at: i64,
}

impl TryFrom<GrantRow> for GrantItem {
    type Error = DbError;

    fn try_from(row: GrantRow) -> Result<Self, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(format!("{what} of a grant to {}", row.principal_id));
        let is_seen = row.visible == Some(true);
        Ok(Self {
            principal: PrincipalId::try_from(row.principal_id).map_err(DbError::Corrupt)?,
            kind: row
                .kind
                .map(|kind| PrincipalKind::from_code(kind).ok_or_else(|| corrupt("kind")))
                .transpose()?,
            name: row.name.filter(|_| is_seen),
            username: row.username.filter(|_| is_seen),
            email: row.email.filter(|_| is_seen),
            permission: Permission::from_code(row.permission).ok_or_else(|| corrupt("permission"))?,
            job: row.job_id.map(|job| job.parse().map_err(|()| corrupt("job"))).transpose()?,
            granted_at: millis_of(row.granted_at),
        })
    }
}
