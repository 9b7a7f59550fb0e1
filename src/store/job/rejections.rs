//! Keeps the reasons why pairs were not shared. Each lane writes lines of its own, and reading merges them.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, SmallInt, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::event::{Rejection, Subject};
use crate::domain::{JobId, JobKey, PrincipalId, PrincipalKind, RejectReason, SecretId};

use crate::store::codes::id;
use crate::store::job::row;
use crate::store::schema::job_rejections;
use crate::store::transact::Store;

/// The value of `job_rejections.side` for a line about a secret.
const SECRET: i16 = 1;
/// The value of `job_rejections.side` for a line about a recipient.
const RECIPIENT: i16 = 2;

/// The rejections of one lane of a job.
pub(in crate::store) struct Rejected<'a> {
    pub(in crate::store) job: JobKey,
    pub(in crate::store) lane: i32,
    pub(in crate::store) lines: &'a [Rejection],
}

/// Adds these rejections to the lines of their lanes. If a lane has a line about the same subject, the number of its
/// pairs grows and its first reason stays.
pub(in crate::store) fn add(conn: &mut Conn, rejected: &[Rejected<'_>]) -> Result<(), DbError> {
    let line = |part: &Rejected<'_>, of: &Rejection| {
        let (side, kind, subject) = match of.subject {
            Subject::Secret(secret) => (SECRET, 0, secret.get()),
            Subject::Recipient(kind, recipient) => (RECIPIENT, kind.code(), recipient.get()),
        };
        json!([part.job.get(), part.lane, side, kind, subject, of.reason, of.pairs])
    };
    let lines: Vec<_> =
        rejected.iter().flat_map(|part| part.lines.iter().map(move |of| line(part, of))).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let columns = [
        ("job", "bigint"),
        ("lane", "integer"),
        ("side", "smallint"),
        ("kind", "smallint"),
        ("subject", "bigint"),
        ("reason", "text"),
        ("pairs", "bigint"),
    ];
    let sql = format!(
        "INSERT INTO job_rejections (job, lane, side, kind, subject, reason, pairs) \
         SELECT * FROM ({}) AS line WHERE true ORDER BY job, side, kind, subject \
         ON CONFLICT (job, side, kind, subject, lane) DO UPDATE SET pairs = job_rejections.pairs + excluded.pairs",
        conn.each_row("$1", &columns),
    );
    statement(sql).bind::<Text, _>(Value::from(lines).to_string()).execute(conn)?;
    Ok(())
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = SmallInt)]
    side: i16,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = BigInt)]
    subject: i64,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = BigInt)]
    pairs: i64,
}

impl Line {
    fn into_rejection(self) -> Result<Rejection, DbError> {
        let corrupt = || DbError::Corrupt("a line of job_rejections".to_owned());
        let subject = if self.side == SECRET {
            Subject::Secret(id(self.subject)?)
        } else {
            Subject::Recipient(PrincipalKind::from_code(self.kind).ok_or_else(corrupt)?, id(self.subject)?)
        };
        Ok(Rejection {
            subject,
            reason: RejectReason::from_name(&self.reason).ok_or_else(corrupt)?,
            pairs: u64::try_from(self.pairs).map_err(|_| corrupt())?,
        })
    }
}

/// Reads lines of a report. Several lanes may have a line about the same recipient, and the report has one line for
/// it: the pairs of all lanes, and the reason of the lane with the lowest number, so that the report is the same
/// whichever lane was first.
const LINES_OF_REPORT: &str = "SELECT side, kind, subject, CAST(SUM(pairs) AS BIGINT) AS pairs, \
    (SELECT f.reason FROM job_rejections f WHERE f.job = r.job AND f.side = r.side AND f.kind = r.kind \
    AND f.subject = r.subject ORDER BY f.lane LIMIT 1) AS reason \
    FROM job_rejections r WHERE job = $1 GROUP BY job, side, kind, subject \
    ORDER BY side, kind, subject LIMIT $2 OFFSET $3";

/// Lines of a job's report from `offset` on: first the secrets by id, then the recipients by kind and id.
pub(in crate::store) fn read(
    conn: &mut Conn,
    job: JobKey,
    offset: i64,
    limit: i64,
) -> Result<Vec<Rejection>, DbError> {
    let lines: Vec<Line> = statement(LINES_OF_REPORT)
        .bind::<BigInt, _>(job.get())
        .bind::<BigInt, _>(limit)
        .bind::<BigInt, _>(offset)
        .load(conn)?;
    lines.into_iter().map(Line::into_rejection).collect()
}

/// Why secrets of a job were rejected, and why recipients were, by lane.
type Reasons = (HashMap<SecretId, RejectReason>, HashMap<(i32, PrincipalKind, PrincipalId), RejectReason>);

/// The reasons of all lines of a job, lane by lane.
pub(in crate::store) fn reasons(conn: &mut Conn, job: JobKey) -> Result<Reasons, DbError> {
    let lines: Vec<(i32, i16, i16, i64, String)> = job_rejections::table
        .filter(job_rejections::job.eq(job.get()))
        .select((
            job_rejections::lane,
            job_rejections::side,
            job_rejections::kind,
            job_rejections::subject,
            job_rejections::reason,
        ))
        .load(conn)?;
    let (mut secrets, mut recipients) = (HashMap::new(), HashMap::new());
    for (lane, side, kind, subject, reason) in lines {
        let corrupt = || DbError::Corrupt("a line of job_rejections".to_owned());
        let reason = RejectReason::from_name(&reason).ok_or_else(corrupt)?;
        if side == SECRET {
            secrets.insert(id(subject)?, reason);
        } else {
            let kind = PrincipalKind::from_code(kind).ok_or_else(corrupt)?;
            recipients.insert((lane, kind, id(subject)?), reason);
        }
    }
    Ok((secrets, recipients))
}

/// The number of lines in the report of a job.
pub(in crate::store) fn total(conn: &mut Conn, job: JobKey) -> Result<i64, DbError> {
    #[derive(QueryableByName)]
    struct Total {
        #[diesel(sql_type = BigInt)]
        lines: i64,
    }
    let sql = "SELECT COUNT(*) AS lines FROM \
               (SELECT DISTINCT side, kind, subject FROM job_rejections WHERE job = $1) AS r";
    Ok(statement(sql).bind::<BigInt, _>(job.get()).get_result::<Total>(conn)?.lines)
}

#[derive(QueryableByName)]
struct Reason {
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = BigInt)]
    subject: i64,
    #[diesel(sql_type = Text)]
    reason: String,
}

impl Reason {
    fn reason(&self) -> Result<RejectReason, DbError> {
        RejectReason::from_name(&self.reason)
            .ok_or_else(|| DbError::Corrupt("a line of job_rejections".to_owned()))
    }
}

/// Why those of these secrets were rejected that a job rejected with all of its recipients.
pub(in crate::store) fn of_secrets(
    conn: &mut Conn,
    job: JobKey,
    secrets: &[SecretId],
) -> Result<HashMap<SecretId, RejectReason>, DbError> {
    let sql = format!(
        "SELECT kind, subject, reason FROM job_rejections \
         WHERE job = $1 AND side = {SECRET} AND kind = 0 AND subject {}",
        conn.is_in("$2"),
    );
    let list = conn.id_list(secrets.iter().copied());
    let rows: Vec<Reason> = statement(sql).bind::<BigInt, _>(job.get()).bind::<Text, _>(list).load(conn)?;
    rows.iter().map(|row| Ok((id(row.subject)?, row.reason()?))).collect()
}

/// Why recipients were rejected in this lane of a job, each with all secrets that were not rejected themselves. In an
/// unshare it is why some pairs of the recipient were.
pub(in crate::store) fn of_recipients(
    conn: &mut Conn,
    job: JobKey,
    lane: i32,
) -> Result<HashMap<(PrincipalKind, PrincipalId), RejectReason>, DbError> {
    let sql = format!(
        "SELECT kind, subject, reason FROM job_rejections WHERE job = $1 AND side = {RECIPIENT} AND lane = $2"
    );
    let rows: Vec<Reason> =
        statement(sql).bind::<BigInt, _>(job.get()).bind::<Integer, _>(lane).load(conn)?;
    let line = |row: &Reason| {
        let corrupt = || DbError::Corrupt("a line of job_rejections".to_owned());
        let kind = PrincipalKind::from_code(row.kind).ok_or_else(corrupt)?;
        Ok(((kind, id(row.subject)?), row.reason()?))
    };
    rows.iter().map(line).collect()
}

impl Store {
    /// Lines of a job's report from `offset` on. The list is empty if there is no such job.
    pub async fn rejections(&self, job: JobId, offset: i64, limit: i64) -> Result<Vec<Rejection>, DbError> {
        self.db
            .read(move |conn| match row::find(conn, job)? {
                Some(row) => read(conn, row.key, offset, limit),
                None => Ok(Vec::new()),
            })
            .await
    }
}
